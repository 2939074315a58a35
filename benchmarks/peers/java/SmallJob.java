import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.IOException;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: the small job of small.py, step by step the same. State in RocksDB behind a record cache, with
 * changelogs; a commit every second; at least once. Records go one by one: each changed total is published at once.
 */
public final class SmallJob {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Set<String> TYPES = Set.of("booking.booked", "booking.rescheduled", "booking.amended",
            "booking.cancelled", "booking.arrived", "booking.completed", "booking.missed");
    private static final double WEIGHT_KG = 75.0;

    /** A line of a protocol: an item, a dose, the content of a container, whether the dose is per kg. */
    record Line(String item, double dose, double content, boolean perKg) {}

    /** A validated event. */
    record Event(String type, String bookingId, int version, String site, String protocol, String day, double weightKg) {}

    /** A booking as it is kept. */
    record Row(int version, String site, String day, Map<String, Integer> need) {}

    private static final Map<String, List<Line>> PROTOCOLS = new HashMap<>();

    // --- decode and validate

    static Event read(byte[] value) {
        try {
            JsonNode root = JSON.readTree(value == null ? new byte[0] : value);
            if (root == null || !root.isObject() || (root.has("schema_version") && !isInt(root, "schema_version", 1, 1))) return null;
            String type = text(root, "type", 1, 80), booking = text(root, "booking_id", 1, 80);
            if (type == null || !TYPES.contains(type) || booking == null || text(root, "event_id", 1, 80) == null) return null;
            if (moment(root, "occurred_at") == null || !isInt(root, "version", 1, 1_000_000)) return null;
            if (faulty(root, "site") || faulty(root, "protocol") || faulty(root, "start")) return null;
            String site = text(root, "site", 1, 80), protocol = text(root, "protocol", 0, Integer.MAX_VALUE);
            OffsetDateTime start = moment(root, "start");
            if ((has(root, "site") && site == null) || (has(root, "start") && start == null)) return null;
            if (protocol != null && !PROTOCOLS.containsKey(protocol)) return null;
            double weightKg = WEIGHT_KG;
            if (has(root, "parameters")) {
                JsonNode parameters = root.get("parameters");
                if (!parameters.isObject()) return null;
                if (has(parameters, "weight_kg")) {
                    JsonNode weight = parameters.get("weight_kg");
                    if (!weight.isNumber() || weight.doubleValue() < 1 || weight.doubleValue() > 400) return null;
                    weightKg = weight.doubleValue();
                }
            }
            boolean booked = type.equals("booking.booked");
            if (booked && (site == null || start == null || protocol == null)) return null;
            if (type.equals("booking.rescheduled") && start == null) return null;
            if (type.equals("booking.amended") && protocol == null) return null;
            String day = start == null ? null : start.withOffsetSameInstant(ZoneOffset.UTC).toLocalDate().toString();
            return new Event(type, booking, root.get("version").intValue(), site, protocol, day, weightKg);
        } catch (IOException unreadable) {
            return null;
        }
    }

    private static boolean has(JsonNode node, String name) {
        return node.hasNonNull(name);
    }

    private static boolean faulty(JsonNode node, String name) {
        return has(node, name) && !node.get(name).isTextual();
    }

    private static boolean isInt(JsonNode node, String name, int least, int most) {
        JsonNode value = node.get(name);
        return value != null && value.isInt() && value.intValue() >= least && value.intValue() <= most;
    }

    private static String text(JsonNode node, String name, int least, int most) {
        JsonNode value = node.get(name);
        if (value == null || !value.isTextual()) return null;
        String text = value.textValue();
        return text.length() >= least && text.length() <= most ? text : null;
    }

    private static OffsetDateTime moment(JsonNode node, String name) {
        String text = text(node, name, 1, 80);
        try {
            return text == null ? null : OffsetDateTime.parse(text);
        } catch (DateTimeException unreadable) {
            return null;
        }
    }

    // --- the first step

    static Map<String, Integer> expand(Event event) {
        Map<String, Integer> need = new LinkedHashMap<>();
        for (Line line : PROTOCOLS.get(event.protocol())) {
            double dose = line.perKg() ? line.dose() * event.weightKg() : line.dose();
            need.put(line.item(), (int) Math.ceil(dose / line.content()));
        }
        return need;
    }

    static Row advance(Row row, Event event) {
        boolean booked = event.type().equals("booking.booked");
        if (row == null) return booked ? new Row(event.version(), event.site(), event.day(), expand(event)) : null;
        if (event.version() <= row.version() || booked) return null;
        return switch (event.type()) {
            case "booking.rescheduled" -> new Row(event.version(), row.site(), event.day(), row.need());
            case "booking.amended" -> new Row(event.version(), row.site(), row.day(), expand(event));
            case "booking.cancelled" -> new Row(event.version(), row.site(), row.day(), Map.of());
            default -> new Row(event.version(), row.site(), row.day(), row.need());
        };
    }

    static ArrayNode changes(Row old, Row next) {
        ArrayNode changes = JSON.createArrayNode();
        if (old == null || !old.day().equals(next.day())) {
            if (old != null) old.need().forEach((item, number) -> changes.addArray().add(old.day()).add(item).add(-number));
            next.need().forEach((item, number) -> changes.addArray().add(next.day()).add(item).add(number));
            return changes;
        }
        Set<String> items = new LinkedHashSet<>(old.need().keySet());
        items.addAll(next.need().keySet());
        for (String item : items) {
            int more = next.need().getOrDefault(item, 0) - old.need().getOrDefault(item, 0);
            if (more != 0) changes.addArray().add(next.day()).add(item).add(more);
        }
        return changes;
    }

    static final class Book implements Processor<byte[], byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, byte[]> rows;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            this.rows = context.getStateStore("rows");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            Event event = read(record.value());
            if (event == null) {
                String key = record.key() == null ? null : new String(record.key());
                context.forward(record.withKey(key), "dead-letters");
                return;
            }
            byte[] kept = rows.get(event.bookingId());
            try {
                Row old = kept == null ? null : JSON.readValue(kept, Row.class);
                Row next = advance(old, event);
                if (next == null) return;
                rows.put(event.bookingId(), JSON.writeValueAsBytes(next));
                ArrayNode changes = changes(old, next);
                if (changes.isEmpty()) return;
                ObjectNode body = JSON.createObjectNode().put("site", next.site()).put("booking_id", event.bookingId())
                        .put("version", event.version());
                body.set("changes", changes);
                context.forward(new Record<>(next.site(), JSON.writeValueAsBytes(body), record.timestamp()), "to-requirements");
            } catch (IOException broken) {
                throw new IllegalStateException(broken);
            }
        }
    }

    // --- the second step

    static final class Add implements Processor<byte[], byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, Integer> needs;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            this.needs = context.getStateStore("needs");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                JsonNode body = JSON.readTree(record.value());
                String site = body.get("site").textValue();
                for (JsonNode change : body.get("changes")) {
                    String day = change.get(0).textValue(), item = change.get(1).textValue();
                    String key = site + "|" + day + "|" + item;
                    Integer before = needs.get(key);
                    int total = (before == null ? 0 : before) + change.get(2).intValue();
                    needs.put(key, total);
                    ObjectNode need = JSON.createObjectNode().put("site", site).put("day", day).put("item", item).put("need", total);
                    context.forward(new Record<>(key, JSON.writeValueAsBytes(need), record.timestamp()));
                }
            } catch (IOException broken) {
                throw new IllegalStateException(broken);
            }
        }
    }

    private static <V> StoreBuilder<KeyValueStore<String, V>> store(String name, Serde<V> values) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.String(), values).withCachingEnabled();
    }

    /** Arguments: bootstrap servers, prefix, state directory, protocols.json. */
    public static void main(String[] arguments) throws Exception {
        String prefix = arguments[1];
        JSON.readValue(new File(arguments[3]), new TypeReference<Map<String, List<List<Object>>>>() {}).forEach((name, lines) ->
                PROTOCOLS.put(name, lines.stream().map(line -> new Line((String) line.get(0), ((Number) line.get(1)).doubleValue(),
                        ((Number) line.get(2)).doubleValue(), (Boolean) line.get(3))).toList()));
        Topology topology = new Topology();
        StringSerializer keys = new StringSerializer();
        var values = Serdes.ByteArray().serializer();
        topology.addSource("bookings", prefix + "bookings").addProcessor("book", Book::new, "bookings")
                .addStateStore(store("rows", Serdes.ByteArray()), "book")
                .addSink("to-requirements", prefix + "requirements", keys, values, "book")
                .addSink("dead-letters", prefix + "dead-letters", keys, values, "book")
                .addSource("requirements", prefix + "requirements").addProcessor("add", Add::new, "requirements")
                .addStateStore(store("needs", Serdes.Integer()), "add")
                .addSink("totals", prefix + "totals", keys, values, "add");
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, prefix + "streams");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
        properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "zstd");
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        KafkaStreams streams = new KafkaStreams(topology, properties);
        CountDownLatch stopped = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(failure -> {
            failure.printStackTrace();
            stopped.countDown();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        stopped.await();
    }
}

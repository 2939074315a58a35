"""What must hold of a world that has come to rest. Each check yields what is wrong, in words.

What is *effective* is what was told with a page whose entries are durable. On a log that publishes before it writes, a
crash between the two leaves messages that are not. They mostly come again as they were. Where another topic's records
are applied first after the crash, they do not: such a message went *astray*. An alert that was never decided stays on
its topic then, and a site may keep a booking as it never was. That is why both of our logs write everything together;
here astray messages are counted, and what they are about is left out.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import orjson

from planner.booking.row import BOOKINGS_PREFIX, LIVE, BookingRow, Status
from planner.booking_step import BookingStep
from planner.plan_step import PlanStep
from planner.site.bookings import KEEP_DAYS
from planner.site.entries import restore_sites
from planner.step import Message
from planner.topics import composed_key
from streams import names
from tests.soak.sim.conservation import conserved
from tests.soak.sim.replay import told_again
from tests.soak.sim.script import instant
from tests.soak.sim.world import Slot, Told, World

ANSWERED: Final = {names.EXPAND: ("bookings", "catalogue"), names.PLAN: ("stock", "orders", "alert-actions")}
"""Agent → inputs of which each record has an outcome."""
STATUSES: Final = frozenset({"applied", "duplicate", "refused", "dead-lettered"})


def effective(world: World, slot: Slot) -> list[Message]:
    """What a slot told with its durable pages, in order."""
    return [told.message for told in world.told if told.slot == slot and told.page in world.durable]


def astray(world: World) -> list[Message]:
    """What was told with pages that never became durable, and was not told again."""
    if world.atomic:
        return []
    durable = {
        (told.message.topic, told.message.key, told.message.value) for told in world.told if _stands(world, told)
    }
    lost = [told.message for told in world.told if not _stands(world, told)]
    return [message for message in lost if (message.topic, message.key, message.value) not in durable]


def _stands(world: World, told: Told) -> bool:
    return told.page is None or told.page in world.durable


def short(world: World) -> bool:
    """Whether the world lasted no longer than anything is remembered."""
    times = [instant(step) for step in world.script.steps if step.action == "publish"]
    return not times or max(times) - min(times) < timedelta(days=KEEP_DAYS - 5)


# --- every input ends once --------------------------------------------------------------------------------


def ends_once(world: World) -> Iterator[str]:
    """Each record has one effective outcome, whatever else was told of it before a crash."""
    for slot in world.slots():
        agent, partition = slot
        ends: dict[tuple[str, int], list[str]] = defaultdict(list)
        letters: dict[tuple[str, int], list[Message]] = defaultdict(list)
        for message in effective(world, slot):
            if message.topic == "outcomes":
                outcome = orjson.loads(message.value or b"")
                ends[outcome["topic"], outcome["offset"]].append(outcome["status"])
            elif message.topic == "dead-letters":
                headers = dict(reversed(message.headers))
                letters[headers["topic"].decode(), int(headers["offset"])].append(message)
        for topic in names.INPUTS[agent]:
            log = world.logs[topic, partition]
            if (position := world.position(slot, topic)) != len(log):
                yield f"{agent} has applied {position} of {len(log)} records of {topic}/{partition}"
            for record in log:
                where, at = (topic, record.offset), f"{topic}/{partition}/{record.offset}"
                told = ends.pop(where, [])
                if topic in ANSWERED[agent] and (len(told) != 1 or told[0] not in STATUSES):
                    yield f"{at} ended as {told}, expected one end"
                kept = letters.pop(where, [])
                if (told == ["dead-lettered"]) != (len(kept) == 1) and topic in ANSWERED[agent]:
                    yield f"{at} ended as {told} with {len(kept)} dead letters"
                if any((letter.key, letter.value) != (record.key, record.value) for letter in kept):
                    yield f"{at} is not byte for byte in the dead letters"
        if ends or letters:
            yield f"{slot} told of records that are not there: {sorted(ends)} {sorted(letters)}"


def nothing_is_applied_twice(world: World) -> Iterator[str]:
    """An event id is applied once at its booking or site, and a booking's versions rise."""
    for slot in world.slots():
        applied: Counter[tuple[str, str]] = Counter()
        versions: dict[str, int] = {}
        for message in effective(world, slot):
            if message.topic != "outcomes":
                continue
            outcome = orjson.loads(message.value or b"")
            if outcome["status"] != "applied" or outcome["topic"] == "catalogue":
                continue
            about = outcome.get("booking_id") or outcome["site"]
            applied[about, outcome["event_id"]] += 1
            if outcome["topic"] == "bookings" and "cancelled at once" not in outcome.get("detail", ""):
                record = world.logs["bookings", slot[1]][outcome["offset"]]
                version = orjson.loads(record.value or b"")["version"]
                if version <= versions.get(about, 0):
                    yield f"booking {about}: version {version} applied after {versions[about]}"
                versions[about] = version
        if slot[0] == names.EXPAND or short(world):
            for (about, event_id), times in applied.items():
                if times > 1:
                    yield f"{about}: event {event_id} was applied {times} times"


# --- the state is the fold of the log ---------------------------------------------------------------------


def replays(world: World) -> Iterator[str]:
    """The same records in the same order, cut otherwise and with no accident, give the same tables."""
    chance = random.Random(world.script.seed + 1)
    for slot in world.slots():
        again = told_again(world, slot, chance)
        if again.mixed:
            continue
        for kind, key, ours, theirs in again.differences(world.tables[slot]):
            yield f"{slot} {kind} {key!r}: {ours!r} in the table, {theirs!r} in a replay"
        if slot[0] == names.EXPAND:
            ours, theirs = (_of_the_step(messages) for messages in (effective(world, slot), again.messages))
            if ours != theirs:
                yield f"{slot} told something else than a replay tells: {_first_unlike(ours, theirs)}"


def _of_the_step(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.topic in {"requirements", "outcomes", "dead-letters"}]


def _first_unlike(ours: list[Message], theirs: list[Message]) -> str:
    unlike = next((pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]), None)
    return f"{len(ours)} and {len(theirs)} messages" if unlike is None else f"{unlike[0]} and {unlike[1]}"


def table_is_the_state(world: World) -> Iterator[str]:
    """A step made from the table is as the living one; it decides and forecasts nothing else."""
    for worker in world.workers:
        for partition in sorted(worker.partitions):
            live = worker.engines[names.PLAN].steps[partition]
            if not isinstance(live, PlanStep):
                raise TypeError(live)
            slot = (names.PLAN, partition)
            afresh = world.make_step(*slot)
            if not isinstance(afresh, PlanStep):
                raise TypeError(afresh)
            afresh.restore(world.tables[slot])
            if afresh.sites != live.sites or afresh.now != live.now:
                yield f"{slot}: the table is not the state: {_first_difference(live, afresh)}"
            afresh.review_all()
            decided = [m for page in afresh.fold([]) for m in page.messages]
            if decided:
                yield f"{slot}: a plan made afresh decides otherwise: {decided[0]}"
            yield from _published(world, slot, afresh)


def _first_difference(live: PlanStep, afresh: PlanStep) -> str:
    for site in sorted(live.sites.keys() | afresh.sites.keys()):
        ours, theirs = live.sites.get(site), afresh.sites.get(site)
        if ours is None or theirs is None:
            return f"site {site} is in one only"
        for name in ours.__dataclass_fields__:
            if (mine := getattr(ours, name)) != (other := getattr(theirs, name)) and name != "standing":
                return f"{site}.{name}: {mine!r} and {other!r}"
    return f"now {live.now} and {afresh.now}"


def _published(world: World, slot: Slot, afresh: PlanStep) -> Iterator[str]:
    """The last forecast, alert and proposal of each key are those of a plan made afresh."""
    last: dict[tuple[str, bytes | None], bytes | None] = {}
    for told in world.told:
        if told.slot == slot and _stands(world, told):
            last[told.message.topic, told.message.key] = told.message.value
    wanted: dict[tuple[str, bytes | None], bytes | None] = {}
    while due := afresh.due():
        wanted |= {(m.topic, m.key): m.value for m in due}
    for state in afresh.sites.values():
        for alert in state.alerts.values():
            wanted["alerts", alert.alert_id.encode()] = alert.model_dump_json().encode()
        for key, proposal in state.proposals.items():
            place = composed_key(state.site, *key.split("/"))
            wanted["proposals", place] = proposal.model_dump_json().encode()
    for (topic, key), value in wanted.items():
        if _body(value) != _body(last.get((topic, key))):
            yield f"{slot}: the last of {topic} {key!r} is {last.get((topic, key))!r}, afresh it is {value!r}"
    for (topic, key), value in last.items():
        if value is not None and (topic, key) not in wanted and topic in {"forecasts", "proposals", "alerts"}:
            if topic == "alerts" and orjson.loads(value)["state"] == "resolved":
                continue  # an earlier episode
            yield f"{slot}: {topic} {key!r} is still told, and nothing stands behind it: {value!r}"


def _body(value: bytes | None) -> Any:
    if value is None:
        return None
    body = orjson.loads(value)
    body.pop("as_of", None)
    return body


# --- what sites hold --------------------------------------------------------------------------------------


def bookings_are_held_once(world: World) -> Iterator[str]:
    """A booking that is to take place is held by its own site, with its own lines, and by no other."""
    sites = {}
    gone_astray = {orjson.loads(m.value or b"").get("booking_id") for m in astray(world) if m.topic == "requirements"}
    for partition in range(world.script.partitions):
        sites |= restore_sites(world.tables[names.PLAN, partition].scan(b""))
    for partition in range(world.script.partitions):
        table = world.tables[names.EXPAND, partition]
        for key, value in table.scan(BOOKINGS_PREFIX):
            booking, row = key[len(BOOKINGS_PREFIX) :].decode(), BookingRow.decode(value)
            if booking in gone_astray:
                continue
            holders = {s for s, state in sites.items() if _held(state, booking)}
            wanted = {row.site} if row.status in LIVE else set()
            if holders != wanted:
                yield f"booking {booking} is {row.status} at {row.site!r}, and held by {sorted(holders) or 'nobody'}"
                continue
            for site in holders:
                entry = sites[site].bookings[booking]
                if (entry.revision, entry.day) != (row.revision, row.day):
                    yield f"booking {booking}: {site} has revision {entry.revision} of day {entry.day}, expected {row}"
                needs = {item: moments.mean for item, moments in sites[site].profiles[entry.profile].items.items()}
                lines = table.get(composed_key("lines", row.lines_id))
                if lines is None or needs != means_of(orjson.loads(lines)["lines"]):
                    yield f"booking {booking}: {site} keeps {needs} for it, its lines say {lines!r}"
            if row.status is Status.CANCELLATION_WAITING and row.revision:
                yield f"booking {booking} waits, and a site was told of it"


def _held(state: Any, booking: str) -> bool:
    return booking in state.bookings and state.bookings[booking].status in ("booked", "arrived")


def means_of(lines: list[dict[str, Any]]) -> dict[str, Decimal]:
    """Expected use by item of a requirement's lines."""
    means: dict[str, Decimal] = {}
    for line in lines:
        if line.get("item") is not None:
            means[line["item"]] = means.get(line["item"], Decimal(0)) + Decimal(line["mean"])
    return means


def catalogues_agree(world: World) -> Iterator[str]:
    """Both agents have the last catalogue that could be read."""
    for partition in range(world.script.partitions):
        wanted = None
        for message in effective(world, (names.EXPAND, partition)):
            if message.topic == "outcomes":
                outcome = orjson.loads(message.value or b"")
                if outcome["topic"] == "catalogue" and outcome["status"] != "dead-lettered":
                    wanted = outcome["catalogue_version"]
        for worker in world.workers:
            for agent, engine in worker.engines.items():
                step = engine.steps.get(partition)
                if isinstance(step, BookingStep | PlanStep) and wanted not in {None, step.catalogue.version}:
                    yield f"{agent}/{partition} has catalogue {step.catalogue.version}, expected {wanted}"


CHECKS: Final[tuple[Callable[[World], Iterator[str]], ...]] = (
    ends_once,
    nothing_is_applied_twice,
    replays,
    table_is_the_state,
    bookings_are_held_once,
    conserved,
    catalogues_agree,
)


def faults(world: World) -> list[str]:
    """All that is wrong, by check."""
    return [f"{check.__name__}: {fault}" for check in CHECKS for fault in check(world)]

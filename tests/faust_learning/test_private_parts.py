"""Each private part of Faust, mode and aiokafka that the delivery leans on. An upgrade that breaks one fails here.

What a test names is used in ``streams/``; the comment says where.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, codec
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher as AiokafkaFetcher
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState, TopicPartitionState
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.producer.sender import AddPartitionsToTxnHandler, EndTxnHandler, Sender, SendProduceReqHandler
from aiokafka.producer.transaction_manager import TransactionManager
from faust.assignor.client_assignment import ClientAssignment
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.base import Collection
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.conductor import Conductor
from faust.transport.consumer import Consumer, ConsumerThread, Fetcher
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as KafkaDriverConsumer
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message
from mode.services import ServiceTask
from mode.supervisors import CrashingSupervisor
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from streams.delivery.version import TESTED_FAUST, UntestedFaustError, check_version


def source(thing: Any) -> str:
    # mode wraps the methods that a service runs as tasks
    return inspect.getsource(thing.fun if isinstance(thing, ServiceTask) else thing)


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


# --- the guard --------------------------------------------------------------------------------------------


def test_the_tested_version_is_installed() -> None:
    assert version("faust-streaming") == TESTED_FAUST
    check_version(allow_untested=False)


def test_another_version_is_refused_unless_told_otherwise() -> None:
    with pytest.raises(UntestedFaustError, match=r"0\.16\.0 is installed.*PLANNER_ALLOW_UNTESTED_FAUST"):
        check_version(allow_untested=False, installed="0.16.0")
    check_version(allow_untested=True, installed="0.16.0")


# --- delivery/consumer.py ---------------------------------------------------------------------------------


def test_consumer_methods_that_are_replaced_exist_with_their_parameters() -> None:
    expected = {
        "_drain_messages": ["self", "fetcher"],
        "wait_for_stopped_flow": ["self"],
        "perform_seek": ["self"],
        "ack": ["self", "message"],
        "_filter_tps_with_pending_acks": ["self", "topics"],
        "_filter_committable_offsets": ["self", "tps"],
        "on_buffer_drop": ["self", "tp"],
        "resume_partitions": ["self", "tps"],
        "stop_flow": ["self"],
        "resume_flow": ["self"],
        "on_partitions_revoked": ["self", "revoked"],
        "verify_all_partitions_active": ["self"],
        "_get_active_partitions": ["self"],
        "_is_changelog_tp": ["self", "tp"],
    }
    for name, wanted in expected.items():
        assert parameters(getattr(Consumer, name)) == wanted, name


def test_consumer_fields_that_are_used() -> None:
    text = source(Consumer)
    for name in (
        "_unacked_messages",
        "_waiting_for_ack",
        "_n_acked",
        "_committed_offset",
        "can_resume_flow",
        "flow_active",
        "self.scheduler",
        "self.callback",
    ):
        assert name in text, name


def test_the_fetcher_runs_the_drain_loop() -> None:
    assert "consumer._drain_messages(self)" in source(Fetcher)


def test_commits_go_through_the_methods_that_are_replaced() -> None:
    text = source(Consumer._commit_tps) + source(Consumer.force_commit)
    assert "self._filter_committable_offsets" in text
    assert "self._filter_tps_with_pending_acks" in text


def test_a_message_is_acknowledged_by_the_consumer_when_its_last_channel_has_acknowledged_it() -> None:
    """Both agents consume the catalogue: the chunk counts when both are done."""
    acked: list[Message] = []

    class Recording:
        def ack(self, message: Message) -> bool:
            acked.append(message)
            return True

    message = ConsumerMessage("t", 0, 5, 0.0, 0, None, None, None, None, tp=TP("t", 0))
    message.incref(2)
    message.ack(Recording())
    assert acked == []
    message.ack(Recording())
    assert acked == [message]


# --- what stock Faust does wrong; when one of these fails, something of ours may go --------------------------


def test_stock_waits_a_second_when_all_partitions_are_busy() -> None:
    assert "await self.sleep(1)" in source(Consumer._wait_next_records)


def test_stock_never_waits_for_the_flow_to_stop() -> None:
    """Its event is set where it should be cleared."""
    assert "not_waiting_next_records.clear()" not in source(Consumer)


def test_stock_counts_a_messages_own_offset_as_a_gap() -> None:
    assert "gap_for_tp.addi(offset_from, offset_to + 1)" in source(Consumer._add_gap)


def test_stock_resumes_the_inputs_before_it_seeks_them() -> None:
    """Issue 596."""
    text = source(Recovery.on_recovery_completed)
    assert text.index("resume_partitions") < text.index("perform_seek") < text.index("flow_control.resume()")


def test_resuming_the_flow_clears_the_queues() -> None:
    flow = FlowControlEvent()
    queue: ThrowableQueue[int] = ThrowableQueue(maxsize=10, flow_control=flow, clear_on_resume=True)
    queue.force_put_nowait(1)
    flow.resume()
    assert queue.qsize() == 0


def test_stock_sleeps_a_second_before_it_starts_the_tables() -> None:
    assert "await self.sleep(1.0)" in source(TableManager.on_start)


# --- delivery/recovery.py, delivery/table.py ------------------------------------------------------------------


def test_recovery_parts() -> None:
    assert parameters(Recovery.on_recovery_completed) == ["self", "generation_id"]
    assert parameters(Recovery._seek_offsets) == ["self", "consumer", "tps", "offsets", "title"]
    assert parameters(Recovery.flush_buffers) == ["self"]
    assert parameters(Recovery._set_recovery_ended) == ["self"]
    text = source(Recovery)
    for name in ("actives_for_table", "standbys_for_table", "standby_offsets", "standby_tps", "self.completed"):
        assert name in text, name
    assert "self.signal_recovery_start" in source(Recovery._wait)


def test_recovery_takes_a_changelog_event_by_its_offset_and_hands_the_store_whole_batches() -> None:
    """An event here is a chunk whose offset is its last record's."""
    text = source(Recovery._slurp_changelogs)
    assert "offset > seen_offset" in text
    assert "table.apply_changelog_batch(buf)" in text
    assert "offsets[tp] = offset" in text


def test_a_recovery_buffer_of_one_would_read_active_changelogs_for_ever() -> None:
    assert "recovery_buffer_size == 1" in source(Recovery._restart_recovery)


def test_a_service_can_be_crashed_from_a_function() -> None:
    """The store's last resort: recovery only logs what ``apply_changelog_batch`` raises."""
    assert parameters(faust.App._crash) == ["self", "reason"]
    assert 'logger.warning(f"Error in recovery {ex}")' in source(Recovery._slurp_changelogs)


def test_table_manager_parts() -> None:
    text = source(TableManager)
    for name in ("_recovery", "_changelog_queue", "_update_channels"):
        assert name in text, name
    assert isinstance(inspect.getattr_static(TableManager, "recovery"), property)
    assert isinstance(inspect.getattr_static(TableManager, "changelog_queue"), property)


def test_a_table_makes_its_store_through_a_method() -> None:
    assert parameters(Collection._new_store) == ["self"]
    assert "self._new_store()" in source(inspect.getattr_static(Collection, "data").fget)


# --- delivery/assembly.py ---------------------------------------------------------------------------------


def test_app_parts() -> None:
    assert parameters(faust.App._new_consumer) == ["self"]
    assert parameters(faust.App._create_directories) == ["self"]
    assert "self.on_partitions_revoked.send(revoked)" in source(faust.App._on_partitions_revoked).replace(
        "T(", ""
    ).replace(")(revoked)", "(revoked)")
    assert inspect.getattr_static(faust.App, "transport").fset is not None
    assert inspect.getattr_static(faust.App, "producer_transport").fset is not None


def test_a_revocation_stops_the_flow_before_it_is_told() -> None:
    """So the engine's release sees no new chunk."""
    text = source(faust.App._on_partitions_revoked)
    assert text.index("consumer.stop_flow") < text.index("self.on_partitions_revoked.send")


def test_a_crashing_supervisor_lets_the_whole_app_crash() -> None:
    assert parameters(CrashingSupervisor._contribute_to_service) == ["self", "service"]


def test_several_channels_may_consume_a_topic() -> None:
    """The catalogue goes to both agents; each counts for the message's acknowledgement."""
    assert "for topic in self._topics" in source(Conductor._update_tp_index)


# --- embedded/transport.py --------------------------------------------------------------------------------


def test_assignor_fields_that_the_embedded_consumer_sets() -> None:
    text = source(PartitionAssignor)
    assert "self._assignment" in text
    assert "self._active_tps" in text
    assignment = ClientAssignment(actives={"t": [0, 1]}, standbys={})
    assert assignment.active_tps == {TP("t", 0), TP("t", 1)}


# --- kafka/transport.py -----------------------------------------------------------------------------------


def test_consumer_thread_parts() -> None:
    assert parameters(AIOKafkaConsumerThread._create_worker_consumer) == ["self", "transport"]
    assert parameters(AIOKafkaConsumerThread._seek_wait) == ["self", "consumer", "partitions"]
    assert parameters(AIOKafkaConsumerThread._ensure_consumer) == ["self"]
    assert parameters(ConsumerThread.on_partitions_assigned) == ["self", "assigned", "generation_id"]
    assert parameters(KafkaDriverConsumer._new_consumer_thread) == ["self"]
    assert "self.call_thread(self._seek_wait" in source(AIOKafkaConsumerThread.seek_wait)
    assert "fetch_max_wait_ms=1500" in source(AIOKafkaConsumerThread._create_worker_consumer)


def test_aiokafka_hands_over_what_it_has_without_waiting() -> None:
    """Between two looks we wait on a waiter of its own, so that a fetch of nothing but markers is seen too."""
    assert parameters(AiokafkaFetcher.fetched_records) == ["self", "partitions", "timeout", "max_records"]
    text = source(AiokafkaFetcher.fetched_records)
    assert "if drained or not timeout:\n                return drained" in text
    assert "waiter = self._create_fetch_waiter()" in text
    assert parameters(AiokafkaFetcher._create_fetch_waiter) == ["self"]


def test_aiokafka_moves_the_position_when_records_are_taken() -> None:
    assert "self._update_position()" in source(FetchResult.getall)
    assert isinstance(inspect.getattr_static(TopicPartitionState, "position"), property)
    assert isinstance(inspect.getattr_static(TopicPartitionState, "has_valid_position"), property)
    assert "self.lso" in source(TopicPartitionState)
    assert isinstance(inspect.getattr_static(SubscriptionState, "subscription"), property)


def test_aiokafka_consumer_fields() -> None:
    text = source(AIOKafkaConsumer)
    for name in ("_fetcher", "_coordinator", "_subscription", "_fetch_max_wait_ms", "_max_poll_records", "_closed"):
        assert f"self.{name}" in text, name
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in source(AIOKafkaConsumer.start), "read after it was set"


def test_aiokafka_reads_what_is_committed_when_told_after_construction() -> None:
    assert "isolation_level=self._isolation_level" in source(AIOKafkaConsumer.start)
    assert 'isolation_level: str = "read_uncommitted"' in source(AIOKafkaConsumerThread._create_worker_consumer)
    assert "READ_COMMITTED" in source(PartitionRecords._unpack_records)


def test_aiokafka_moves_past_markers_and_what_was_aborted() -> None:
    """Recovery waits for a changelog's end, and the last record there is a marker."""
    text = source(PartitionRecords._unpack_records)
    assert text.count("self.next_fetch_offset = next_batch.next_offset") == 3


def test_a_group_can_be_asked_for_a_new_assignment() -> None:
    assert parameters(GroupCoordinator.request_rejoin) == ["self"]
    assert "self._rejoin_needed_fut" in source(GroupCoordinator.request_rejoin)


def test_aiokafka_sends_batches_that_we_build() -> None:
    assert parameters(AIOKafkaProducer.send_batch) == ["self", "batch", "topic", "partition"]
    assert parameters(AIOKafkaProducer.create_batch) == ["self"]


def test_batches_are_read_however_they_are_compressed() -> None:
    """A booking system compresses as it likes. Without the extras ``lz4``, ``snappy`` and ``zstd`` aiokafka reads none
    of these: its consumer fails."""
    assert all(known() for known in (codec.has_gzip, codec.has_lz4, codec.has_snappy, codec.has_zstd))


# --- kafka/writer.py, kafka/connection.py, kafka/outlet.py ------------------------------------------------------


def test_a_transactional_producer_fences_when_it_starts() -> None:
    """The id is initialised before ``start`` returns, not with the first transaction."""
    assert "await self._maybe_wait_for_pid()" in source(Sender.start)
    assert "await self._sender.start()" in source(AIOKafkaProducer.start)


def test_a_fenced_producer_says_so() -> None:
    assert "exc = ProducerFenced()" in source(SendProduceReqHandler.handle_response)
    for handler in (AddPartitionsToTxnHandler, EndTxnHandler):
        assert "raise ProducerFenced()" in source(handler.handle_response), handler


def test_what_the_sender_does_not_know_ends_it_with_the_plain_error() -> None:
    assert 'raise KafkaError("Unexpected error during batch delivery")' in source(Sender._sender_routine)


def test_a_transaction_that_was_refused_takes_no_more_batches_and_its_end_tells_why() -> None:
    assert "not self._txn_manager.is_in_transaction()" in source(AIOKafkaProducer.send_batch)
    assert "raise IllegalOperation(" in source(AIOKafkaProducer.send_batch)
    assert "assert self.is_in_transaction()" in source(TransactionManager.maybe_add_partition_to_txn)
    for ends in (TransactionManager.error_transaction, TransactionManager.fatal_error):
        assert "self._transaction_waiter.set_exception(exc)" in source(ends), ends
    assert "return self._transaction_waiter" in source(TransactionManager.wait_for_transaction_end)


def test_a_commit_that_is_not_answered_is_tried_again() -> None:
    assert "commit_result = txn_manager.needs_transaction_commit()" in source(Sender._maybe_do_transactional_request)
    assert "self._pending_batches" in source(MessageAccumulator.flush_for_commit)


def test_fields_by_which_a_producer_is_given_up() -> None:
    assert "self._message_accumulator" in source(AIOKafkaProducer)
    assert "def sender_task" in source(Sender)
    for name in ("_pid_waiter", "_transaction_waiter"):
        assert f"self.{name}" in source(TransactionManager), name
    for name in ("_pending_batches", "_batches"):
        assert f"self.{name}" in source(MessageAccumulator), name
    assert "self._drain_waiter.set_exception" in source(MessageBatch.failure)
    assert "_md_update_fut" in source(AIOKafkaClient)

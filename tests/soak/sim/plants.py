"""Bugs planted on purpose: each must be found by the simulation, or the simulation proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest.mock import patch

from planner.booking import apply as booking
from planner.booking.apply import Ending
from planner.booking.row import BookingRow
from planner.booking_step import BookingStep
from planner.messages import OutcomeStatus
from planner.plan.site import PlannedSite
from planner.plan_step import PlanStep
from planner.site import bookings, stock
from planner.step import Effects
from streams import engine
from tests.soak.sim.worker import Worker

Plant = Callable[[], AbstractContextManager[Any]]


def no_deduplication() -> AbstractContextManager[Any]:
    """Event ids of stock and orders are forgotten as soon as they are applied."""
    apply = PlanStep._apply

    def applied(self: PlanStep, event: Any, effects: Effects) -> str | None:
        said = apply(self, event, effects)
        self.sites[event.site].seen.pop(event.event_id)
        return said

    return patch.object(PlanStep, "_apply", applied)


def no_withdrawal_on_a_move() -> AbstractContextManager[Any]:
    """The site that a booking leaves is not told."""
    withdrawn = booking.requirements.withdrawn

    def told(row: BookingRow, cause: Any, reason: Any) -> Any:
        message = withdrawn(row, cause, reason)
        return message._replace(topic="nowhere") if reason == "moved" else message

    return patch.object(booking.requirements, "withdrawn", told)


def stale_versions_are_applied() -> AbstractContextManager[Any]:
    """A booking's version says nothing."""
    apply_event = booking.apply_event

    def apply(event: Any, occurred_at: Any, ledger: Any, expander: Any) -> Any:
        row = ledger.get(event.booking_id)
        if row is not None and event.version <= row.version and event.event_id not in row.event_ids:
            row.version = event.version - 1
        return apply_event(event, occurred_at, ledger, expander)

    return patch("planner.booking_step.apply_event", apply)


def applied_twice_after_a_crash() -> AbstractContextManager[Any]:
    """The applied offset is written with the next chunk: whoever takes over applies the last one again."""
    late: dict[tuple[str, int], Mapping[str, int]] = {}
    deliver = engine.Engine._deliver

    async def delivered(self: Any, slot: Any, chunk: Any, effects: Effects, position: dict[bytes, bytes]) -> None:
        if position:
            place = (self.agent, chunk.partition)
            position, late[place] = dict(late.get(place, {})), dict(position)  # type: ignore[assignment]
        await deliver(self, slot, chunk, effects, position)

    return patch.object(engine.Engine, "_deliver", delivered)


def position_not_written() -> AbstractContextManager[Any]:
    """The table does not say where to continue."""
    deliver = engine.Engine._deliver

    async def delivered(self: Any, slot: Any, chunk: Any, effects: Effects, position: dict[bytes, bytes]) -> None:
        await deliver(self, slot, chunk, effects, dict.fromkeys((b"@lost",), b"") if position else {})

    return patch.object(engine.Engine, "_deliver", delivered)


def a_gap_is_passed_over() -> AbstractContextManager[Any]:
    """Records that the consumer skipped are taken for applied."""

    async def apply(self: Any, slot: Any, chunk: Any) -> bool:
        slot.applied[chunk.topic] = chunk.start
        return await _apply(self, slot, chunk)

    _apply = engine.Engine._apply
    return patch.object(engine.Engine, "_apply", apply)


def zombies_write() -> AbstractContextManager[Any]:
    """Nobody asks whose a partition is."""
    return patch.object(Worker, "_check", lambda self, page: None)


def a_dead_letter_is_lost() -> AbstractContextManager[Any]:
    """An unreadable booking has an outcome, and its bytes are kept nowhere."""

    def told(self: BookingStep, record: Any, dead: Any, page: Effects) -> None:
        dead_letter(self, record, dead, page)
        page.messages = [m for m in page.messages if m.topic != "dead-letters"]

    dead_letter = BookingStep._dead_letter
    return patch.object(BookingStep, "_dead_letter", told)


def a_receipt_is_one_short() -> AbstractContextManager[Any]:
    """A container of each receipt is lost on the way to its lot."""
    receive = stock.receive
    return patch.object(stock, "receive", lambda s, at, lot, expiry, n: receive(s, at, lot, expiry, max(n - 1, 0)))


def an_entry_is_not_written() -> AbstractContextManager[Any]:
    """A booking that is withdrawn changes in memory only."""
    end = bookings._end

    def ended(state: Any, message: Any, status: Any, touched: Any) -> Any:
        entry = end(state, message, status, touched)
        touched.bookings.discard(message.booking_id)
        return entry

    return patch.object(bookings, "_end", ended)


def a_forecast_is_not_touched() -> AbstractContextManager[Any]:
    """What a review finds changed is not published."""
    review = PlannedSite.review

    def reviewed(self: PlannedSite, now: Any) -> Iterator[Any]:
        due, everything = set(self._due), self._due_all
        yield from review(self, now)
        self._due, self._due_all = due, everything

    return patch.object(PlannedSite, "review", reviewed)


def two_outcomes() -> AbstractContextManager[Any]:
    """A refusal is told twice."""
    tell = BookingStep._tell

    def told(self: BookingStep, record: Any, event: Any, end: Ending, page: Effects) -> None:
        tell(self, record, event, end, page)
        if end.status is OutcomeStatus.REFUSED:
            tell(self, record, event, end, page)

    return patch.object(BookingStep, "_tell", told)


PLANTS: Final[dict[Plant, tuple[int, str]]] = {
    no_deduplication: (2, "nothing_is_applied_twice"),
    no_withdrawal_on_a_move: (30, "bookings_are_held_once"),
    stale_versions_are_applied: (1, "replays"),
    applied_twice_after_a_crash: (1, "ends_once"),
    position_not_written: (1, "run"),
    a_gap_is_passed_over: (18, "ends_once"),
    zombies_write: (92, "run"),
    a_dead_letter_is_lost: (4, "ends_once"),
    a_receipt_is_one_short: (1, "conserved"),
    an_entry_is_not_written: (1, "bookings_are_held_once"),
    a_forecast_is_not_touched: (10, "table_is_the_state"),
    two_outcomes: (1, "ends_once"),
}
"""Each with a seed that finds it, and the check that says so."""

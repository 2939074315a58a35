"""Whatever comes, and however often: one outcome each, a pure fold, and never two sites that hold one booking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.booking.row import EVENT_IDS_MOST
from planner.booking_step import BookingStep
from tests.booking.events import event, wire
from tests.driver import Driver
from tests.expansion import sample

BUNDLE = sample.bundle()
OTHER = sample.content()
sample.entity(OTHER, "protocols", "magnesium")["versions"][0]["lines"][0]["dose"] = {"fixed": "3 g"}
OTHER_BUNDLE = sample.bundle(OTHER)

KINDS = ("booked", "rescheduled", "amended", "cancelled", "arrived", "completed", "missed")


@st.composite
def booking_events(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(KINDS))
    fields: dict[str, Any] = {"occurred_at": f"2024-05-{draw(st.integers(1, 4)):02}T08:00:00Z"}
    if kind in ("booked", "rescheduled"):
        fields["site"] = draw(st.sampled_from(["north", "south", "north", "east"]))
        fields["start"] = f"2024-05-{draw(st.integers(5, 9)):02}T10:00:00Z"
    if kind in ("booked", "amended"):
        fields["protocol"] = draw(st.sampled_from(["magnesium", "valproate", "dhe"]))
        fields["parameters"] = {"weight_kg": draw(st.sampled_from(["30", "70", "900"]))}
    return event(kind, draw(st.sampled_from(["b1", "b2"])), draw(st.integers(1, 6)), **fields)


LOGS = st.lists(st.one_of(booking_events(), booking_events(), st.just(b"{broken")), max_size=14)


def drive(log: list[Any], *, chunk: int = 100, clock: Literal["wall", "event"] = "event") -> Driver[BookingStep]:
    driver = Driver(lambda: BookingStep(0, 2, BUNDLE, clock), chunk=chunk)
    driver.feed("bookings", *log)
    return driver


@settings(max_examples=60, deadline=None)
@given(LOGS, st.integers(1, 5))
def test_chunks_are_a_matter_of_speed_only(log: list[Any], chunk: int) -> None:
    whole, pieces = drive(log), drive(log, chunk=chunk)
    assert pieces.published == whole.published
    assert pieces.table.entries == whole.table.entries


@settings(max_examples=60, deadline=None)
@given(LOGS, st.lists(st.integers(0, 14), max_size=3))
def test_a_chunk_folded_again_after_a_crash_gives_the_same(log: list[Any], crashes: list[int]) -> None:
    """A crash after the messages and before the writes: the same messages come again, and the same table."""
    whole = drive(log)
    crashed: Driver[BookingStep] = Driver(lambda: BookingStep(0, 2, BUNDLE, "event"), chunk=3)
    for number, item in enumerate(log):
        crashed.append("bookings", item)
        if number in crashes:
            crashed.crash()
        if number % 2:
            crashed.run()
    crashed.run()
    assert list(dict.fromkeys(crashed.published)) == list(dict.fromkeys(whole.published))
    assert crashed.table.entries == whole.table.entries


@settings(max_examples=60, deadline=None)
@given(LOGS, st.data())
def test_an_event_sent_again_is_a_duplicate_or_refused_as_before(log: list[Any], data: st.DataObject) -> None:
    """Sending events again, at any later time, tells the sites nothing that they were not told without."""
    again: list[Any] = []
    for number, item in enumerate(log):
        again.append(item)
        if number and data.draw(st.booleans()):
            applied = [o["event_id"] for o in drive(again).values("outcomes") if o["status"] == "applied"]
            candidates = [e for e in log[: number + 1] if isinstance(e, dict) and e["event_id"] in applied]
            if candidates:
                again.append(data.draw(st.sampled_from(candidates)))
    once, twice = drive(log), drive(again)
    assert twice.messages("requirements") == once.messages("requirements")


@settings(max_examples=60, deadline=None)
@given(LOGS)
def test_each_record_ends_once_and_each_booking_is_held_once(log: list[Any]) -> None:
    driver = drive(log)
    outcomes = driver.values("outcomes")
    assert [(o["topic"], o["partition"], o["offset"]) for o in outcomes] == [
        ("bookings", 0, n) for n in range(len(log))
    ]
    assert sum(driver.counts.values()) == len(log)
    revisions: dict[str, list[int]] = defaultdict(list)
    holders: dict[str, set[str]] = defaultdict(set)
    for told in driver.values("requirements"):
        if told["type"] == "clock.ticked":
            continue
        booking, site = told["booking_id"], told["site"]
        revisions[booking].append(told["revision"])
        if told["type"] == "requirement.stated":
            holders[booking].add(site)
        else:
            assert site in holders[booking], "withdrawn or used where it was not held"
            holders[booking].discard(site)
        assert len(holders[booking]) <= 1, "two sites hold one booking"
    for booking, numbers in revisions.items():
        assert numbers == list(range(1, len(numbers) + 1))
        row = driver.step.booking(booking)
        assert row is not None
        assert (row.status in ("booked", "arrived")) == bool(holders[booking])


@settings(max_examples=40, deadline=None)
@given(LOGS, LOGS)
def test_after_a_change_of_catalogue_what_is_held_is_what_the_new_one_says(before: list[Any], after: list[Any]) -> None:
    """Future booked sessions are held with the lines that a step which knew only the new catalogue would state."""
    driver = drive(before)
    driver.feed("catalogue", wire(OTHER_BUNDLE))
    driver.feed("bookings", *after)
    fresh: Driver[BookingStep] = Driver(lambda: BookingStep(0, 2, OTHER_BUNDLE, "event"))
    fresh.feed("bookings", *before, *after)
    for booking in ("b1", "b2"):
        row, other = driver.step.booking(booking), fresh.step.booking(booking)
        assert (row is None) == (other is None)
        if row is not None and other is not None:
            assert (row.status, row.version, row.event_ids) == (other.status, other.version, other.event_ids)
            if row.status == "booked":
                assert row.lines_id == other.lines_id


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(-(10**20), 10**20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=8,
        ),
        st.builds(
            lambda made, name, value: made | {name: value},
            booking_events(),
            st.sampled_from(["site", "protocol", "start", "occurred_at", "version", "booking_id", "parameters"]),
            st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.none(), st.datetimes().map(str)),
        ),
    )
)
def test_anything_at_all_ends_with_a_reason(content: Any) -> None:
    value = content if isinstance(content, bytes) else _encoded(content)
    driver: Driver[BookingStep] = Driver(lambda: BookingStep(0, 2, BUNDLE, "event"))
    driver.feed("bookings", value)
    (outcome,) = driver.values("outcomes")
    assert outcome["status"] == "applied" or outcome["reason"]


def _encoded(content: Any) -> bytes:
    try:
        return orjson.dumps(content)
    except (TypeError, orjson.JSONEncodeError):
        return repr(content).encode("utf-8", "surrogatepass")


def ticks(driver: Driver[BookingStep]) -> list[tuple[str, int | None]]:
    told = [(orjson.loads(m.value or b""), m.partition) for m in driver.messages("requirements")]
    return [(body["now"], partition) for body, partition in told if body["type"] == "clock.ticked"]


def test_the_event_clock_tells_each_new_hour_to_every_partition() -> None:
    hours = ["08:59", "08:10", "09:00", "08:00", "09:59", "12:30"]
    log = [event("booked", f"b{n}", 1, occurred_at=f"2024-05-01T{hour}:00Z") for n, hour in enumerate(hours)]
    driver = drive(log, chunk=1)
    assert ticks(driver) == [(f"2024-05-01T{h}:00:00Z", p) for h in ("08", "09", "12") for p in (0, 1)]
    driver.restart()
    driver.feed("bookings", event("booked", "b9", 1, occurred_at="2024-05-01T12:45:00Z"))
    assert len(ticks(driver)) == 6  # the hour is remembered in the table
    assert not ticks(drive(log, clock="wall"))


def test_an_hour_is_told_before_the_requirements_of_its_bookings_and_names_its_partition() -> None:
    log = [event("booked", f"b{hour}", 1, occurred_at=f"2024-05-01T{hour:02}:30:00Z") for hour in (8, 8, 9)]
    told = [orjson.loads(m.value or b"") for m in drive(log).messages("requirements") if m.partition in {None, 0}]
    assert [body["occurred_at"][11:16] for body in told] == ["08:00", "08:30", "09:00", "09:30"]
    assert {body["source"] for body in told if body["type"] == "clock.ticked"} == {"expand/0"}


def test_an_event_that_is_not_believed_moves_no_clock() -> None:
    driver = drive([event("booked", "b1", 1, occurred_at="2199-01-01T00:00:00Z"), b"{"])
    assert not ticks(driver)
    assert driver.step.now is None


def test_event_ids_remembered_are_bounded() -> None:
    log = [event("booked", "b1", 1)] + [event("amended", "b1", n) for n in range(2, EVENT_IDS_MOST + 10)]
    driver = drive(log)
    row = driver.step.booking("b1")
    assert row is not None
    assert len(row.event_ids) == EVENT_IDS_MOST
    driver.feed("bookings", log[0])
    assert driver.outcomes()[-1] == "b1-booked-1: refused stale-version"


def sizes(make: Callable[[int], dict[str, Any]], count: int) -> tuple[int, int]:
    """Entries in the table and bytes of them, for ``count`` events."""
    driver = drive([make(n) for n in range(count)])
    return len(driver.table.entries), sum(len(v) for v in driver.table.entries.values())


def test_bookings_alike_share_their_lines_in_the_table() -> None:
    entries, size = sizes(lambda n: event("booked", f"b{n}", 1), 200)
    assert entries == 2 * 200 + 4  # bookings, and their ends; one set of lines, and its end; the clock, the position
    assert size / 200 < 300

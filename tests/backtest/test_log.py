"""Lines to events: order, what is passed over, and what is said of a line that is none."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from planner.backtest.log import LogFault, read_log
from tests.backtest.book import booked, event, lines_of
from tests.plan.clinic import NORTH, at, tick


def test_events_are_put_in_the_order_in_which_they_happened() -> None:
    late = event("cancelled", "b1", 2, at(3))
    log = read_log(lines_of([late, booked("b1", at(0), at(9)), event("cancelled", "b0", 5, at(3))]))
    assert [one.record.offset for one in log] == [2, 1, 3], "one instant: in the order of the lines"
    assert log[0].site == NORTH
    assert log[0].record.key == b"b1"
    assert log[1].site is None


def test_stock_and_orders_have_their_topics_and_alerts_and_ticks_are_passed_over() -> None:
    stock = {
        "type": "stock.received",
        "event_id": "s1",
        "occurred_at": at(1),
        "site": NORTH,
        "item": "magnesium-vial",
        "lot": "L",
        "expiry": "2028-01-01",
        "quantity": 5,
    }
    order = {
        "type": "order.cancelled",
        "event_id": "o1",
        "occurred_at": at(2),
        "site": NORTH,
        "order_id": "o1",
    }
    closed = {
        "type": "alert.closed",
        "event_id": "a1",
        "occurred_at": at(2),
        "site": NORTH,
        "alert_id": "x",
    }
    log = read_log([b"", *lines_of([stock, order, closed, tick(at(3))]), b"  \n"])
    assert [(one.record.topic, one.record.key) for one in log] == [("stock", b"north"), ("orders", b"north")]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"type": None}, r"line 2: type: found None; expected booking\.…"),
        ({"type": "visit.booked"}, r"line 2: type: found 'visit\.booked'"),
        ({"occurred_at": None}, r"line 2: booking\.cancelled\.occurred_at"),
        ({"occurred_at": "2026-11-16T09:00:00"}, "timezone"),
        ({"occurred_at": "1970-01-01T00:00:00Z"}, "line 2: occurred_at: found 1970"),
        ({"version": 0}, r"line 2: booking\.cancelled\.version: found 0"),
    ],
)
def test_a_line_that_is_no_event_is_named_with_its_field(change: dict[str, Any], expected: str) -> None:
    lines = lines_of([booked("b1", at(0), at(9)), event("cancelled", "b1", 2, at(1)) | change])
    with pytest.raises(LogFault, match=expected):
        read_log(lines)


@pytest.mark.parametrize(("line", "expected"), [(b"{", "line 1: not JSON"), (b"[1]", "line 1: found list")])
def test_a_line_that_is_no_object(line: bytes, expected: str) -> None:
    with pytest.raises(LogFault, match=expected):
        read_log([line])


def test_a_name_is_the_same_however_it_is_composed() -> None:
    line = orjson.dumps(event("cancelled", "Zoe\u0308", 1, at(0)))
    assert read_log([line])[0].record.key == "Zo\u00eb".encode()

"""Golden wire bytes: what schema version 1 looks like, for ever.

``tests/golden/<topic>.1.jsonl`` are events as publishers send them, ``<topic>.1.read.jsonl`` what they mean.
``booking-step.1.jsonl`` are the messages that the booking step publishes for a fixed day: key, then value, byte for
byte. A change of any of them is a change of the wire: it needs a new schema version beside the old one. Only an
optional field may be added within a version: a reader that does not know it drops it, and one that does reads what
was written before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from pydantic import TypeAdapter

from planner.booking_step import BookingStep
from planner.events import (
    ALERT_ACTIONS,
    BOOKING_EVENTS,
    CLOCK_EVENTS,
    ORDER_EVENTS,
    STOCK_EVENTS,
    bookings,
    control,
    orders,
    stock,
)
from planner.messages import REQUIREMENTS, Outcome, RequirementStated
from tests.booking.events import event
from tests.driver import Driver
from tests.expansion import sample

GOLDEN = Path(__file__).parents[1] / "golden"
READERS: dict[str, TypeAdapter[Any]] = {
    "bookings": BOOKING_EVENTS,
    "stock": STOCK_EVENTS,
    "orders": ORDER_EVENTS,
    "alert-actions": ALERT_ACTIONS,
    "clock": CLOCK_EVENTS,
}
TYPES = {
    "bookings": bookings.BookingEvent,
    "stock": stock.StockEvent,
    "orders": orders.OrderEvent,
    "alert-actions": control.AlertAction,
}


def lines(name: str) -> list[bytes]:
    return (GOLDEN / name).read_bytes().splitlines()


@pytest.mark.parametrize("topic", READERS)
def test_version_1_is_read_as_it_always_was(topic: str) -> None:
    wire, read = lines(f"{topic}.1.jsonl"), lines(f"{topic}.1.read.jsonl")
    assert len(wire) == len(read) > 0
    for value, meaning in zip(wire, read, strict=True):
        found = READERS[topic].dump_python(READERS[topic].validate_json(value), mode="json")
        assert found == orjson.loads(meaning)


@pytest.mark.parametrize("topic", TYPES)
def test_every_event_is_there(topic: str) -> None:
    models = get_args(get_args(TYPES[topic])[0])
    expected = {model.model_fields["type"].default for model in models}
    assert {orjson.loads(value)["type"] for value in lines(f"{topic}.1.jsonl")} == expected


def produced() -> list[bytes]:
    """Every kind of message the booking step publishes, on a fixed day."""
    # under a version of its own: the digest of the sample's content is no part of the wire
    bundle = sample.bundle().model_copy(update={"version": "golden"})
    driver = Driver(lambda: BookingStep(0, 2, bundle, "event"))
    use = [{"item": "magnesium-vial-2ml", "containers": "2"}]
    driver.feed(
        "bookings",
        event("booked", "b1", 1),
        event("rescheduled", "b1", 2, site="south"),
        event("arrived", "b1", 3, occurred_at="2024-05-07T09:58:00.5+02:00"),
        event("completed", "b1", 4, occurred_at="2024-05-07T12:00:00Z", actual_use=use),
        event("booked", "b2", 1, protocol="ketamine", parameters={"weight_kg": "80", "hours": "4"}, series_id="s"),
        event("missed", "b2", 2),
        event("booked", "b2", 1),
        event("booked", "b3", 1, protocol="gold"),
        b"{broken",
        event("completed", "b4", 1),
    )
    rows = []
    for message in driver.published:
        headers = b"".join(b" %s=%s" % (name.encode(), value) for name, value in message.headers)
        rows.append(b"%s %s%s %s" % (message.topic.encode(), message.key or b"-", headers, message.value or b"-"))
    return rows


def test_the_booking_step_publishes_the_same_bytes() -> None:
    assert produced() == lines("booking-step.1.jsonl")


def test_a_requirement_written_before_fields_were_added_is_still_read() -> None:
    rows = [row.split(b" ", 2) for row in lines("booking-step.1.jsonl")]
    stated = [value for topic, _, value in rows if topic == b"requirements" and b"requirement.stated" in value]
    assert stated
    for value in stated:
        added = {"booked_on", "source", "series_id"}
        body = orjson.loads(value)
        assert added <= body.keys()
        read = REQUIREMENTS.validate_json(orjson.dumps({k: v for k, v in body.items() if k not in added}))
        assert isinstance(read, RequirementStated)
        assert (read.booked_on, read.source, read.series_id) == (None, None, None)
        assert read.series == (body["series_id"] is not None)


def test_what_the_booking_step_publishes_can_be_read() -> None:
    driver = Driver(lambda: BookingStep(0, 2, sample.bundle()))
    driver.feed("bookings", event("booked", "b1", 1), event("booked", "b1", 1))
    for message in driver.published:
        assert message.value is not None
        if message.topic == "requirements":
            REQUIREMENTS.validate_json(message.value)
        else:
            Outcome.model_validate_json(message.value)

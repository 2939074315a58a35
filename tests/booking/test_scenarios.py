"""Scenario tables in plain text, driven through encoded bytes: see ``scenarios/*.txt``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.booking_step import BookingStep
from planner.messages import REQUIREMENTS, Outcome
from planner.step import Message
from tests.driver import Driver
from tests.expansion import sample

SCENARIOS = Path(__file__).parent / "scenarios"
ROW = re.compile(
    r"^(?P<kind>\w+) +(?P<booking>\S+) +(?P<version>\d+)(?P<fields>( +\w+=\S+)*) +-> "
    r"(?P<status>[a-z-]+)( (?P<reason>[a-z-]+))?( \"(?P<detail>[^\"]*)\")?( \| (?P<told>.+))?$"
)


def scenarios() -> Iterator[Any]:
    for file in sorted(SCENARIOS.glob("*.txt")):
        for block in file.read_text(encoding="utf-8").split("\n== ")[1:]:
            title, *rows = block.splitlines()
            yield pytest.param([row for row in rows if row.strip()], id=f"{file.stem}: {title}")


def event_of(match: re.Match[str], number: int) -> tuple[dict[str, Any], bytes | None]:
    """The event of a row, and the key if the row says one."""
    event: dict[str, Any] = {
        "schema_version": 1,
        "type": f"booking.{match['kind']}",
        "event_id": f"e{number}",
        "occurred_at": "2024-05-01T08:00Z",
        "booking_id": match["booking"],
        "version": int(match["version"]),
    }
    if match["kind"] == "booked":
        event |= {"site": "north", "protocol": "magnesium", "start": "2024-05-06T10:00Z"}
    key = None
    for field in match["fields"].split():
        name, _, value = field.partition("=")
        first, _, second = value.partition(":")
        match name:
            case "id":
                event["event_id"] = value
            case "occurred":
                event["occurred_at"] = value
            case "key":
                key = value.encode()
            case "weight_kg" | "hours":
                event.setdefault("parameters", {})[name] = value
            case "remove":
                event["overrides"] = [{"change": "remove", "line": value}]
            case "add":
                event["overrides"] = [{"change": "add", "component": first, "dose": amount(second)}]
            case "change":
                event["overrides"] = [{"change": "change", "line": first, "dose": amount(second)}]
            case "use":
                event["actual_use"] = [{"item": first, "containers": second}]
            case "ml":
                event["actual_use"] = [{"item": first, "volume_ml": second}]
            case _:
                event[name] = value
    return event, key


def amount(text: str) -> dict[str, str]:
    value, unit = text.split("_")
    return {"value": value, "unit": unit}


def told(messages: list[Message]) -> str:
    """What the sites are told; every message is read as its reader would."""
    texts = []
    for message in messages:
        if message.topic == "requirements":
            assert message.value is not None
            read = REQUIREMENTS.validate_json(message.value)
            assert message.key == read.site.encode()
            kind = read.type.removeprefix("requirement.")
            what = getattr(read, "status", None) or getattr(read, "reason", None)
            texts.append(f"{read.site} {kind} {read.revision}" + (f" {what}" if what else ""))
    return "; ".join(texts)


@pytest.mark.parametrize("rows", list(scenarios()))
def test_scenario(rows: list[str]) -> None:
    driver = Driver(lambda: BookingStep(0, 4, sample.bundle()))
    for number, row in enumerate(rows, start=1):
        match = ROW.match(row)
        assert match is not None, f"cannot read the row {row!r}"
        event, key = event_of(match, number)
        messages = driver.feed("bookings", event, key=key)
        outcomes = [Outcome.model_validate_json(m.value) for m in messages if m.topic == "outcomes" and m.value]
        assert len(outcomes) == 1, row
        (outcome,) = outcomes
        shown = f"{outcome.status} {outcome.reason or ''}: {outcome.detail}"
        assert (outcome.status.value, outcome.reason) == (match["status"], match["reason"]), f"{row}\n  gave {shown}"
        assert match["detail"] is None or match["detail"] in (outcome.detail or ""), f"{row}\n  gave {shown}"
        assert told(messages) == (match["told"] or ""), row
        assert (outcome.event_id, outcome.offset) == (event["event_id"], number - 1)
        if outcome.status.value == "refused":
            assert outcome.detail
            driver.restart()  # a refusal leaves nothing behind, in the table or elsewhere


def test_every_rule_and_refusal_has_a_row() -> None:
    """Each reason the booking step can give stands in a table."""
    texts = "".join(file.read_text(encoding="utf-8") for file in SCENARIOS.glob("*.txt"))
    given = set(re.findall(r"-> (?:refused|duplicate) ([a-z-]+)", texts))
    written: set[str] = set()
    source = Path(__file__).parents[2] / "planner"
    for file in [*source.glob("booking/*.py"), *source.glob("expansion/*.py"), source / "records.py"]:
        written |= set(re.findall(r'Refused\(\s*"([a-z-]+)"', file.read_text(encoding="utf-8")))
    # tested in tests/expansion, where a catalogue can be made that brings them about
    assert written - given == {"no-item-fits", "kits-too-deep"}


def test_unreadable_records_are_kept_byte_for_byte() -> None:
    driver = Driver(lambda: BookingStep(0, 4, sample.bundle()))
    good = event_of(ROW.match("booked b1 1 -> applied"), 1)[0]  # type: ignore[arg-type]
    bad = [
        b"{broken",
        b"\xff\x00",
        b"null",
        b"[]",
        b"",
        b'{"type":"booking.booked","name":"Jane Doe"}',
        orjson.dumps(good | {"start": "2024-05-06T10:00:00"}),  # naive
        orjson.dumps(good).replace(b'"version":1', b'"version":1,"parameters":{"weight_kg":NaN}'),
        orjson.dumps(good).replace(b'"version":1', b'"version":1,"parameters":{"weight_kg":1e999}'),
        orjson.dumps(good | {"parameters": {"weight_kg": 0}}),
        orjson.dumps(good | {"booking_id": "b\u202e1"}),
        orjson.dumps(good | {"booking_id": "b\u00001"}),
        orjson.dumps(good | {"version": 2.5}),
        orjson.dumps(good | {"schema_version": 2}),
        orjson.dumps(good | {"overrides": [{"change": "remove", "line": "x"}] * 33}),
        b" " * 10_000_000,
        b"[" * 100_000,
    ]
    driver.feed("bookings", *bad, None, headers=(("trace", b"1"),))
    driver.feed("bookings", good)
    letters = driver.messages("dead-letters")
    assert [m.value for m in letters] == [*bad, None]
    assert all(m.partition == 0 and m.key == driver.log["bookings"][n].key for n, m in enumerate(letters))
    first = dict(letters[0].headers)
    assert (first["topic"], first["partition"], first["offset"], first["reason"], first["trace"]) == (
        b"bookings",
        b"0",
        b"0",
        b"invalid-json",
        b"1",
    )
    reasons = [dict(m.headers)["reason"].decode() for m in letters]
    assert reasons == ["invalid-json"] * 2 + ["invalid-event"] * 2 + ["invalid-json", "invalid-event"] + [
        "invalid-event",
        "invalid-event",
        "invalid-event",
        "invalid-event",
        "invalid-event",
        "invalid-event",
        "invalid-event",
        "unsupported-schema-version",
        "invalid-event",
        "too-large",
        "invalid-json",
        "no-value",
    ]
    outcomes = driver.values("outcomes")
    assert [o["status"] for o in outcomes] == ["dead-lettered"] * len(letters) + ["applied"]
    assert [o["event_id"] for o in outcomes[:-1]] == [f"bookings/0/{n}" for n in range(len(letters))]
    assert not any("Jane" in (o.get("detail") or "") for o in outcomes)
    assert all(len(o.get("detail") or "") < 1_200 for o in outcomes)


def test_unicode_ids_are_one_booking_however_they_are_composed() -> None:
    driver = Driver(lambda: BookingStep(0, 4, sample.bundle()))
    for number, name in enumerate(("Zürich/ü-1", "Zu\u0308rich/u\u0308-1")):
        row = ROW.match(f"booked b1 {number + 1} -> applied")
        assert row is not None
        driver.feed("bookings", event_of(row, number)[0] | {"booking_id": name})
    assert [r["revision"] for r in driver.values("requirements")] == [1, 2]
    assert {r["booking_id"] for r in driver.values("requirements")} == {"Zürich/ü-1"}

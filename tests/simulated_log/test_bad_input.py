"""Generated bad input in its short form: each ends once with a reason, and nothing is harmed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.booking.ledger import Ledger
from planner.step import Effects
from tests.soak import guided
from tests.soak.fuzz.mutate import SPOILS, Input, draw
from tests.soak.fuzz.target import Harm, Target
from tests.soak.fuzz.templates import TEMPLATES


def test_a_thousand_inputs() -> None:
    chance = random.Random(11)
    target = Target()
    for _ in range(4):
        target.feed(draw(chance, 250))
    target.feed([], review=True)
    target.restart()
    assert {status for _, status in target.kinds} == {"applied", "duplicate", "refused", "dead-lettered"}
    assert {kind for kind, _ in target.kinds} > set(SPOILS)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(TEMPLATES)), st.binary(max_size=80))
def test_any_bytes(topic: str, value: bytes) -> None:
    Target().harmless(Input("any", topic, b"key", value))


def test_an_input_is_a_few_records() -> None:
    given = [
        Input("guided", topic, guided.key_of(topic, body), b"{}") for topic, body in (("stock", {}), ("orders", {}))
    ]
    assert guided.records(b"\n".join(map(guided.line, given))) == given
    chance = random.Random(3)
    data = b""
    for _ in range(200):
        data = guided.mutated(data, chance)
    assert 1 <= len(guided.records(data)) <= guided.LINES_MOST


def test_time_that_a_refused_event_tells_forgets_what_is_over() -> None:
    """Found by ``guided``: 26 years lay between the two, and what was known of the first was over."""
    head = {"schema_version": 1, "source": "fuzz", "version": 1}
    waiting = {"type": "booking.cancelled", "event_id": "e1", "occurred_at": "2000-01-01T00:00:00Z", "booking_id": "b1"}
    unknown = {"type": "booking.arrived", "event_id": "e2", "occurred_at": "2026-11-16T14:00:00Z", "booking_id": "b2"}
    target = Target()
    target.feed([Input("first", "bookings", b"b1", json.dumps(head | waiting).encode())])
    before = dict(target.tables[0].entries)
    target.harmless(Input("second", "bookings", b"b2", json.dumps(head | unknown).encode()))
    assert target.ended == {"bookings: applied": 1, "bookings: refused unknown-booking": 1}
    assert before.keys() - target.tables[0].entries.keys(), "the first is forgotten"


def test_a_refused_event_that_changes_a_booking_is_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    head = {"schema_version": 1, "source": "fuzz", "version": 1, "occurred_at": "2026-11-16T14:00:00Z"}
    target = Target()
    turn_page = Ledger.turn_page

    def spoilt(ledger: Ledger, *, more: bool) -> Effects:
        page = turn_page(ledger, more=more)
        page.writes[b"booking\x1fb1"] = b"[]"
        return page

    monkeypatch.setattr(Ledger, "turn_page", spoilt)
    with pytest.raises(Harm, match="b1"):
        unknown = head | {"type": "booking.arrived", "event_id": "e2", "booking_id": "b2"}
        target.harmless(Input("spoilt", "bookings", b"b2", json.dumps(unknown).encode()))


def test_a_few_led_by_coverage(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="there is none for this platform")
    command = [sys.executable, "-m", "tests.soak.guided", "--runs", "150", "--corpus", str(tmp_path / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "harms: none" in done.stdout
    assert "bookings: applied" in done.stdout
    assert len(list((tmp_path / "corpus").iterdir())) > 50, "new code was reached"

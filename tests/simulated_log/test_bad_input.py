"""Generated bad input in its short form: each ends once with a reason, and nothing is harmed."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.soak import guided
from tests.soak.fuzz.mutate import SPOILS, Input, draw
from tests.soak.fuzz.target import Target
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


def test_a_few_led_by_coverage(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="there is none for this platform")
    command = [sys.executable, "-m", "tests.soak.guided", "--runs", "150", "--corpus", str(tmp_path / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "harms: none" in done.stdout
    assert "bookings: applied" in done.stdout
    assert len(list((tmp_path / "corpus").iterdir())) > 50, "new code was reached"

"""Generated bad input in its short form: each ends once with a reason, and nothing is harmed."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

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

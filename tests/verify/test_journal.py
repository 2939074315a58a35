"""The journal's chain: the chunks that led to a state, whatever void entries lie between them."""

from __future__ import annotations

import random

import pytest

from planner.journal import APPLIED, Applied, applied_message, chain


def entry(topic: str, end: int, applied: dict[str, int]) -> Applied:
    return Applied(agent="plan", topic=topic, start=applied.get(topic, 0), end=end, caught_up=True, applied=applied)


def history(steps: list[tuple[str, int]]) -> tuple[list[Applied], dict[str, int]]:
    """Entries of chunks one after the other, by topic and length, and where they end."""
    at: dict[str, int] = {}
    entries = []
    for topic, length in steps:
        entries.append(entry(topic, at.get(topic, 0) + length, dict(at)))
        at[topic] = at.get(topic, 0) + length
    return entries, at


def test_a_message_is_read_back() -> None:
    restored = {"clock": "event", "catalogue_version": None}
    message = applied_message("plan", "stock", 3, 5, 9, caught_up=False, applied={"clock": 1}, restored=restored)
    read = APPLIED.validate_json(message.value or b"")
    assert (message.topic, message.key, message.partition) == ("journal", b"plan", 3)
    assert (read.topic, read.start, read.end, read.caught_up, read.applied) == ("stock", 5, 9, False, {"clock": 1})
    assert read.restored is not None
    assert read.restored.clock == "event"


def test_all_chunks_lead_to_the_end_and_fewer_to_less() -> None:
    entries, at = history([("a", 3), ("b", 2), ("a", 1)])
    assert chain(entries, at) == (entries, {})
    assert chain(entries, {"a": 3, "b": 2}) == (entries[:2], {})
    assert chain(entries, {}) == ([], {})


def test_without_the_beginning_it_says_from_where() -> None:
    entries, at = history([("a", 3), ("b", 2), ("a", 1)])
    assert chain(entries[1:], at) == (entries[1:], {"a": 3})
    # a stretch in the middle is gone: nothing before it can be used
    assert chain([entries[0], entries[2]], at) == ([entries[2]], {"a": 3, "b": 2})


def test_a_table_that_began_anew_has_its_last_history() -> None:
    former, _ = history([("a", 3), ("b", 2)])
    latter, at = history([("b", 1), ("a", 7)])
    assert chain([*former, *latter], at) == (latter, {})


@pytest.mark.parametrize("seed", range(200))
def test_void_entries_are_left_out(seed: int) -> None:
    rng = random.Random(seed)
    entries, at = history([(rng.choice("abc"), rng.randint(1, 4)) for _ in range(rng.randint(1, 30))])
    written = []
    for one in entries:
        # before it came to be: tries that led to nothing, by this worker or one that lost its partition
        for _ in range(rng.randint(0, 2)):
            topic = rng.choice("abc")
            written.append(entry(topic, one.applied.get(topic, 0) + rng.randint(1, 9), dict(one.applied)))
            stale = rng.choice(entries[: entries.index(one) + 1])
            written.append(entry(topic, stale.applied.get(topic, 0) + rng.randint(200, 209), dict(stale.applied)))
        written += [one] * rng.randint(1, 2)  # a publication may be repeated
    assert chain(written, at) == (entries, {}), f"seed {seed}"

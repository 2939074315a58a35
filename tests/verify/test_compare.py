"""Two tables to their first difference: which entry, which field, both values."""

from __future__ import annotations

from dataclasses import astuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.topics import composed_key
from planner.verify.compare import differences, first_difference

TABLES = st.dictionaries(st.binary(max_size=3), st.binary(max_size=3), max_size=5)


def told(key: bytes, recomputed: object, found: object) -> tuple[str, ...]:
    """The difference of one entry, JSON on both sides."""
    one = {} if recomputed is None else {key: orjson.dumps(recomputed)}
    other = {} if found is None else {key: orjson.dumps(found)}
    difference = first_difference(one, other, "plan-table/1")
    assert difference is not None
    return astuple(difference)[1:]


def test_equal_tables_have_none() -> None:
    assert first_difference({b"a": b"1", b"b": b"2"}, {b"b": b"2", b"a": b"1"}, "t") is None


def test_the_first_in_the_order_of_keys_is_told_with_its_table() -> None:
    difference = first_difference({b"b": b"1", b"a": b"1"}, {b"a": b"2", b"c": b"1"}, "plan-table/3")
    assert str(difference) == "plan-table/3: a: recomputed 1, found 2"


BOOKING = composed_key("booking", "north", "bk-1")
STOCK = composed_key("stock", "north", "needle")
LINES = {"lines": {"needle": [10, None, 0]}}


@pytest.mark.parametrize(
    ("key", "recomputed", "found", "expected"),
    [
        (BOOKING, [1, 2, 3, "s"], None, ("booking / north / bk-1", "", '[1,2,3,"s"]', "(none)")),
        (BOOKING, None, [1], ("booking / north / bk-1", "", "(none)", "[1]")),
        (BOOKING, [1, 2, 3, "s", "p", "booked"], [1, 2, 3, "s", "p", "used"],
         ("booking / north / bk-1", "status", '"booked"', '"used"')),
        (STOCK, {"lots": [["A", "2026-01-01", 5, False]]}, {"lots": [["A", "2026-01-01", 6, False]]},
         ("stock / north / needle", "lots[0].quantity", "5", "6")),
        (STOCK, {"lots": [], "deficit": 1}, {"lots": []}, ("stock / north / needle", "deficit", "1", "(none)")),
        (composed_key("order", "north", "o1"), LINES, {"lines": {"needle": [10, None, 4]}},
         ("order / north / o1", "lines.needle.delivered", "0", "4")),
        (b"alert", {"a": {"b": [1, 2]}}, {"a": {"b": [1, 2, 3]}}, ("alert", "a.b[2]", "(none)", "3")),
        (b"number", {"a": 1}, {"a": 1.0}, ("number", "a", "1", "1.0")),
        (b"truth", 1, True, ("truth", "", "1", "true")),
    ],
)  # fmt: skip
def test_the_field_is_named(key: bytes, recomputed: object, found: object, expected: tuple[str, ...]) -> None:
    assert told(key, recomputed, found) == expected


def test_the_same_json_in_other_bytes_is_a_difference() -> None:
    difference = first_difference({b"k": b'{"a":1}'}, {b"k": b'{"a": 1}'}, "t")
    assert difference is not None
    assert (difference.field, difference.recomputed, difference.found) == ("bytes", "b'{\"a\":1}'", "b'{\"a\": 1}'")


def test_bytes_that_are_no_json_and_long_values_are_shown() -> None:
    difference = first_difference({b"\xff": b"\xff"}, {b"\xff": b"[" + b"1," * 500 + b"1]"}, "t")
    assert difference is not None
    assert difference.key == "\\xff"
    assert difference.recomputed == "b'\\xff'"
    assert difference.found.endswith("…")
    assert len(difference.found) < 400


@given(TABLES, TABLES)
def test_there_is_one_just_when_they_differ(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    assert (first_difference(one, other, "t") is None) == (one == other)
    told = list(differences(one, other, "t"))
    assert len(told) == sum(one.get(key) != other.get(key) for key in one.keys() | other.keys())

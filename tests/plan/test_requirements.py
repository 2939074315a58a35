"""Requirement records are read the same whether or not their lines are known."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from planner.plan.requirements import Read, RequirementReader
from planner.step import Record
from tests.driver import encode
from tests.plan.clinic import (
    Desk,
    at,
)

# --- reading requirements ---------------------------------------------------------------------------------


def read(reader: RequirementReader, value: bytes) -> Any:
    return reader.read(Record("requirements", 0, 0, 0, b"north", value))


def test_known_lines_are_read_as_new_ones_are() -> None:
    desk = Desk()
    reader = RequirementReader()
    for number in range(6):
        value = desk.stated(f"b{number}", at(number), at(0), series=number % 2 == 0)
        fresh, known = read(RequirementReader(), value), read(reader, value)
        assert isinstance(fresh, Read)
        assert fresh.profile == known.profile
        head = {"lines"}
        assert fresh.message.model_dump(exclude=head) == known.message.model_dump(exclude=head)


@pytest.mark.parametrize(
    "forge",
    [
        lambda v: v.replace(b'"revision":1', b'"revision":0'),
        lambda v: v.replace(b'"site":"north"', b'"site":"No rth"'),
        lambda v: v.replace(b'{"type"', b'{"x":{"type"', 1),
        lambda v: v[:-1] + b',"status":"lost"}',
        lambda v: v[:-1],
        lambda v: v + b"}",
        lambda v: v.replace(b'"requirement.stated"', b'"requirement.unheard"'),
    ],
)
def test_known_lines_make_no_bad_record_good(forge: Any) -> None:
    desk = Desk()
    reader = RequirementReader()
    value = desk.stated("b", at(1), at(0))
    assert isinstance(read(reader, value), Read)
    forged = forge(value)
    assert forged != value
    assert read(reader, forged) == read(RequirementReader(), forged)
    assert not isinstance(read(reader, forged), Read)


def test_lines_followed_by_something_are_read_whole() -> None:
    desk = Desk()
    body = orjson.loads(desk.stated("b", at(1), at(0)))
    moved = {"lines": body.pop("lines"), **body}
    reader = RequirementReader()
    first = read(reader, b'{"schema_version":1,' + encode(moved)[1:])
    again = read(reader, b'{"schema_version":1,' + encode({**moved, "booking_id": "c"})[1:])
    assert (first.message.booking_id, again.message.booking_id) == ("b", "c")

"""Rows of exports, in plain text: what each line gives, or why it gives nothing."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.events import BOOKING_EVENTS
from planner.importing.mapping import Mapping
from planner.importing.rows import RowError, RowReader
from streams.importer import ExportError, Import, load_mapping, read_export
from tests.importing.data import CITY_MAPPING

MAPPING = """
name: clinic-system
site: {column: place, values: {N: north, H: harbor}}
timezone: America/New_York
delimiter: ";"
columns: {booking_id: id, start: when, booked: made, status: state, status_changed: changed, series: plan}
date_formats: ["%Y-%m-%d %H:%M", "%d.%m.%Y"]
start_time: "09:00"
occurred_time: {booked: "06:00", cancelled: "07:30", completed: "18:00"}
statuses:
  open: {event: null}
  done: {event: completed}
  gone: {event: cancelled, at: status_changed}
  absent: {event: missed}
protocols:
  - {when: {kind: mag}, protocol: magnesium}
  - {when: {kind: [ket, ketamine]}, protocol: ketamine, parameters: {weight_kg: {column: kg}, hours: 4}}
"""
HEADER = "id;place;when;made;state;changed;plan;kind;kg"


def read(tmp_path: Path, *lines: str, header: str = HEADER, mapping: str = MAPPING) -> Import:
    (tmp_path / "map.yaml").write_text(mapping, encoding="utf-8")
    (tmp_path / "export.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return read_export(tmp_path / "export.csv", load_mapping(tmp_path / "map.yaml"))


EXPECTED = [
    # row, then each event as: kind occurred_at → what stands in it
    (
        "b1;N;2026-03-02 10:30;01.03.2026;done;;;mag;",
        ["booked 2026-03-01T06:00:00-05:00 north magnesium 2026-03-02T10:30:00-05:00",
         "completed 2026-03-02T10:30:00-05:00"],
    ),
    (
        "b2;H;05.07.2026;01.07.2026;gone;03.07.2026;p7;mag;",
        ["booked 2026-07-01T06:00:00-04:00 harbor magnesium 2026-07-05T09:00:00-04:00 series p7",
         "cancelled 2026-07-03T07:30:00-04:00"],
    ),
    (
        "b3;H;05.07.2026;05.07.2026;absent;;;ket;82.5",
        ["booked 2026-07-05T06:00:00-04:00 harbor ketamine 2026-07-05T09:00:00-04:00 82.5 kg 4 h",
         "missed 2026-07-05T18:00:00-04:00"],
    ),
    (
        "b4;N;05.07.2026;05.07.2026;open;;;ketamine;70",
        ["booked 2026-07-05T06:00:00-04:00 north ketamine 2026-07-05T09:00:00-04:00 70 kg 4 h"],
    ),
]  # fmt: skip


def in_words(value: bytes) -> str:
    event = orjson.loads(value)
    words = [event["type"].removeprefix("booking."), event["occurred_at"]]
    words += [event[name] for name in ("site", "protocol", "start") if name in event]
    parameters = event.get("parameters", {})
    words += [
        f"{parameters[name]} {unit}" for name, unit in (("weight_kg", "kg"), ("hours", "h")) if name in parameters
    ]
    words += [f"series {event['series_id']}"] if "series_id" in event else []
    return " ".join(words)


@pytest.mark.parametrize(("row", "events"), EXPECTED, ids=[row[:2] for row, _ in EXPECTED])
def test_what_a_row_says(tmp_path: Path, row: str, events: list[str]) -> None:
    found = read(tmp_path, row)
    assert [in_words(event.value) for event in found.events] == events
    assert found.unreadable == []


UNREADABLE = [
    (";N;05.07.2026;01.07.2026;open;;;mag;", "id: found nothing; expected a value"),
    (
        "x;N;2026-07-05;01.07.2026;open;;;mag;",
        "when: found '2026-07-05'; expected a date as %Y-%m-%d %H:%M or %d.%m.%Y",
    ),
    ("x;N;31.02.2026;01.02.2026;open;;;mag;", "when: found '31.02.2026'; expected a date as"),
    ("x;N;05.07.2026;;open;;;mag;", "made: found nothing; expected a value"),
    ("x;N;05.07.2026;01.07.2026;maybe;;;mag;", "state: found 'maybe'; expected one of open, done, gone, absent"),
    ("x;Q;05.07.2026;01.07.2026;open;;;mag;", "place: found 'Q'; expected one of N, H"),
    ("x;N;05.07.2026;01.07.2026;open;;;gold;", "no rule of protocols holds for kind 'gold'"),
    ("x;N;05.07.2026;01.07.2026;open;;;ket;", "kg: found nothing; expected a value"),
    ("x;N;05.07.2026;01.07.2026;open;;;ket;heavy", "kg: found 'heavy'; expected a number"),
    (
        "x;N;05.07.2026;01.07.2026;open;;;ket;-4",
        "booking.booked.parameters.weight_kg: found '-4'; Input should be greater than 0",
    ),
    ("x;N;05.07.2026;01.07.2026;gone;30.06.2026;;mag;", "changed: found '30.06.2026'; expected not before made"),
    ("x;N;05.07.2026;01.07.2026;gone;;;mag;", "changed: found nothing; expected a value"),
    (
        "x\u202e;N;05.07.2026;01.07.2026;open;;;mag;",
        "booking.booked.event_id: found 'clinic-system:x\\u202e:1:booked'; Value error, expected printable",
    ),
    ("x;N;05.07.2026", "found 3 cells; expected 9"),
    ('x;N;"05.07.2026"1;01.07.2026;open;;;mag;', "not a line of a CSV file: ';' expected after '\"'"),
]


@pytest.mark.parametrize(("row", "reason"), UNREADABLE, ids=[str(n) for n in range(len(UNREADABLE))])
def test_an_unreadable_row_is_named_and_the_others_go_on(tmp_path: Path, row: str, reason: str) -> None:
    good = EXPECTED[0][0]
    found = read(tmp_path, good, row, good.replace("b1", "b9"))
    assert [fault.line for fault in found.unreadable] == [3]
    assert found.unreadable[0].reason.startswith(reason)
    assert [event.key for event in found.events] == [b"b1", b"b9", b"b1", b"b9"]
    assert found.rows == 3


def test_an_id_found_again_is_a_fault_of_the_second_row(tmp_path: Path) -> None:
    row = EXPECTED[3][0]
    found = read(tmp_path, row, row)
    assert [(f.line, f.reason) for f in found.unreadable] == [(3, "id: found again; it is in line 2 already")]
    assert len(found.events) == 1


def test_events_come_as_they_happened(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "late;N;05.07.2026;05.07.2026;done;;;mag;",
        "early;N;05.07.2026;01.07.2026;gone;05.07.2026;;mag;",
        "same;N;06.07.2026;05.07.2026;open;;;mag;",
    )
    assert [(event.key.decode(), event.kind) for event in found.events] == [
        ("early", "booked"),
        ("late", "booked"),
        ("same", "booked"),
        ("early", "cancelled"),
        ("late", "completed"),
    ]


def test_importing_twice_says_the_same(tmp_path: Path) -> None:
    rows = [row for row, _ in EXPECTED]
    assert read(tmp_path, *rows).events == read(tmp_path, *rows).events
    ids = [orjson.loads(event.value)["event_id"] for event in read(tmp_path, *rows).events]
    assert len(set(ids)) == len(ids)


FAULTY_FILES = [
    ("id;place;when", "expected the columns made, state, changed, plan, kind, kg; found id, place, when"),
    (HEADER + ";kg", "expected each column once; found kg more than once"),
]


@pytest.mark.parametrize(("header", "reason"), FAULTY_FILES)
def test_a_file_that_is_not_what_the_mapping_says(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        read(tmp_path, header=header)


def test_an_empty_file_and_one_that_is_not_gzip(tmp_path: Path) -> None:
    mapping = load_mapping(CITY_MAPPING)
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(ExportError, match=r"empty\.csv:1: expected a header line; the file is empty"):
        read_export(tmp_path / "empty.csv", mapping)
    (tmp_path / "not.csv.gz").write_bytes(b"booking_id,arrival_date\n")
    with pytest.raises(ExportError, match="cannot be read"):
        read_export(tmp_path / "not.csv.gz", mapping)
    whole = gzip.compress((HEADER + "\n" + EXPECTED[0][0] + "\n").encode() * 500)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match="cannot be read"):
        read_export(tmp_path / "cut.csv.gz", Mapping.model_validate(mapping_of(MAPPING)))


def mapping_of(text: str) -> object:
    from ruamel.yaml import YAML  # noqa: PLC0415

    return YAML(typ="safe", pure=True).load(text)


FAULTY_MAPPINGS = [
    (
        "timezone: America/New_York",
        "timezone: Mars/Base",
        "map.yaml:4: timezone: found 'Mars/Base'; Value error, expected",
    ),
    ("  done: {event: completed}", "  done: {event: finished}", "map.yaml:12: statuses.done.event: found 'finished'"),
    ('delimiter: ";"', "delimitor: ';'", "map.yaml:5: delimitor: found ';'; Extra inputs are not permitted"),
    ('cancelled: "07:30"', 'cancelled: "19:30"', "expected booked, then cancelled, then completed within a day"),
    ("status_changed: changed, ", "", "expected columns.status_changed"),
    ('start_time: "09:00"', 'start_time: "25:00"', "expected a time of day such as '08:30', found '25:00'"),
    ("site: {column", "site: [column", "map.yaml:3: file: expected"),
    ("name: clinic-system", "name: a\nname: b", "map.yaml:3: name: name: expected each key once"),
]


@pytest.mark.parametrize(("right", "wrong", "reason"), FAULTY_MAPPINGS)
def test_a_faulty_mapping_names_line_field_and_what_was_expected(
    tmp_path: Path, right: str, wrong: str, reason: str
) -> None:
    assert right in MAPPING
    with pytest.raises(ExportError) as caught:
        read(tmp_path, mapping=MAPPING.replace(right, wrong))
    assert reason in str(caught.value)


@given(cells=st.lists(st.text(max_size=12), min_size=9, max_size=9))
@settings(max_examples=200, deadline=None)
def test_any_row_gives_events_that_parse_or_a_reason(cells: list[str]) -> None:
    reader = RowReader(Mapping.model_validate(mapping_of(MAPPING)))
    row = dict(zip(HEADER.split(";"), cells, strict=True))
    row |= {"place": "N", "when": "05.07.2026", "made": "01.07.2026", "state": "open", "kind": "ket"}
    try:
        events = reader.events(2, row)
    except RowError as error:
        assert str(error)
    else:
        for event in events:
            assert BOOKING_EVENTS.validate_json(event.value).booking_id.encode() == event.key


@given(st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() and text == text.strip()))
def test_a_days_slot_depends_on_the_id_alone(booking_id: str) -> None:
    mapping = load_mapping(CITY_MAPPING)
    row = {
        "booking_id": booking_id, "arrival_date": "2016-05-03", "booked_date": "2016-05-01", "status": "Check-Out",
        "status_date": "2016-05-05", "reserved_room_type": "A", "meal": "BB", "customer_type": "Transient",
    }  # fmt: skip
    starts = set()
    for day in ("2016-05-03", "2016-12-24"):
        events = RowReader(mapping).events(2, row | {"arrival_date": day, "status_date": day})
        start = datetime.fromisoformat(orjson.loads(events[0].value)["start"])
        assert start.date().isoformat() == day
        starts.add(start.time())
        completed = datetime.fromisoformat(orjson.loads(events[1].value)["occurred_at"])
        assert start < completed.astimezone(UTC)
    assert len(starts) == 1
    assert "08:00" <= starts.pop().strftime("%H:%M") <= "16:30"

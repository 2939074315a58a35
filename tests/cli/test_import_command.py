"""``planner import``: from a CSV to what became of each event."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.cli.worker import Worker, planner
from tests.importing.data import CITY, CITY_MAPPING, needs_city

HEADER = "booking_id,arrival_date,booked_date,status,status_date,market_segment,customer_type,meal,reserved_room_type\n"
ROWS = """\
c1,2016-05-03,2016-04-01,Check-Out,2016-05-05,Direct,Transient,BB,A
c2,2016-05-03,2016-04-01,Canceled,2016-04-09,Direct,Transient,BB,F
c3,2016-05-03,2016-04-01,Perhaps,2016-04-09,Direct,Transient,BB,F
c4,2016-05-03,2016-05-03,No-Show,2016-05-03,Direct,Transient,BB,C
c5,2016-05-03,2016-05-03,Check-Out,2016-05-03,Direct,Transient,BB,L
"""


@pytest.fixture
def export(tmp_path: Path) -> Path:
    file = tmp_path / "export.csv"
    file.write_text(HEADER + ROWS)
    return file


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("log"), "--clock", "event") as running:
        yield running


def bookings(broker: str, file: Path, *options: str) -> tuple[int, str, str]:
    result = planner(broker, "import", "bookings", str(file), "--map", str(CITY_MAPPING), *options)
    return result.exit_code, result.stdout, result.stderr


def test_a_dry_run_needs_no_log(export: Path) -> None:
    code, out, _ = bookings("sqlite:///nowhere/planner.db", export, "--dry-run")
    assert code == 3, "rows that cannot be read"
    assert "5 rows, 2 of them not readable: 6 events (3 booked, 1 cancelled, 1 completed, 1 missed)" in out
    assert "status: found 'Perhaps'; expected one of Check-Out, Canceled, No-Show" in out
    assert "no rule of protocols holds for reserved_room_type 'L'" in out


def test_events_can_go_to_a_file(export: Path, tmp_path: Path, worker: Worker) -> None:
    target = tmp_path / "events.jsonl"
    code, out, _ = bookings(worker.broker, export, "--out", str(target))
    assert code == 3
    assert f"written to {target}" in out
    events = [json.loads(line) for line in target.read_text().splitlines()]
    assert [event["type"].removeprefix("booking.") for event in events] == [
        "booked", "booked", "cancelled", "booked", "completed", "missed",
    ]  # fmt: skip


def test_importing_twice_changes_nothing(export: Path, worker: Worker) -> None:
    first = json.loads(bookings(worker.broker, export, "--json")[1])
    assert first["outcomes"] == {"sent": 6, "unanswered": 0, "applied": 6, "reasons": {}}
    assert [fault["line"] for fault in first["unreadable"]] == [4, 6]
    again = json.loads(bookings(worker.broker, export, "--json")[1])
    assert (again["outcomes"]["sent"], again["outcomes"]["duplicate"]) == (6, 6)


def test_a_mapping_with_faults_is_one_clear_message(export: Path, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(CITY_MAPPING.read_text().replace("booked_date", "made"))
    result = planner("sqlite:///x/y.db", "import", "bookings", str(export), "--map", str(tmp_path / "map.yaml"))
    assert result.exit_code == 1
    assert "expected the columns made" in result.stderr


@needs_city
def test_the_first_weeks_of_the_real_book_go_through(tmp_path: Path) -> None:
    """On a log of their own: beside later events, bookings long over are refused."""
    file = tmp_path / "city.csv.gz"
    with gzip.open(CITY, "rt") as source, gzip.open(file, "wt") as target:
        target.writelines(islice(source, 1001))
    (tmp_path / "log").mkdir()
    with Worker(tmp_path / "log", "--clock", "event") as worker:
        code, out, err = bookings(worker.broker, file)
    assert code == 0, out + err
    assert "1,000 rows: 2,000 events" in out
    assert "2,000 sent: 2,000 applied" in out

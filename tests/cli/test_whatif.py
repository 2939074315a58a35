"""``planner whatif``: on a running log and on a file of events, and what it says where it cannot answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.worker import Worker, planner

VIAL = "magnesium-sulfate-500mg-ml-2ml-vial"
KETOROLAC = "ketorolac-30mg-ml-1ml-vial"
FIRST = datetime(2026, 3, 2, 17, tzinfo=UTC)
"""A Monday, ten in the morning at the site."""
DAYS = 26


def book() -> list[dict[str, Any]]:
    """Three sessions on each working day, booked three days before; those of the last five days are yet to come."""
    events: list[dict[str, Any]] = []
    for day in range(DAYS):
        for number in range(3):
            start = FIRST + timedelta(days=day, hours=number)
            if start.weekday() > 4:
                continue
            booking = {"booking_id": f"bk-{day}-{number}", "source": "test"}
            booked = start - timedelta(days=3)
            events.append(
                booking
                | {"type": "booking.booked", "event_id": f"b-{day}-{number}", "version": 1, "site": "north"}
                | {"occurred_at": booked.isoformat(), "protocol": "magnesium", "start": start.isoformat()}
            )
            if day < DAYS - 5:
                told = (start + timedelta(hours=1)).isoformat()
                done = {"type": "booking.completed", "event_id": f"d-{day}-{number}", "version": 2}
                events.append(booking | done | {"occurred_at": told})
    received = [
        {
            "type": "stock.received", "event_id": f"r-{item}", "occurred_at": (FIRST - timedelta(days=3)).isoformat(),
            "site": "north", "item": item, "lot": "L1", "expiry": "2027-03-01", "quantity": quantity,
        }
        for item, quantity in ((VIAL, 125), (KETOROLAC, 14))
    ]  # fmt: skip
    return sorted([*received, *events], key=lambda event: str(event["occurred_at"]))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("events") / "events.jsonl"
    file.write_text("\n".join(json.dumps(event) for event in book()))
    return file


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, events: Path) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("log"), "--clock", "event") as running:
        published = planner(running.broker, "publish", str(events))
        assert published.exit_code == 0, published.output
        running.until(
            lambda: not any(row["waiting"] for row in topics(running)),
            "everything is applied, the alerts of all days too",
        )
        yield running


def topics(worker: Worker) -> list[dict[str, Any]]:
    return [json.loads(line) for line in planner(worker.broker, "topics", "--json").stdout.splitlines()]


def written(worker: Worker) -> dict[str, int]:
    """Topic → records written; not of those that the worker itself publishes a little later."""
    return {row["topic"]: row["written"] for row in topics(worker) if row["topic"] not in {"forecasts", "accuracy"}}


QUICK = ("--days", "12", "--runs", "1")


def test_both_answers_from_a_running_log_that_stays_as_it_is(worker: Worker) -> None:
    before = written(worker)
    asked = ("whatif", "north", "--lead-time", "wholesaler=15", "--lead-time", f"{VIAL}=20", *QUICK, "--json")
    result = planner(worker.broker, *asked)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["site"] == "north"
    assert found["catalogue_version"] != found["changed_catalogue_version"]
    vial = found["now"]["items"][VIAL]
    assert vial["after"]["order_by"] < vial["before"]["order_by"]
    totals = found["now"]["totals"]
    assert totals["risk"]["after"] >= totals["risk"]["before"]
    walked = found["walked"]
    assert (walked["seeds"], walked["days"]) == ([1], 12)
    assert walked["figures"]["sessions"]["before"] == walked["figures"]["sessions"]["after"] > 0
    assert walked["figures"]["mean_value"]["difference"] != 0
    assert walked["figures"]["money"]["interval"] is None, "a single run"
    assert written(worker) == before
    assert planner(worker.broker, *asked).stdout == result.stdout, "same seed, same answer"


def test_tables_for_people(worker: Worker) -> None:
    result = planner(worker.broker, "whatif", "north", "--bookings", "+50%", "--days", "12", "--runs", "2")
    assert result.exit_code == 0, result.output
    assert "now: north at 2026-03-" in result.stdout
    assert VIAL in result.stdout
    assert "the 12 days from 2026-03-09 to 2026-03-20, after 7 days of learning; seeds 1 to 2" in result.stdout
    assert "difference (95 %)" in result.stdout
    assert "sessions sent home" in result.stdout


def test_another_version_of_a_protocol_is_stated_anew_for_present_bookings(worker: Worker) -> None:
    result = planner(worker.broker, "whatif", "north", "--protocol", "magnesium=1", *QUICK, "--json")
    assert result.exit_code == 0, result.output
    items = json.loads(result.stdout)["now"]["items"]
    # version 1 has no ketorolac: what is booked needs none any more
    assert items[KETOROLAC]["before"]["risk"] > items[KETOROLAC]["after"]["risk"] + 0.05


def test_a_file_of_events_instead_of_a_log(tmp_path: Path, events: Path) -> None:
    broker = f"sqlite:///{tmp_path}/none/planner.db"
    result = planner(broker, "whatif", "north", "--service-level", "0.6", "--events", str(events), *QUICK, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["now"] is None
    assert found["walked"]["figures"]["mean_value"]["difference"] < 0
    assert not (tmp_path / "none").exists()


NOTHING_ASKED = "nothing is changed; expected --service-level"
REFUSED = [
    (("north",), 2, NOTHING_ASKED),
    (("atlantis", "--bookings", "+20%"), 6, "no site 'atlantis'; the catalogue has city, harbor, lakeside, north"),
    (("north", "--service-level", "0.98"), 2, "nothing is changed: all that was asked for is so already"),
    (("north", "--service-level", "much"), 2, "found 'much'; expected a number between 0 and 1"),
    (("north", "--service-level", "2"), 2, "service-level: found 2; expected above 0 and below 1"),
    (("north", "--lead-time", "acme=3"), 2, "lead-time: found 'acme'"),
    (("north", "--lead-time", "wholesaler=soon"), 2, "wholesaler: found 'soon'; expected a whole number"),
    (("north", "--lead-time", "wholesaler"), 2, "found 'wholesaler'; expected NAME=VALUE"),
    (("north", "--supplier", f"{VIAL}=acme"), 2, f"supplier: {VIAL}: found 'acme'; expected one of"),
    (("north", "--protocol", "magnesium=9"), 2, "protocol: magnesium: found version 9; expected one of 1, 2"),
    (("north", "--bookings", "20"), 2, "found '20'; expected more or fewer in percent"),
    (("north", "--bookings", "-95%"), 2, "bookings: found -95%; expected from -90% to +100%"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSED, ids=[" ".join(a) for a, _, _ in REFUSED])
def test_what_cannot_be_asked_is_said(arguments: tuple[str, ...], code: int, said: str, events: Path) -> None:
    result = planner("sqlite:///none/planner.db", "whatif", *arguments, "--events", str(events))
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stdout == ""


def test_a_log_without_completions_still_answers_for_now(worker: Worker, tmp_path: Path) -> None:
    empty = tmp_path / "events.jsonl"
    empty.write_text("")
    from_file = planner(worker.broker, "whatif", "north", "--bookings", "+20%", "--events", str(empty))
    assert from_file.exit_code == 1
    assert "bookings of north: found no completed session" in from_file.stderr
    nowhere = planner(worker.broker, "whatif", "harbor", "--bookings", "+20%")
    assert nowhere.exit_code == 6
    assert "nothing is known of site 'harbor' yet" in nowhere.stderr

"""The commands beside a running worker on the embedded log: what they say, where, and with which exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.load import DEFAULT_CATALOGUE
from tests.cli.worker import Worker, as_process, planner

VIAL = "magnesium-sulfate-500mg-ml-2ml-vial"
BOOKED = {
    "type": "booking.booked", "occurred_at": "2026-03-02T09:00:00-07:00", "version": 1, "site": "north",
    "protocol": "magnesium", "start": "2026-03-05T10:00:00-07:00",
}  # fmt: skip
RECEIVED = {
    "type": "stock.received", "event_id": "r1", "occurred_at": "2026-03-02T08:00:00-07:00", "site": "north",
    "item": VIAL, "lot": "L[red]1", "expiry": "2027-03-01", "quantity": 25,
}  # fmt: skip
TICK = "2026-03-02T18:00:00Z"
EVENTS = "\n".join(
    json.dumps(event)
    for event in (
        RECEIVED,
        BOOKED | {"event_id": "b1", "booking_id": "bk [bold]1"},
        BOOKED | {"event_id": "b2", "booking_id": "bk-2", "site": "nowhere"},
        BOOKED | {"event_id": "b3", "booking_id": "bk-3", "occurred_at": "2026-03-02T09:00:00"},
        {"type": "clock.ticked", "event_id": "c1", "occurred_at": TICK, "now": TICK},
    )
)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("log"), "--clock", "event") as running:
        published = planner(running.broker, "publish", "-", stdin=EVENTS)
        assert published.exit_code == 4, published.output
        running.until(
            lambda: f'"{VIAL}"' in planner(running.broker, "forecasts", "--site", "north", "--json").stdout,
            "there are forecasts",
        )
        yield running


def lines(text: str) -> list[dict[str, object]]:
    """JSON Lines: every line must be JSON."""
    return [json.loads(line) for line in text.splitlines()]


# --- publish ----------------------------------------------------------------------------------------------


def test_publish_says_what_became_of_each_event(worker: Worker) -> None:
    result = planner(worker.broker, "publish", "-", "--json", stdin=EVENTS)
    assert result.exit_code == 4
    *answers, total = lines(result.stdout)
    became = {answer["label"]: (answer["status"], answer.get("reason")) for answer in answers}
    assert became == {
        "line 1": ("duplicate", "same-event"),
        "line 2": ("duplicate", "same-event"),
        "line 3": ("refused", "unknown-site"),
        "line 4": ("dead-lettered", "invalid-event"),
    }
    assert {name: total[name] for name in ("sent", "unanswered", "duplicate", "refused", "dead-lettered")} == {
        "sent": 8, "unanswered": 0, "duplicate": 2, "refused": 1, "dead-lettered": 1,
    }  # fmt: skip


def test_publish_does_not_send_lines_that_are_no_events(worker: Worker) -> None:
    bad = '{broken\n[1]\n{"type":"weather.changed"}\n\n{"type":7}\n'
    result = planner(worker.broker, "publish", "-", stdin=bad)
    assert result.exit_code == 3
    assert "0 sent" in result.stdout
    assert "line 1 was not sent: not JSON" in result.stderr
    assert "line 2 was not sent: expected a JSON object, found list" in result.stderr
    assert "line 3 was not sent: type: found 'weather.changed'; expected booking.…" in result.stderr
    assert "line 5 was not sent: type: found 7" in result.stderr


def test_publish_all_well_is_exit_code_0(worker: Worker) -> None:
    event = BOOKED | {"event_id": "fine-1", "booking_id": "bk-fine", "protocol": "hydration"}
    result = planner(worker.broker, "publish", "-", stdin=json.dumps(event))
    assert (result.exit_code, result.stdout.strip()) == (0, "1 sent: 1 applied")
    again = planner(worker.broker, "publish", "-", stdin=json.dumps(event))
    assert (again.exit_code, again.stdout.strip()) == (0, "1 sent: 1 duplicate")


def test_dead_letters_are_listed_and_sent_again_once(worker: Worker) -> None:
    raw = planner(worker.broker, "publish", "-", "--raw", "stock", stdin=b"\xff\x1b[31m not json\n")
    assert raw.exit_code == 4, raw.output
    listed = planner(worker.broker, "dead-letters", "--match", "not json")
    assert "invalid-json" in listed.stdout
    assert "\\x1b[31m" in listed.stdout, "control characters are shown, not obeyed"
    (letter,) = lines(planner(worker.broker, "dead-letters", "--match", "not json", "--json").stdout)
    assert letter["topic"] == "stock"
    assert letter["value_base64"] == "/xtbMzFtIG5vdCBqc29u"
    replayed = planner(worker.broker, "dead-letters", "replay", "--match", "not json")
    assert replayed.exit_code == 4, "it is still no JSON: a new dead letter"
    names = [
        found["letter"]
        for found in lines(planner(worker.broker, "dead-letters", "--match", "not json", "--json").stdout)
    ]
    assert len(names) == 1
    assert names != [letter["letter"]], "the first is marked as sent again, the new one stands"
    everything = lines(planner(worker.broker, "dead-letters", "--all", "--match", "not json", "--json").stdout)
    assert [(found["letter"], found["replayed"]) for found in everything] == [
        (letter["letter"], True),
        (names[0], False),
    ]


# --- reading ----------------------------------------------------------------------------------------------


def test_forecasts_as_table_and_as_json(worker: Worker) -> None:
    one = planner(worker.broker, "forecasts", "--site", "north", "--item", VIAL, "--days", "5")
    assert one.exit_code == 0
    assert f"north  item {VIAL}, containers" in one.stdout
    assert "Thu 2026-03-05" in one.stdout
    (found,) = lines(planner(worker.broker, "forecasts", "--site", "north", "--item", VIAL, "--json").stdout)
    assert found["on_hand"] == 25
    several = planner(worker.broker, "forecasts", "--site", "north")
    assert several.stdout.count("\n") > 10
    group = lines(planner(worker.broker, "forecasts", "--group", "magnesium-sulfate", "--json").stdout)
    assert {(f["kind"], f["id"]) for f in group} == {("group", "magnesium-sulfate")}


def test_a_forecast_that_is_not_there(worker: Worker) -> None:
    result = planner(worker.broker, "forecasts", "--item", "unobtainium")
    assert (result.exit_code, result.stdout) == (6, "")
    assert "no such forecast" in result.stderr


def test_requirements_of_a_booking_with_markup_in_its_id(worker: Worker) -> None:
    result = planner(worker.broker, "requirements", "bk [bold]1")
    assert result.exit_code == 0
    assert result.stdout.startswith("bk [bold]1: booked\n")
    assert VIAL in result.stdout
    needed = json.loads(planner(worker.broker, "requirements", "bk [bold]1", "--json").stdout)
    (line,) = [line for line in needed["lines"] if line["line"] == "magnesium"]
    assert (line["item"], line["certain"]) == (VIAL, "2")
    assert planner(worker.broker, "requirements", "nobody").exit_code == 6


def test_stock_shows_lots_as_they_are_called(worker: Worker) -> None:
    result = planner(worker.broker, "stock", "north")
    assert result.exit_code == 0
    assert "L[red]1" in result.stdout
    (vial,) = [row for row in lines(planner(worker.broker, "stock", "north", "--json").stdout) if row["item"] == VIAL]
    assert (vial["on_hand"], vial["usable"]) == (25, 25)
    assert planner(worker.broker, "stock", "atlantis").exit_code == 6


def test_alerts_why_and_actions(worker: Worker) -> None:
    standing = lines(planner(worker.broker, "alerts", "--site", "north", "--json").stdout)
    assert standing, "a site with one item in stock has alerts"
    (alert,) = [alert for alert in standing if alert["alert_id"] == "north/saline-flush-10ml/reorder/1"]
    assert str(alert["summary"]) in planner(worker.broker, "alerts", "--site", "north").stdout
    asked = planner(worker.broker, "why", "north/saline-flush-10ml/reorder")
    assert asked.exit_code == 0, asked.output
    assert "bk [bold]1" in asked.stdout
    explained = json.loads(planner(worker.broker, "why", "north", "saline-flush-10ml", "--json").stdout)
    firm = sum(booking["expected"] for booking in explained["bookings"])
    assert firm == pytest.approx(explained["need"]["firm_mean"])

    assert planner(worker.broker, "ack", "north/saline-flush").exit_code == 1, "two alerts begin so"
    acknowledged = planner(worker.broker, "ack", "north/saline-flush-10ml/reorder", "--by", "pharmacy")
    assert acknowledged.exit_code == 0, acknowledged.output
    (after,) = lines(planner(worker.broker, "alerts", "--item", "saline-flush-10ml", "--json").stdout)[:1] or [{}]
    assert after["state"] == "acknowledged"
    assert after["by"] == "pharmacy"
    assert str(after["updated_at"]) < "2026-03-03", (
        "an action on a log with a time of its own does not move it to today"
    )
    closed = planner(worker.broker, "close", "north/saline-flush-10ml/reorder", "--json")
    assert json.loads(closed.stdout)["outcome"]["applied"] == 1
    refused = planner(worker.broker, "snooze", "north/saline-flush-10ml/reorder", "--until", "2026-03-09")
    assert refused.exit_code == 3
    assert "alert-resolved" in refused.stdout
    assert planner(worker.broker, "snooze", "x").exit_code == 2
    assert planner(worker.broker, "ordered", "nothing").exit_code == 6


def test_why_not(worker: Worker) -> None:
    result = planner(worker.broker, "why", "north", VIAL)
    assert result.exit_code == 0
    assert "L[red]1" in result.stdout
    assert planner(worker.broker, "why", "north", "unobtainium").exit_code == 6
    assert planner(worker.broker, "why", "atlantis", VIAL).exit_code == 6
    assert planner(worker.broker, "why", "a", "b", "c").exit_code == 2


def test_proposals_and_topics(worker: Worker) -> None:
    proposed = lines(planner(worker.broker, "proposals", "--site", "north", "--json").stdout)
    assert {proposal["supplier"] for proposal in proposed} >= {"supply-house"}
    assert "north from supply-house" in planner(worker.broker, "proposals", "--supplier", "supply-house").stdout
    topics = {row["topic"]: row for row in lines(planner(worker.broker, "topics", "--json").stdout)}
    assert topics["bookings"]["written"] >= 4
    assert topics["bookings"]["waiting"] == 0
    assert topics["outcomes"]["waiting"] is None


def test_accuracy_of_a_site_whose_days_have_passed(tmp_path: Path) -> None:
    days = [f"2026-03-{day:02d}" for day in range(2, 19)]
    events = [RECEIVED]
    for number, day in enumerate(days[3:], start=1):
        booked = f"{days[number - 1]}T09:00:00-07:00"
        booking = {"booking_id": f"bk-{number}", "event_id": f"b-{number}"}
        events.append(BOOKED | booking | {"occurred_at": booked, "start": f"{day}T10:00:00-07:00"})
    for number, day in enumerate(days[3:], start=1):
        told = {"booking_id": f"bk-{number}", "event_id": f"d-{number}", "version": 2}
        events.append({"type": "booking.completed", "occurred_at": f"{day}T17:00:00-07:00", "site": "north", **told})
    events.sort(key=lambda event: str(event["occurred_at"]))
    text = "\n".join(json.dumps(event) for event in events)
    with Worker(tmp_path, "--clock", "event") as running:
        published = planner(running.broker, "publish", "-", stdin=text)
        assert published.exit_code == 0, published.output
        running.until(
            lambda: '"sessions"' in planner(running.broker, "accuracy", "--json").stdout, "something has been scored"
        )
        everything = lines(planner(running.broker, "accuracy", "--json").stdout)
        assert {"sessions", "group/magnesium-sulfate", f"item/{VIAL}"} <= {said["series"] for said in everything}
        short = planner(running.broker, "accuracy")
        assert "sessions" in short.stdout
        assert "item/" not in short.stdout, "items are listed with their site"
        assert f"item/{VIAL}" in planner(running.broker, "accuracy", "north").stdout
        one = planner(running.broker, "accuracy", "north", "--series", f"item/{VIAL}")
        assert f"north  item/{VIAL}" in one.stdout
        assert "forecast by the planner" in one.stdout
        (said,) = lines(planner(running.broker, "accuracy", "north", "--series", "sessions", "--json").stdout)
        assert said["leads"], "by lead"
        nowhere = planner(running.broker, "accuracy", "atlantis")
        assert (nowhere.exit_code, nowhere.stdout) == (6, "")
        assert "no scores of site atlantis" in nowhere.stderr
        asked = planner(running.broker, "why", "north", VIAL)
        assert "Of its forecasts" in asked.stdout


# --- catalogue --------------------------------------------------------------------------------------------


def test_a_catalogue_is_shown_and_changed_while_the_worker_runs(worker: Worker, tmp_path: Path) -> None:
    shown = planner(worker.broker, "catalogue", "show")
    assert "Harbor Infusion Center" in shown.stdout
    before = json.loads(planner(worker.broker, "catalogue", "show", "--json").stdout)["version"]

    edited = tmp_path / "catalogue"
    shutil.copytree(DEFAULT_CATALOGUE, edited)
    file = edited / "protocols" / "maintenance.yaml"
    text = file.read_text()
    assert "fixed: 2 g" in text
    file.write_text(text.replace("fixed: 2 g", "fixed: 3 g", 1).replace("fixed: 2 g", "fixed: 3 g"))
    applied = planner(worker.broker, "catalogue", "apply", str(edited), "--json")
    assert applied.exit_code == 0, applied.output
    said = json.loads(applied.stdout)
    assert said["before"] == before
    assert "magnesium" in said["protocols_changed"]
    assert said["outcomes"]["applied"] == 4
    assert any("1 of" in detail for detail in said["details"]), said["details"]
    needed = json.loads(planner(worker.broker, "requirements", "bk [bold]1", "--json").stdout)
    (line,) = [line for line in needed["lines"] if line["line"] == "magnesium"]
    assert line["certain"] == "3"
    assert needed["catalogue_version"] == said["version"]

    file.write_text(text.replace("component: magnesium-sulfate", "component: magnesia", 1))
    faulty = planner(worker.broker, "catalogue", "apply", str(edited))
    assert faulty.exit_code == 1
    assert "magnesia" in faulty.stdout
    assert json.loads(planner(worker.broker, "catalogue", "show", "--json").stdout)["version"] == said["version"]

    back = planner(worker.broker, "catalogue", "apply", str(DEFAULT_CATALOGUE))
    assert back.exit_code == 0
    assert f"catalogue {before} is in force" in back.stdout


# --- as a process -----------------------------------------------------------------------------------------


def test_output_that_is_piped_is_whole_and_plain(worker: Worker) -> None:
    done = as_process("--broker", worker.broker, "alerts", "--all")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "with an order placed only at the next chance" in done.stdout, "a long sentence is not broken"
    assert done.stderr == ""


def test_a_second_worker_is_told_who_has_the_log(worker: Worker) -> None:
    second = as_process("--broker", worker.broker, "run")
    assert second.returncode == 7
    assert "worker" in second.stdout + second.stderr


def test_forecasts_of_the_chain_add_up_the_sites(worker: Worker) -> None:
    def of(*arguments: str) -> list[dict[str, object]]:
        result = planner(worker.broker, "forecasts", *arguments, "--item", VIAL, "--json")
        assert result.exit_code == 0, result.output
        return lines(result.stdout)

    (chain,) = of("--chain")
    sites = of()
    assert chain["site"] == "*"
    assert sum(chain["firm_mean"]) == pytest.approx(sum(sum(site["firm_mean"]) for site in sites), rel=0.05)  # type: ignore[arg-type, misc]
    assert planner(worker.broker, "forecasts", "--chain", "--item", VIAL).exit_code == 0
    assert planner(worker.broker, "forecasts", "--chain", "--site", "north").exit_code == 2

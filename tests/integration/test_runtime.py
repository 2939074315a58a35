"""A worker with the real steps while things happen to it: a new catalogue, dead letters mended, readers, SIGKILL."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from config.load import DEFAULT_CATALOGUE, load_catalogue
from planner.booking_step import BookingStep
from planner.plan_step import PlanStep
from planner.site.state import SiteState
from planner.step import Message, Record
from streams.cli import main
from streams.inspect import TableView, applied_offsets
from streams.log import LogClient
from streams.names import EXPAND, PLAN, changelog
from tests.driver import MemoryEntries
from tests.integration.bad_events import booking, stock
from tests.kafka_broker import KafkaCluster
from tests.worker import PATIENCE_S, PAUSE_S, ROOT, Worker

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples" / "first-hour.jsonl"


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Worker(f"sqlite:///{tmp_path}/planner.db", "run.", tmp_path, "--clock", "event") as running:
        yield running


def publish(worker: Worker, *events: dict[str, Any], status: int = 0) -> dict[str, Any]:
    """The sum of what became of the events."""
    *_, total = worker.asked("publish", "-", stdin=b"\n".join(map(orjson.dumps, events)), status=status)
    return total


def in_process(worker: Worker, *arguments: str) -> Result:
    """A command in this process, which spares its start; what it raises is not hidden."""
    return CliRunner().invoke(
        main, ["--broker", worker.broker, "--prefix", worker.prefix, *arguments], catch_exceptions=False
    )


# --- the README's first hour ------------------------------------------------------------------------------

READING: list[tuple[str, ...]] = [
    ("forecasts",),
    ("forecasts", "--site", "harbor"),
    ("forecasts", "--site", "harbor", "--group", "antiemetic"),
    ("forecasts", "--item", "iv-catheter-22g"),
    ("requirements", "bk-1001"),
    ("alerts",),
    ("alerts", "--all"),
    ("proposals",),
    ("why", "harbor", "prochlorperazine-5mg-ml-2ml-vial"),
    ("stock", "harbor"),
    ("catalogue", "show"),
    ("dead-letters",),
    ("topics",),
]


def test_the_first_hour(worker: Worker) -> None:
    *answers, total = worker.asked("publish", str(EXAMPLES), status=3)
    assert total["sent"] == 24
    assert {name: total[name] for name in ("applied", "duplicate", "refused", "unanswered")} == {
        "applied": 21, "duplicate": 1, "refused": 2, "unanswered": 0,
    }  # fmt: skip
    reasons = Counter((answer["status"], answer.get("reason")) for answer in answers if answer["status"] != "applied")
    assert reasons == {
        ("duplicate", "same-event"): 1, ("refused", "booking-cancelled"): 1, ("refused", "missing-parameter"): 1,
    }  # fmt: skip
    # the last forecasts may follow by a tenth of a second
    worker.until(lambda: worker.planner("forecasts", "--site", "harbor").stdout.count("\n") > 10, "there are forecasts")
    for command in READING:
        said = in_process(worker, *command)
        assert (said.exit_code, said.stderr) == (0, ""), command
        assert said.stdout.strip(), command
        assert "\x1b" not in said.stdout, "no colours in a pipe"
        as_json = in_process(worker, *command, "--json")
        assert (as_json.exit_code, as_json.stderr) == (0, ""), command
        assert all(isinstance(orjson.loads(line), dict) for line in as_json.stdout.splitlines()), command
        assert as_json.stdout or command == ("dead-letters",), command
    (needed,) = worker.asked("requirements", "bk-1001")
    (bag,) = [line for line in needed["lines"] if line["line"] == "magnesium"]
    # 2 g: harbor prefers the bag that needs no drawing up, and which is its own diluent
    assert (bag["item"], bag["certain"]) == ("magnesium-sulfate-premix-2g-50ml-bag", "1")
    assert needed["status"] == "booked"
    assert not [line for line in needed["lines"] if line["line"] == "magnesium.diluent"]


# --- a new catalogue in mid-run ---------------------------------------------------------------------------


async def stated(client: LogClient) -> dict[str, list[dict[str, Any]]]:
    """What was published of each booking's requirement, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    async for message in _requirements(client):
        found.setdefault(message["booking_id"], []).append(message)
    return found


async def _requirements(client: LogClient) -> AsyncIterator[dict[str, Any]]:
    """What was told of bookings; the hours of the events are told among it."""
    async for record in client.read("requirements"):
        message = orjson.loads(record.value or b"")
        if message["type"] != "clock.ticked":
            yield message


def test_a_new_catalogue_expands_future_bookings_of_the_protocols_that_changed(worker: Worker, tmp_path: Path) -> None:
    past = booking("bk-past", start="2026-03-02T10:00:00-07:00")
    ended = booking("bk-ended", start="2026-03-06T10:00:00-07:00")
    total = publish(
        worker, past, booking("bk-past", "completed", version=2, occurred_at="2026-03-03T11:00:00-07:00"),
        *(booking(f"bk-{n}") for n in range(5)), ended, booking("bk-ended", "cancelled", version=2),
        *(booking(f"bk-other-{n}", protocol="prochlorperazine") for n in range(5)),
    )  # fmt: skip
    assert total["applied"] == total["sent"]
    before = asyncio.run(_stated(worker))
    (was,) = worker.asked("catalogue", "show")

    edited = tmp_path / "catalogue"
    shutil.copytree(DEFAULT_CATALOGUE, edited)
    file = edited / "protocols" / "maintenance.yaml"
    old, new = "dose: {fixed: 2 g}", "dose: {fixed: 3 g}"
    assert file.read_text().count(old) == 1
    file.write_text(file.read_text().replace(old, new))
    (said,) = worker.asked("catalogue", "apply", str(edited))
    assert said["before"] == was["version"] != said["version"]
    assert said["protocols_changed"] == ["magnesium"]

    after = asyncio.run(_stated(worker))
    for n in range(5):
        first, again = after[f"bk-{n}"]
        assert again["revision"] > first["revision"]
        assert (first["catalogue_version"], again["catalogue_version"]) == (was["version"], said["version"])
        certain = [{line["line"]: line["certain"] for line in m["lines"]}["magnesium"] for m in (first, again)]
        assert certain == ["2", "3"]
    untouched = ["bk-past", "bk-ended", *(f"bk-other-{n}" for n in range(5))]
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    (other,) = worker.asked("requirements", "bk-other-0")
    assert other["catalogue_version"] == was["version"], "stated by the catalogue that it was expanded with"

    total = publish(worker, booking("bk-new"))
    assert total["applied"] == 1
    assert worker.asked("requirements", "bk-new")[0]["catalogue_version"] == said["version"]
    item = "magnesium-sulfate-500mg-ml-2ml-vial"

    def forecast() -> Any:
        """Of six bookings of three vials each, two days ahead, nearly all are expected to take place."""
        (found,) = worker.asked("forecasts", "--site", "north", "--item", item)
        assert found["first_day"] == "2026-03-03"
        by_new = found["catalogue_version"] == said["version"]
        return by_new and 0.9 * 18 < found["firm_mean"][2] < 18

    worker.until(forecast, "the forecast is by the new catalogue, and knows the new booking")


async def _stated(worker: Worker) -> dict[str, list[dict[str, Any]]]:
    async with worker.client() as client:
        await worker.settled(client)
        return await stated(client)


# --- dead letters -----------------------------------------------------------------------------------------


BUG = """\
import planner.booking_step

decode = planner.booking_step.decode
# a release that takes bookings for too large far too soon
planner.booking_step.decode = lambda adapter, record: decode(adapter, record, max_bytes=400)
"""


def test_dead_letters_are_sent_again_after_a_fix(tmp_path: Path) -> None:
    buggy = tmp_path / "buggy"
    buggy.mkdir()
    (buggy / "sitecustomize.py").write_text(BUG)
    log, prefix = f"sqlite:///{tmp_path}/planner.db", "run."
    long = [booking(f"bk-long-{n}", source="s" * 120, series_id="x" * 100) for n in range(3)]
    broken = b'{"type": "booking.booked", "event_id": "bk-torn/1", '
    with Worker(log, prefix, tmp_path / "before", "--clock", "event", PYTHONPATH=str(buggy)) as worker:
        total = publish(worker, booking("bk-short"), *long, status=4)
        assert (total["applied"], total["dead-lettered"]) == (1, 3)
        assert worker.planner("publish", "-", "--raw", "bookings", stdin=broken).returncode == 4
        letters = worker.asked("dead-letters")
        assert Counter(letter["reason"] for letter in letters) == {"too-large": 3, "invalid-json": 1}
        assert [orjson.loads(letter["value"]) for letter in letters if letter["reason"] == "too-large"] == long
        assert worker.planner("requirements", "bk-long-0").returncode == 6

    with Worker(log, prefix, tmp_path / "after", "--clock", "event") as worker:
        *answers, total = worker.asked("dead-letters", "replay", status=4)
        assert (total["sent"], total["applied"], total["dead-lettered"]) == (4, 3, 1), answers
        for event in long:
            (needed,) = worker.asked("requirements", event["booking_id"])
            assert needed["status"] == "booked"
        (left,) = worker.asked("dead-letters")
        assert (left["value"], left["replayed"]) == (broken.decode(), False), "what stays broken is a new dead letter"
        assert Counter(letter["replayed"] for letter in worker.asked("dead-letters", "--all")) == {True: 4, False: 1}
        *_, again = worker.asked("dead-letters", "replay", "--match", "too-large", "--again")
        assert (again["sent"], again["duplicate"]) == (3, 3), "sending them twice changes nothing"


# --- killed in mid-backlog --------------------------------------------------------------------------------

EVENTS = 9_000
KILLS = 3


def history(count: int) -> list[Message]:
    """Bookings and what becomes of them, among stock that comes in: a fixed mixture with some of every outcome."""
    chance = random.Random(20260302)
    protocols = ["magnesium", "prochlorperazine", "cocktail-triple", "hydration", "nonsense"]
    versions: dict[str, int] = {}
    messages: list[Message] = []
    while len(messages) < count:
        number = len(messages)
        at = f"2026-03-{2 + number * 20 // count:02}T{8 + number * 200 // count % 10:02}:00:00-07:00"
        kind = chance.choices(["booked", "amended", "cancelled", "completed", "torn", "stock"], [50, 15, 12, 12, 3, 8])[
            0
        ]
        if kind == "stock":
            event = stock(f"rx-{number}", occurred_at=at, lot=f"lot-{number % 50}", quantity=chance.randint(1, 9))
            messages.append(Message("stock", b"north", orjson.dumps(event)))
            continue
        name = f"bk-{number}" if kind == "booked" or not versions else chance.choice(list(versions))
        if kind == "torn":
            messages.append(Message("bookings", name.encode(), b'{"torn": '))
            continue
        versions[name] = version = versions.get(name, 0) + 1
        changes: dict[str, Any] = {"event_id": f"{name}/{version}", "occurred_at": at, "version": version}
        if kind == "booked":
            changes |= {
                "protocol": chance.choice(protocols),
                "site": chance.choice(["north", "harbor", "lakeside"]),
                "start": f"2026-03-{chance.randint(22, 31)}T10:00:00-07:00",
            }
        elif kind == "amended":
            changes |= {"protocol": chance.choice(protocols)}
        messages.append(Message("bookings", name.encode(), orjson.dumps(booking(name, kind, **changes))))
    return messages


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def killed(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> AsyncIterator[Worker]:
    """A worker that is to be killed."""
    if request.param == "kafka":
        cluster: KafkaCluster = request.getfixturevalue("kafka")
        url = cluster.url
    else:
        url = f"sqlite:///{tmp_path}/planner.db"
    worker = Worker(
        url,
        prefix,
        tmp_path / "worker",
        "--clock",
        "event",
        PLANNER_CHUNK_MAX_RECORDS="100",
        PLANNER_SESSION_TIMEOUT_S="3",
    )
    yield worker
    worker.close()


async def test_killed_in_mid_backlog_every_event_ends_once_and_the_state_is_that_of_a_fresh_fold(
    killed: Worker,
) -> None:
    worker = killed
    worker.start()
    chance = random.Random(7)
    messages = history(EVENTS)
    total = sum(message.topic == "bookings" for message in messages)
    kills = 0
    async with worker.client() as client:
        await client.publish(messages)
        done = 0
        while kills < KILLS:
            goal = min(done + chance.randrange(200, 1500), total - 1)
            done = await _applied_at_least(worker, client, goal)
            if done >= total:
                break
            assert worker.end(signal.SIGKILL) == -signal.SIGKILL
            kills += 1
            worker.start(ready=False)
        assert kills, "the worker was killed at least once before it was done"
        await worker.settled(client)
        assert worker.end() == 0
        await _check_outcomes(client)
        await _check_state(client)


async def _applied_at_least(worker: Worker, client: LogClient, goal: int) -> int:
    """Wait until so many bookings are applied; returns how many are."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        applied = sum((await applied_offsets(client)).get(EXPAND, {}).get("bookings", {}).values())
        if applied >= goal:
            return applied
        assert worker.running, worker.said()[-3000:]
        assert time.monotonic() < give_up_s, f"{applied} of {goal} bookings applied: {worker.said()[-3000:]}"
        await asyncio.sleep(PAUSE_S)


async def _check_outcomes(client: LogClient) -> None:
    """One outcome for each record of bookings and stock; what a crash made the worker tell again is the same."""
    told: dict[tuple[str, int, int], set[bytes]] = {}
    statuses: Counter[str] = Counter()
    async for record in client.read("outcomes"):
        outcome = orjson.loads(record.value or b"")
        where = (outcome["topic"], outcome["partition"], outcome["offset"])
        if where not in told:
            statuses[outcome["status"]] += 1
        told.setdefault(where, set()).add(record.value or b"")
    assert all(len(values) == 1 for values in told.values())
    for topic in ("bookings", "stock"):
        ends = await client.end_offsets(topic)
        expected = {(topic, partition, offset) for partition, end in ends.items() for offset in range(end)}
        assert {where for where in told if where[0] == topic} == expected
    assert {"applied", "refused", "dead-lettered"} <= set(statuses), statuses


async def _check_state(client: LogClient) -> None:
    """The tables say what a fold from the beginning, with nobody killed, says."""
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    assert bundle is not None
    partitions = await client.partitions("bookings")
    bookings = 0
    sites: dict[str, SiteState] = {}
    for partition in range(partitions):
        after, fresh = [BookingStep(partition, partitions, bundle, clock="event") for _ in range(2)]
        after.restore(TableView(await client.latest(changelog(EXPAND), partition)))
        entries = MemoryEntries()
        fresh.restore(entries)
        plan, planned = [PlanStep(partition, bundle, clock="event") for _ in range(2)]
        plan.restore(TableView(await client.latest(changelog(PLAN), partition)))
        planned.restore(MemoryEntries())
        requirements: list[dict[str, Any]] = []
        names = set()
        for chunk in _chunks([record async for record in client.read("bookings", partitions=[partition])]):
            for page in fresh.fold(chunk):
                entries.apply(page.writes)
                requirements += [orjson.loads(m.value or b"") for m in page.messages if m.topic == "requirements"]
            names |= {record.key for record in chunk if record.key is not None}
        for name in names:
            row = after.booking(name.decode())
            assert row == fresh.booking(name.decode()), name
            bookings += row is not None
        # what was published, without what was published again, is what the fresh fold publishes
        told = {orjson.dumps(m) for m in requirements if m["type"] != "clock.ticked"}
        assert told == {orjson.dumps(m) async for m in _requirements(client) if m["booking_id"].encode() in names}
        for topic in ("stock", "requirements"):
            for chunk in _chunks([record async for record in client.read(topic, partitions=[partition])]):
                for _ in planned.fold(chunk, caught_up=False):
                    pass
        for site, state in planned.sites.items():
            held = plan.sites[site]
            assert {n: b for n, b in held.bookings.items() if b.status != "withdrawn"} == {
                n: b for n, b in state.bookings.items() if b.status != "withdrawn"
            }
            assert held.demand == state.demand
            sites[site] = held
    assert bookings > EVENTS / 4
    assert sites.keys() == {"north", "harbor", "lakeside"}
    await _check_shelf(client, sites["north"])


def _chunks(records: list[Record], size: int = 500) -> list[list[Record]]:
    return [records[n : n + size] for n in range(0, len(records), size)]


async def _check_shelf(client: LogClient, north: SiteState) -> None:
    """Magnesium vials: what came in, less two for each completed session, each counted once."""
    item = "magnesium-sulfate-500mg-ml-2ml-vial"
    statuses: dict[tuple[str, int, int], str] = {}
    async for record in client.read("outcomes"):
        told = orjson.loads(record.value or b"")
        statuses[told["topic"], told["partition"], told["offset"]] = told["status"]
    received = 0
    async for record in client.read("stock"):
        if statuses["stock", record.partition, record.offset] == "applied":
            received += orjson.loads(record.value or b"")["quantity"]
    last: dict[str, dict[str, Any]] = {}
    used: set[str] = set()
    async for message in _requirements(client):
        if message["type"] == "requirement.stated":
            last[message["booking_id"]] = message
        elif message["type"] == "requirement.used":
            used.add(message["booking_id"])
    sessions = [last[name] for name in used if last[name]["protocol"] == "magnesium" and last[name]["site"] == "north"]
    stock_now = north.stock[item]
    on_hand = sum(lot.quantity for lot in stock_now.lots.values()) - stock_now.deficit
    assert on_hand == received - 2 * len(sessions)
    assert sessions

"""``planner synthesize``: the same book from the same seed, and faults that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from config.book_specs import BOOKS, named_books
from planner.events import BOOKING_EVENTS
from streams.cli import main


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["synthesize", *words], catch_exceptions=False, standalone_mode=True)
    return result.exit_code, result.output


def test_a_named_book_is_written_the_same_each_time(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "again", "other")]
    for file, seed in zip(files, ("3", "3", "4"), strict=True):
        code, text = run("few-bookings", "--seed", seed, "--out", str(file))
        assert code == 0, text
        assert "lakeside" in text
    one, again, other = (file.read_bytes() for file in files)
    assert one == again != other
    events = [BOOKING_EVENTS.validate_json(line) for line in one.splitlines()]
    assert [event.occurred_at for event in events] == sorted(event.occurred_at for event in events)


def test_a_specification_of_ones_own_gives_its_own_book_and_counts_as_json(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    text = (BOOKS / "few-bookings.yaml").read_text().replace("name: few-bookings", "name: mine")
    mine.write_text(text.replace("days: 730", "days: 60"))
    out = tmp_path / "events.jsonl"
    code, printed = run(str(mine), "--out", str(out), "--json")
    assert code == 0, printed
    body = json.loads(printed)
    completed = sum(json.loads(line)["type"] == "booking.completed" for line in out.read_text().splitlines())
    assert body["book"] == "mine"
    assert body["sites"]["lakeside"]["sessions"] == completed
    assert body["events"] == len(out.read_text().splitlines())


def test_the_list_names_every_book() -> None:
    code, text = run("--list")
    assert code == 0
    assert all(name in text for name in named_books())


def test_faults_are_told_with_what_was_expected(tmp_path: Path) -> None:
    out = str(tmp_path / "events.jsonl")
    code, text = run("no-such", "--out", out)
    assert code == 1
    assert "expected one of" in text
    assert run("few-bookings")[0] == 2
    endless = tmp_path / "endless.yaml"
    endless.write_text((BOOKS / "few-bookings.yaml").read_text().replace("per_day: 0.008", "per_day: 0.7"))
    code, text = run(str(endless), "--out", out)
    assert code == 1
    assert "hazard: found" in text

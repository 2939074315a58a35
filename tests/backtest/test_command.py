"""``planner backtest``: files in and out, the table, and what it says when something is wrong."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.backtest import plots, statistical
from streams.backtest.files import FORECAST_COLUMNS, SCORE_COLUMNS
from streams.cli import main
from tests.backtest.book import book, day, lines_of

SITE = "harbor"
PROTOCOL = "magnesium"


def harbor_book() -> list[bytes]:
    """The synthetic log, at a site of the default catalogue."""
    events = [one | ({"site": SITE, "protocol": PROTOCOL} if "site" in one else {}) for one in book(sites=("north",))]
    return lines_of(events)


LINES = harbor_book()
DATES = ["--from", str(day(40)), "--to", str(day(46)), "--leads", "1,7"]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(LINES) + b"\n")
    return path


def backtest(*words: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["backtest", *map(str, words)], input=stdin, catch_exceptions=False)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_scores_and_forecasts_are_written_and_agree(events: Path, tmp_path: Path) -> None:
    out, forecasts = tmp_path / "scores.csv", tmp_path / "forecasts.csv"
    result = backtest(
        events, *DATES, "--out", out, "--forecasts", forecasts, "--series", "sessions,magnesium-sulfate",
        "--baselines", "booked,additive-28d", "--draw-use", "3",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "sessions (sessions) at harbor" in result.stdout
    assert "magnesium-sulfate (containers) at harbor" in result.stdout
    assert "seed 3" in result.stdout
    assert out.read_text(encoding="utf-8").splitlines()[0] == ",".join(SCORE_COLUMNS)
    assert forecasts.read_text(encoding="utf-8").splitlines()[0] == ",".join(FORECAST_COLUMNS)
    scores, made = rows(out), rows(forecasts)
    assert len(scores) == 3 * 2 * 2
    assert len(made) == 3 * 2 * 2 * 7
    for score in scores:
        mine = [row for row in made if all(row[name] == score[name] for name in ("method", "site", "series", "lead"))]
        assert len(mine) == int(score["n"]) == 7
        realised = [float(row["realised"]) for row in mine]
        assert float(score["mean_demand"]) == pytest.approx(sum(realised) / 7)
        covered = [float(row["realised"]) <= float(row["q0.9"]) for row in mine]
        assert float(score["coverage_0.9"]) == pytest.approx(sum(covered) / 7)
    assert {row["origin"] for row in made} == {str(day(40 + n)) for n in range(7)}


@pytest.mark.parametrize("packed", [False, True])
def test_the_log_may_come_gzipped_and_from_standard_input(packed: bool, events: Path, tmp_path: Path) -> None:
    text = events.read_bytes()
    zipped = tmp_path / "events.jsonl.gz"
    zipped.write_bytes(gzip.compress(text))
    words = [*DATES, "--no-baselines", "--json"]
    expected = json.loads(backtest(events, *words).stdout)
    assert len(expected["scores"]) == 2
    assert json.loads(backtest(zipped, *words).stdout) == expected
    assert json.loads(backtest("-", *words, stdin=zipped.read_bytes() if packed else text).stdout) == expected


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--leads", "1,x"], 2, "found '1,x'; expected days"),
        (["--leads", "1,91"], 2, "expected days from 1 to 90"),
        (["--from", "2026-13-01"], 2, "2026-13-01"),
        (["--from", "2027-01-05", "--to", "2027-01-04"], 2, "from: found 2027-01-05, after to"),
        (["--from", "2030-01-01", "--to", "2030-01-02"], 2, "origins: none from 2030-01-01"),
        (["--series", "aspirin"], 2, "series: found 'aspirin'"),
        (["--site", "elsewhere"], 2, "site: found 'elsewhere'; expected one of the log's, harbor"),
        (["--baselines", "oracle"], 2, "--baselines: found 'oracle'; expected some of booked"),
        (["--baselines", "booked", "--no-baselines"], 2, "exclude one another"),
        (["--out", "nowhere/scores.csv"], 2, "found no folder nowhere"),
        (["--warmup", "900"], 2, "warmup: 900 days leave no origin"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], code: int, expected: str, events: Path) -> None:
    result = backtest(events, *DATES, *words)
    assert result.exit_code == code
    assert expected in " ".join(result.stderr.split())


def test_a_line_that_is_no_event_is_named_with_file_line_and_field(events: Path) -> None:
    events.write_bytes(b"\n".join([*LINES[:3], LINES[3].replace(b'"version":', b'"versions":'), *LINES[4:]]))
    result = backtest(events, *DATES)
    assert result.exit_code == 3
    assert f"{events}: line 4: booking." in result.stderr
    assert "version: Field required" in result.stderr


def test_an_empty_or_broken_file_is_said(events: Path) -> None:
    events.write_bytes(b"\n")
    assert "found no events" in backtest(events, *DATES).stderr
    events.write_bytes(gzip.compress(b"\n".join(LINES))[:500])
    result = backtest(events, *DATES)
    assert result.exit_code == 1
    assert str(events) in result.stderr


def test_without_optional_packages_it_says_so(events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistical, "is_installed", lambda: False)
    monkeypatch.setattr(plots, "is_installed", lambda: False)
    result = backtest(events, *DATES)
    assert result.exit_code == 0
    assert "without auto-ets, tsb, sba: statsforecast is not installed" in result.stderr
    assert "additive-28d" in result.stdout
    result = backtest(events, *DATES, "--plots", tmp_path / "plots")
    assert result.exit_code == 1
    assert "matplotlib is not installed" in result.stderr


@pytest.mark.skipif(not statistical.is_installed(), reason="statsforecast is not installed")
def test_with_every_baseline(events: Path) -> None:
    scores = json.loads(backtest(events, *DATES, "--json").stdout)["scores"]
    assert {"planner", "booked", "seasonal-naive", "auto-ets", "tsb", "sba"} < {score["method"] for score in scores}


@pytest.mark.skipif(not plots.is_installed(), reason="matplotlib is not installed")
@pytest.mark.parametrize(("suffix", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_plots(suffix: str, begins: bytes, events: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    result = backtest(events, *DATES, "--baselines", "booked", "--plots", folder, "--plot-format", suffix)
    assert result.exit_code == 0, result.stderr
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(
        [
            f"booking-curve-harbor-sessions-{day(43)}.{suffix}",
            f"calibration-harbor-sessions.{suffix}",
            f"loss-by-lead-harbor-sessions.{suffix}",
        ]
    )
    assert all((folder / name).read_bytes().startswith(begins) for name in names)

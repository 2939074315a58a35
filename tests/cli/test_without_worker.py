"""Commands where no worker runs: help, faults of use, settings, logs that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from planner.topics import TOPICS
from streams.cli import COMMANDS, main
from streams.cli.base import EXIT_CODES
from streams.cli.schema import PAYLOADS
from streams.log import TopicSpec, open_client
from tests.cli.worker import as_process, planner, url


@pytest.fixture
def log(tmp_path: Path) -> str:
    """A log with topics and nothing on them."""
    import asyncio  # noqa: PLC0415

    async def make() -> None:
        async with open_client(url(tmp_path), "planner.") as client:
            await client.ensure_topics([TopicSpec(t.name, 2, compacted=t.compacted) for t in TOPICS.values()])

    asyncio.run(make())
    return url(tmp_path)


def commands(group: click.Group, ctx: click.Context, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command, those of groups included."""
    found = []
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None, name
        found.append((*words, name))
        if isinstance(command, click.Group):
            found += commands(command, ctx, (*words, name))
    return found


ALL = commands(main, click.Context(main))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_explains_itself_with_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*words, "--help"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"Usage: main {' '.join(words)}" in result.stdout
    if words not in {("import",), ("catalogue",)}:
        assert f"planner {' '.join(words)}" in result.stdout, "an example"


def test_help_tells_the_exit_codes_and_every_command() -> None:
    text = CliRunner().invoke(main, ["--help"], catch_exceptions=False).stdout
    for code, meaning in EXIT_CODES.items():
        assert f"{code.value}  {meaning}"[:70] in text
    for name in COMMANDS:
        assert f"\n  {name} " in text


def test_completion_offers_the_commands() -> None:
    result = CliRunner().invoke(
        main,
        [],
        prog_name="planner",
        env={"_PLANNER_COMPLETE": "bash_complete", "COMP_WORDS": "planner al", "COMP_CWORD": "1"},
    )
    assert result.stdout.strip() == "plain,alerts"


def test_an_unknown_command_and_an_unknown_log() -> None:
    result = CliRunner().invoke(main, ["alrts"])
    assert result.exit_code == 2
    assert "Did you mean 'alerts'?" in result.stderr
    assert planner("ftp://x", "alerts").exit_code == 2


def test_a_misspelt_setting_is_named() -> None:
    result = CliRunner().invoke(main, ["topics"], env={"PLANNER_BROKER": "sqlite:///x/y.db"})
    assert result.exit_code == 2
    assert "PLANNER_BROKER is no setting; did you mean PLANNER_BROKER_URL?" in result.stderr


READING = [
    ("alerts",),
    ("forecasts",),
    ("proposals",),
    ("accuracy",),
    ("whatif", "north", "--service-level", "0.99"),
    ("stock", "north"),
    ("why", "north", "saline-flush-10ml"),
    ("requirements", "b"),
    ("topics",),
    ("dead-letters",),
    ("ack", "a"),
    ("catalogue", "show"),
    ("publish", "-"),
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_log_that_is_not_there(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = planner(url(tmp_path / "none"), *arguments, stdin="")
    assert result.exit_code in {6, 7}, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("planner: ")
    assert not (tmp_path / "none").exists(), "reading makes no log"


def test_a_broker_that_is_not_there_is_said_in_time() -> None:
    done = as_process("--broker", "kafka://127.0.0.1:1", "alerts", timeout_s=30)
    assert done.returncode == 7
    assert done.stdout == ""
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_events_without_a_worker_time_out_and_are_kept(log: str) -> None:
    body = {"event_id": "c", "occurred_at": "2026-03-02T12:00:00Z", "site": "north", "item": "i", "lots": []}
    event = json.dumps({"type": "stock.counted", **body})
    waited = planner(log, "publish", "-", "--timeout", "0.2", stdin=event)
    assert waited.exit_code == 5
    assert "1 sent" in waited.stdout
    assert "1 had no outcome for 0.2 s (line 1)" in waited.stderr
    assert planner(log, "publish", "-", "--no-wait", stdin=event).exit_code == 0
    topics = {
        json.loads(line)["topic"]: json.loads(line) for line in planner(log, "topics", "--json").stdout.splitlines()
    }
    assert (topics["stock"]["written"], topics["stock"]["waiting"]) == (2, 2)


def test_an_empty_log_has_nothing_to_show(log: str) -> None:
    assert "no alerts" in planner(log, "alerts").stdout
    assert planner(log, "proposals").stdout == "nothing to order\n"
    said = "nothing scored yet: the first forecasts of a site are scored when its second day is over\n"
    assert planner(log, "accuracy").stdout == said
    assert planner(log, "dead-letters").stdout == "no dead letters\n"
    assert planner(log, "dead-letters", "replay").stdout == "nothing to send again\n"
    assert planner(log, "forecasts").exit_code == 6
    assert planner(log, "catalogue", "show").exit_code == 6


def test_check_reports_every_fault_with_its_place(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["check"]).exit_code == 0
    (tmp_path / "items.yaml").write_text("items:\n  - id: x\n    nmae: y\n")
    result = CliRunner().invoke(main, ["check", str(tmp_path)])
    assert result.exit_code == 1
    assert "items.yaml:3" in result.stdout
    found = [
        json.loads(line) for line in CliRunner().invoke(main, ["check", str(tmp_path), "--json"]).stdout.splitlines()
    ]
    assert {fault["file"] for fault in found} >= {"items.yaml", "components.yaml"}
    assert f"{len(found)} faults" in result.stdout


@pytest.mark.parametrize("topic", sorted(PAYLOADS))
def test_schemas_are_json(topic: str) -> None:
    schema = json.loads(CliRunner().invoke(main, ["schema", topic]).stdout)
    assert schema.keys() & {"properties", "oneOf"}

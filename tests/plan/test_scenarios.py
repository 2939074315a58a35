"""The scenario tables of ``scenarios.txt``: events in, what becomes of each, and the stock they leave."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.plan_step import PlanStep
from tests.driver import Driver, encode
from tests.plan.clinic import MONDAY, NORTH, at, bundle, tick

TEXT = (Path(__file__).parent / "scenarios.txt").read_text(encoding="utf-8")
SCENARIOS = {part.partition("\n")[0].strip(): part.partition("\n")[2].split("\n") for part in TEXT.split("\n== ")[1:]}
DAY = re.compile(r"d(-?\d+)")
MANY = re.compile(r"(?P<count>\d+) times (?P<topic>\w+)")


def _value(text: str) -> Any:
    if day := DAY.fullmatch(text):
        return (MONDAY + timedelta(days=int(day[1]))).isoformat()
    if text[:1] in '[{"' or re.fullmatch(r"-?[0-9.]+|true|false", text):
        dated = re.sub(r'"d(-?\d+)"', lambda m: f'"{MONDAY + timedelta(days=int(m[1]))}"', text)
        return orjson.loads(dated)
    return text


class Story:
    """Plays a scenario's lines."""

    def __init__(self) -> None:
        self.driver = Driver(lambda: PlanStep(0, bundle()))
        self.driver.feed("clock", tick(at(0)))
        self.number = 0
        self.last: tuple[str, bytes, bytes | None] = ("", b"", None)

    def play(self, line: str) -> None:
        if line.startswith("stock ") and "|" not in line:
            item, _, expected = line.removeprefix("stock ").partition(" = ")
            assert self.stock(item.strip()) == expected.strip(), line
            return
        topic, written, expected = (part.strip() for part in line.split("|"))
        if topic == "clock":
            day, _, clock = written.partition(" ")
            self.driver.feed("clock", tick(at(int(day.removeprefix("d")), clock)))
            return
        if many := MANY.fullmatch(topic):
            self.play_many(many["topic"], int(many["count"]), written, expected)
            return
        if topic != "again":
            self.last = (topic, *self.event(written))
        before = len(self.driver.values("outcomes"))
        self.driver.feed(self.last[0], self.last[1], key=self.last[2])
        outcomes = self.driver.values("outcomes")[before:]
        assert len(outcomes) == 1, f"{line}: one outcome for each event"
        assert expected in self.said(outcomes[0]), f"{line}: {outcomes[0]}"

    def play_many(self, topic: str, count: int, written: str, expected: str) -> None:
        events = [self.event(written.replace("#", str(number))) for number in range(count)]
        before = len(self.driver.values("outcomes"))
        self.driver.feed(topic, *(value for value, _ in events))
        outcomes = self.driver.values("outcomes")[before:]
        assert [expected in self.said(outcome) for outcome in outcomes] == [True] * count, written

    def said(self, outcome: dict[str, Any]) -> set[str]:
        status = outcome["status"]
        return {
            f"{status} {outcome.get('reason') or outcome.get('detail') or ''}".strip(),
            status * (status == "applied"),
        }

    def event(self, written: str) -> tuple[bytes, bytes | None]:
        kind, *parts = written.split(" ")
        fields = dict(part.partition("=")[::2] for part in parts)
        day = DAY.fullmatch(fields.pop("at", "d0"))
        assert day is not None
        key = fields.pop("key", None)
        self.number += 1
        body = {
            "type": kind,
            "event_id": f"e-{self.number}",
            "occurred_at": at(int(day[1])),
            "site": NORTH,
            **{name: _value(text) for name, text in fields.items() if text != "NaN"},
        }
        value = encode(body)
        if "NaN" in fields.values():
            value = value[:-1] + b',"quantity":NaN}'
        return value, None if key is None else key.encode()

    def stock(self, item: str) -> str:
        stock = self.driver.step.sites[NORTH].stock[item]
        parts = [f"{lot.lot}:{lot.quantity}" for lot in sorted(stock.lots.values(), key=lambda lot: lot.lot)]
        if stock.deficit:
            parts.append(f"deficit {stock.deficit}")
        if stock.open:
            parts.append(f"open {sum(open_.remaining_ml for open_ in stock.open)}")
        return " ".join(parts)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    story = Story()
    for line in SCENARIOS[name]:
        if line.strip():
            story.play(line)


def test_every_refusal_has_a_scenario() -> None:
    sources = Path(__file__).parents[2] / "planner" / "site"
    named = {
        reason
        for path in sources.glob("*.py")
        for reason in re.findall(r'Refused\(\s*"([a-z-]+)"', path.read_text(encoding="utf-8"))
    }
    assert named
    assert not {reason for reason in named if f"refused {reason}" not in TEXT}


def test_a_refusal_names_field_value_and_what_was_expected() -> None:
    story = Story()
    for lines in SCENARIOS.values():
        story = Story()
        for line in lines:
            if line.strip():
                story.play(line)
        for outcome in story.driver.values("outcomes"):
            if outcome["status"] == "refused" and outcome["reason"] != "unknown-alert":
                assert re.search(r"^[a-z_.]+: ", outcome["detail"]), outcome
                assert "expected" in outcome["detail"] or "has " in outcome["detail"], outcome

"""Messages about how good the planner's own forecasts have been: the JSON of ``planner.messages.Accuracy``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Final

import orjson

from planner.learning.scores import Score, Scores
from planner.step import Message
from planner.topics import composed_key

TOPIC: Final = "accuracy"
DECIMALS: Final = 4


def accuracy_messages(site: str, scores: Scores, now: datetime) -> list[Message]:
    """A message for each series of which anything has been scored, in order of series.

    Args:
        now: aware; ``as_of`` of the messages.
    """
    found = ((series, scores.scores(series)) for series in sorted(scores.series))
    return [_message(site, scores, series, leads, now) for series, leads in found if leads]


def withdrawn(site: str, series: Iterable[str]) -> list[Message]:
    """Tombstones of series that are no longer scored."""
    return [Message(TOPIC, composed_key(site, name), None) for name in sorted(series)]


def _message(site: str, scores: Scores, series: str, leads: list[Score], now: datetime) -> Message:
    body = {
        "schema_version": 1,
        "site": site,
        "series": series,
        "as_of": now,
        "through": date.fromordinal(scores.settled),
        "method": "simple" if series in scores.simple else "planner",
        "leads": [_lead(score) for score in leads],
    }
    return Message(TOPIC, composed_key(site, series), orjson.dumps(body))


def _lead(score: Score) -> dict[str, Any]:
    def figure(value: float) -> float:
        return round(value, DECIMALS)

    covered = [figure(share) for share in score.coverage]
    body: dict[str, Any] = {
        "lead_days": score.lead,
        "n": figure(score.n),
        "realised": figure(score.realised),
        "bias": figure(score.bias),
        "pinball": figure(score.pinball),
        "relative_loss": figure(score.pinball / score.realised) if score.realised > 0 else None,
        "coverage": dict(zip(("0.8", "0.9", "0.95"), covered, strict=True)),
        "spread_factor": figure(score.factor),
    }
    if score.simple_worse is not None:
        body["simple_worse"] = figure(score.simple_worse)
    return body

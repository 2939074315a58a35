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
    found = scores.all_scores(DECIMALS)
    head = {
        "schema_version": 1,
        "site": site,
        "as_of": now,
        "through": date.fromordinal(scores.settled),
    }
    return [_message(head, scores, series, leads) for series, leads in found.items()]


def withdrawn(site: str, series: Iterable[str]) -> list[Message]:
    """Tombstones of series that are no longer scored."""
    return [Message(TOPIC, composed_key(site, name), None) for name in sorted(series)]


def _message(head: dict[str, Any], scores: Scores, series: str, leads: list[Score]) -> Message:
    method = "simple" if series in scores.simple else "planner"
    body = {**head, "series": series, "method": method, "leads": [_lead(score) for score in leads]}
    return Message(TOPIC, composed_key(head["site"], series), orjson.dumps(body))


def _lead(score: Score) -> dict[str, Any]:
    at_80, at_90, at_95 = score.coverage
    body: dict[str, Any] = {
        "lead_days": score.lead,
        "n": score.n,
        "realised": score.realised,
        "bias": score.bias,
        "pinball": score.pinball,
        "relative_loss": round(score.pinball / score.realised, DECIMALS) if score.realised > 0 else None,
        "coverage": {"0.8": at_80, "0.9": at_90, "0.95": at_95},
        "spread_factor": score.factor,
    }
    if score.simple_worse is not None:
        body["simple_worse"] = score.simple_worse
    return body

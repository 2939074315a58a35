"""How good the forecasts of an item have been, in one line."""

from __future__ import annotations

from planner.explain.model import LearnedFigure
from planner.learning.scores import Scores, item_series
from planner.reorder.words import number, percent

LEAD_DAYS = 7
"""Of the totals that are spoken of; before any was scored, of the longest that was."""


def accuracy_figure(scores: Scores, item: str) -> LearnedFigure | None:
    """None: no forecast of the item has been scored yet."""
    scored = [score for score in scores.scores(item_series(item)) if score.lead <= LEAD_DAYS]
    if not scored:
        return None
    score = scored[-1]
    days = f"{score.lead} day{'' if score.lead == 1 else 's'}"
    parts = [f"totals over {days} came to {number(score.realised)} on average"]
    if score.realised > 0:
        away = score.bias / score.realised
        parts.append(f"{percent(abs(away))} {'less' if away < 0 else 'more'} than forecast")
        parts.append(f"the mean loss was {percent(score.pinball / score.realised)} of that")
    parts.append(f"{percent(score.coverage[-1])} were within the quantile .95")
    words = f"Of its forecasts {number(score.n)} (the older the less) have been scored: {', '.join(parts)}; so their"
    words += f" variance is taken × {score.factor:.2f} (prior 1)."
    if scores.method(item) == "simple":
        words += " The mean of the same weekday over eight weeks has been better, and is used in its place."
    return LearnedFigure(name="spread of forecasts", value=score.factor, prior=1.0, unit="× variance", words=words)

"""What the site's own log has changed about an item, in figures and a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item
from planner.explain.accuracy import accuracy_figure
from planner.explain.model import LearnedFigure
from planner.learning.other import Intermittent, Missing
from planner.learning.use import Learnt
from planner.reorder.words import day_text
from planner.site.state import SiteState

_VISIBLE = 0.0005
"""A smaller change is none."""


def learned_figures(state: SiteState, catalogue: Catalogue, item: Item) -> tuple[LearnedFigure, ...]:
    """Of an item at a site: use per session, waste, what counts found of it, use that no booking explains, and how good
    its forecasts have been."""
    learned = state.learned
    by_day = catalogue.sites[state.site].consumption == "dispensed"
    found: list[LearnedFigure] = []
    known = learned.use.learnt(item.id)
    if known is not None:
        found += _of_sessions(known, item, by_day=by_day)
    told, missing = learned.other.told.get(item.id), learned.other.missing.get(item.id)
    if told is not None and told.uses:
        found.append(_unexplained(told))
    if missing is not None and missing.expected().mean > _VISIBLE:
        found.append(_missing(missing))
    accuracy = accuracy_figure(learned.scores, item.id)
    if accuracy is not None:
        found.append(accuracy)
    return tuple(found)


def _of_sessions(known: Learnt, item: Item, *, by_day: bool) -> Iterator[LearnedFigure]:
    unit = "mL" if item.counted_in == "mL" else "containers"
    since = day_text(known.since)
    if known.told or abs(known.use - 1) > _VISIBLE:
        source = f"the dispenses of {known.told} days" if by_day else f"{known.told} sessions"
        yield LearnedFigure(
            name="use per session",
            value=known.use,
            prior=1.0,
            unit="× expected",
            words=f"Sessions here use {_figure(known.use)} × what the protocol says"
            f" (learned from {source} since {since}; prior 1).",
        )
    if abs(known.presumed - 1) > _VISIBLE:
        yield LearnedFigure(
            name="use nobody told",
            value=known.presumed,
            prior=1.0,
            unit="× expected",
            words=f"By the counts, sessions whose use nobody told took {_figure(known.presumed)} ×"
            " what the books presumed (prior 1).",
        )
    if known.waste > _VISIBLE:
        yield LearnedFigure(
            name="waste per use",
            value=known.waste,
            prior=0.0,
            unit="× expected",
            words=f"Beside it {_figure(known.waste)} {unit} are wasted for each that sessions are expected to use"
            f" (since {since}; prior 0).",
        )
    _, on_variance, added = known.factors
    if abs(on_variance - 1) > _VISIBLE or added > _VISIBLE:
        yield LearnedFigure(
            name="spread of use",
            value=on_variance,
            prior=1.0,
            unit="× expected",
            words=f"The variance of a session's use is {_figure(on_variance)} × what the protocol says, and"
            f" {_figure(added)} more for each of the {unit} expected (prior 1 and 0).",
        )


def _unexplained(told: Intermittent) -> LearnedFigure:
    mean, variance = told.expected()
    since = day_text(date.fromordinal(told.first_day))
    return LearnedFigure(
        name="use without a booking",
        value=mean,
        prior=0.0,
        unit="containers a day",
        words=f"On an open day {_figure(mean)} containers go without a booking, with a variance of {_figure(variance)}"
        f" (learned by {told.method} from {told.uses} days with such use since {since}; prior 0).",
    )


def _missing(missing: Missing) -> LearnedFigure:
    mean = missing.expected().mean
    return LearnedFigure(
        name="missing when counted",
        value=mean,
        prior=0.0,
        unit="containers a day",
        words=f"On an open day {_figure(mean)} containers go that only counts find (the last ones weigh"
        f" {_figure(missing.counts)} counts; prior 0).",
    )


def _figure(value: float) -> str:
    """Three digits that count, and no zeros after them: ``1.13``, ``0.042``, ``1250``."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"

"""Where the scores meet the site: a day's use is settled, the morning's forecasts are noted, and a need is corrected.

**When.** ``close_day`` settles what is final as a day ends: the days that the learned book has settled (all its
sessions are told, or it is too late to wait). The forecasts of an origin, the end of a day, are those of the next
morning: they are noted as the clock begins the new day, before anything that is told of it, whatever comes in one chunk
with it. Not noted is a day of which sessions are over already (the clock came late): what is forecast then is only the
rest of it; nor is the first day of a site: what is booked then may be half of the book.

**What.** The planner's forecast of a total: mean and variance before any factor. ``corrected`` multiplies the variance
of totals by the factors of their series (of a component by its items' mean factor, weighted by variance), and puts the
simple method in the place of the planner's for the items that use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats, Need, Totals
from planner.forecast.projection import cumulative
from planner.forecast.rows import content_of
from planner.learning.calibration import LEADS
from planner.learning.daily_use import realised_use
from planner.learning.scores import SESSIONS, Scores, group_series, item_series
from planner.learning.simple import WINDOW_DAYS
from planner.site.state import SiteState
from planner.site.touched import Touched

Bools = npt.NDArray[np.bool_]
_LAST = np.array(LEADS) - 1
_NOTHING = 1e-9


# --- as days pass -----------------------------------------------------------------------------------------


def close_day(state: SiteState, catalogue: Catalogue, touched: Touched) -> None:
    """The site's day is over: settle what is final. The book has been closed, and what of the use of the days that
    it has settled is told has not been learned from yet."""
    scores, book = state.learned.scores, state.learned.book
    begins = book.history_ends - len(book.history)
    first = max(scores.settled + 1, begins, book.history_ends - WINDOW_DAYS)
    for day in range(first, book.history_ends):
        use = {SESSIONS: book.history[day - begins], **_use_of(state, catalogue, day)}
        scores.settle(day, use, is_open=date.fromordinal(day) not in catalogue.sites[state.site].closed_on)
        touched.learned.add("scores")


def _use_of(state: SiteState, catalogue: Catalogue, day: int) -> dict[str, float]:
    """Containers used on a settled day, by series of items and groups."""
    result: dict[str, float] = {}
    for item_id, amount in realised_use(state, catalogue, day).items():
        item = catalogue.items.get(item_id)
        if item is not None:
            result[item_series(item_id)] = amount
            group = group_series(item.group)
            result[group] = result.get(group, 0.0) + amount
    return result


def note(state: SiteState, catalogue: Catalogue, need: Need, touched: Touched) -> None:
    """Note the forecasts of the morning, once a day. ``need``: as the demand model has it, not corrected."""
    scores, running, today = state.learned.scores, state.learned.running, need.first_day.toordinal()
    if today != state.today or today <= scores.noted + 1 or not running.whole or running.completed.get(today):
        return
    mean, variance = cumulative(need)
    names = [item_series(item) for item in need.items]
    means, variances = [mean[:, _LAST]], [variance[:, _LAST]]
    if need.totals is not None:
        for key in need.totals.keys:
            if key[0] != "component":
                names.append(SESSIONS if key[0] == "sessions" else group_series(key[1]))
                of_key, spread = need.totals.cumulative(key)
                means.append(of_key[None, _LAST])
                variances.append(spread[None, _LAST])
    told, spread_told = np.concatenate(means), np.concatenate(variances)
    # what is only on the shelf has nothing to be right about
    some = np.flatnonzero(told[:, -1] > _NOTHING).tolist()
    is_open = open_days(catalogue, state.site, need.first_day, LEADS[-1])
    if scores.note(today - 1, [names[row] for row in some], told[some].T, spread_told[some].T, is_open):
        touched.learned.add("scores")


def open_days(catalogue: Catalogue, site: str, first_day: date, days: int) -> Bools:
    """Whether the site is open on each day; shape (days,)."""
    closed = catalogue.sites[site].closed_on
    return np.array([first_day + timedelta(days=ahead) not in closed for ahead in range(days)], dtype=np.bool_)


# --- what they change -------------------------------------------------------------------------------------


def corrected(state: SiteState, catalogue: Catalogue, need: Need) -> Need:
    """The need with calibrated variances of totals, and the simple method where it has been better."""
    scores = state.learned.scores
    if not scores.series:
        return need
    days = need.firm_mean.shape[1]
    names = tuple(item_series(item) for item in need.items)
    plain = cumulative(need)[1]
    variance = plain * scores.factors_by_day(names, days)
    totals = None if need.totals is None else _totals(catalogue, need, need.totals, scores, plain, variance)
    result = replace(need, cumulative_variance=variance, totals=totals)
    rows = [row for row, name in enumerate(names) if name in scores.simple]
    return _simply(state, catalogue, result, rows) if rows else result


def _totals(  # noqa: PLR0917 (a need, its parts, and the scores)
    catalogue: Catalogue, need: Need, totals: Totals, scores: Scores, plain: Floats, variance: Floats
) -> Totals:
    spread = totals.cumulative_variance.copy()
    days = spread.shape[1]
    groups = [row for row, key in enumerate(totals.keys) if key[0] == "group"]
    names = tuple(group_series(totals.keys[row][1]) for row in groups)
    spread[groups] *= scores.factors_by_day(names, days)
    components = _parts(catalogue, totals, need.items)[1]
    before, after = components @ plain, components @ variance
    spread *= np.divide(after, before, out=np.ones_like(spread), where=before > _NOTHING)
    return replace(totals, cumulative_variance=spread)


def _simply(state: SiteState, catalogue: Catalogue, need: Need, rows: Sequence[int]) -> Need:
    """The simple method's means and variances in some rows. Nothing falls below what is certain, the use of sessions
    whose patients are there; what was used today already is not needed once more."""
    if need.cumulative_variance is None:
        return need
    days = need.firm_mean.shape[1]
    items = [need.items[row] for row in rows]
    is_open = open_days(catalogue, state.site, need.first_day, days)
    planner = need.cumulative_variance[rows][:, _LAST].T
    found = state.learned.scores.simple_forecast(items, need.first_day.toordinal(), is_open, planner)
    if found is None:
        return need
    mean, spread = found
    today = need.first_day.toordinal()
    used = realised_use(state, catalogue, today)
    certain = np.zeros_like(mean)
    certain[:, 0] = [_arrived(state, catalogue, item, today) for item in items]
    mean[:, 0] -= [used.get(item, 0.0) for item in items]
    mean = np.maximum(mean, certain)
    arrays = [array.copy() for array in (need.firm_mean, need.firm_variance, need.to_come_mean, need.to_come_variance)]
    before = [array[rows] for array in arrays]
    booked = np.minimum(before[0], mean)
    share = np.divide(booked, before[0], out=np.zeros_like(booked), where=before[0] > 0)
    of_day = np.broadcast_to(spread[:, :1], mean.shape)
    booked_variance = np.minimum(before[1] * share, of_day)
    after = [booked, booked_variance, mean - booked, of_day - booked_variance]
    for array, values in zip(arrays, after, strict=True):
        array[rows] = values
    other = np.zeros_like(need.to_come_mean) if need.other_mean is None else need.other_mean.copy()
    other[rows] = after[2]  # by this method no booking explains it
    cumulative_variance = need.cumulative_variance.copy()
    cumulative_variance[rows] = spread
    totals = need.totals
    if totals is not None:
        totals = _moved(catalogue, totals, items, after[0] - before[0], after[2] - before[2])
    firm_mean, firm_variance, to_come_mean, to_come_variance = arrays
    return replace(
        need,
        firm_mean=firm_mean,
        firm_variance=firm_variance,
        to_come_mean=to_come_mean,
        to_come_variance=to_come_variance,
        cumulative_variance=cumulative_variance,
        totals=totals,
        other_mean=other,
    )


def _arrived(state: SiteState, catalogue: Catalogue, item_id: str, today: int) -> float:
    """Containers that sessions of patients who are there use on average."""
    uses = (
        number * float(state.profiles[profile].items[item_id].mean)
        for profile, number in state.arrived.get(today, {}).items()
        if item_id in state.profiles[profile].items
    )
    item = catalogue.items[item_id]
    return sum(uses) / (float(item.content.value) if item.counted_in == "mL" else 1.0)


def _moved(catalogue: Catalogue, totals: Totals, items: Sequence[str], firm: Floats, to_come: Floats) -> Totals:
    """Totals with their items' means moved by (items, days), so that groups and components stay the sum of theirs."""
    groups, components = _parts(catalogue, totals, items)
    contents = np.array([content_of(catalogue, catalogue.items[item].component).amounts[item] for item in items])
    parts = groups + components * contents
    return replace(
        totals,
        firm_mean=np.maximum(totals.firm_mean + parts @ firm, 0.0),
        to_come_mean=np.maximum(totals.to_come_mean + parts @ to_come, 0.0),
    )


def _parts(catalogue: Catalogue, totals: Totals, items: Sequence[str]) -> tuple[Floats, Floats]:
    """1 where an item is part of a total: of the groups, of the components; (keys, items) each."""
    rows = {key: row for row, key in enumerate(totals.keys)}
    groups, components = np.zeros((2, len(rows), len(items)))
    for number, item_id in enumerate(items):
        item = catalogue.items[item_id]
        groups[rows["group", item.group], number] = 1.0
        components[rows["component", item.component], number] = 1.0
    return groups, components

"""How good the planner's own forecasts have been, and what follows: spread factors, the method of an item, drift.

A *series* is ``sessions``, ``group/<id>`` or ``item/<id>``. With each site-day that ends, origin o, the forecast of its
total over the days o+1 … o+L is noted for the leads L (``note``), every day at L = 1, else every second to fifth. When
the use of a day is final (``settle``), the totals that end with it are scored. All sums decay with a half-life of
``HALF_LIFE_DAYS`` (``planner.learning.calibration``). Scored is what the planner itself said, also of an item that uses
the simple method: so that it can be found to be better again.

What is kept per series: 5 × 12 sums (240 bytes), the use of ``WINDOW_DAYS`` (112 bytes), and at most 25 forecasts that
wait (200 bytes); with groups, sessions and names less than 60 KB for 66 items.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isnan
from typing import Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import orjson

from planner.forecast.outlook import Floats
from planner.learning import calibration, drift, judging, simple
from planner.learning.calibration import LEADS, STRIDES
from planner.learning.compact import ABSENT, Codes, codes_from, decoded, encoded, text_of
from planner.learning.packed import pack, rounded, unpack
from planner.learning.simple import WINDOW_DAYS

SESSIONS: Final = "sessions"
Method = Literal["planner", "simple"]


def item_series(item: str) -> str:
    return f"item/{item}"


def group_series(group: str) -> str:
    return f"group/{group}"


class Score(NamedTuple):
    """How good the forecasts of one series have been at one lead. Means decay; uses are those of totals."""

    lead: int
    n: float
    """Origins scored, decayed."""
    realised: float
    bias: float
    """Mean of outcome − mean forecast."""
    pinball: float
    """Mean pinball loss over ``QUANTILES``."""
    simple_worse: float | None
    """The simple method's mean loss less the planner's ÷ the mean of both; below 0 it has been better."""
    coverage: tuple[float, float, float]
    """Share of outcomes at or below the quantiles .8, .9 and .95."""
    factor: float
    """On the variance, as it is now."""


class _Noted(NamedTuple):
    lead: int  # index
    origin: int
    codes: Codes  # (4, series as many as there were)


class Scores:
    """The part ``scores`` of what a site has learned. Days are ordinals."""

    def __init__(self) -> None:
        self.noted = 0
        """The last origin noted."""
        self.settled = 0
        """The last day whose use is final."""
        self.series: list[str] = []
        self.simple: set[str] = set()
        """Series that use the simple method."""
        self._at: dict[str, int] = {}
        self._use: Codes = np.zeros((WINDOW_DAYS, 0), np.uint16)  # day d in row d % WINDOW_DAYS
        self._sums: Floats = np.zeros((judging.ROWS, len(LEADS), 0))
        self._drift: Floats = np.zeros((drift.ROWS, len(LEADS), 0))
        self._waiting: list[_Noted] = []
        self._factors: Floats | None = None  # of all series, (leads, series); a cache
        self._by_day: tuple[tuple[str, ...], int, Floats] | None = None  # a cache as well
        self._weekdays: tuple[Floats | None] | None = None  # another

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scores) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    # --- a day's use is final -----------------------------------------------------------------------------------

    def settle(self, day: int, use: Mapping[str, float], *, is_open: bool) -> None:
        """The use of ``day`` is final; days come in order, and one that is not later than the last changes nothing.

        Args:
            use: by series; of those not named nothing was used.
            is_open: whether the site was open; a day on which it was not, and nothing was used, teaches nothing.
        """
        if day <= self.settled:
            return
        if self.settled and day > self.settled + 1:
            # days that nobody closed: no total over them is known
            self._waiting = [noted for noted in self._waiting if noted.origin >= day - 1]
            for skipped in range(max(self.settled + 1, day - WINDOW_DAYS), day):
                self._use[skipped % WINDOW_DAYS] = ABSENT
        self._columns([name for name, amount in use.items() if amount > 0])
        row = np.zeros(len(self.series))
        for name, amount in use.items():
            if amount > 0:
                row[self._at[name]] = amount
        if not self.settled:
            self._use[:] = ABSENT
        self._use[day % WINDOW_DAYS] = encoded(row) if is_open or row.any() else ABSENT
        self.settled = day
        due = [noted for noted in self._waiting if noted.origin + LEADS[noted.lead] <= day]
        if due:
            self._waiting = [noted for noted in self._waiting if noted.origin + LEADS[noted.lead] > day]
            self._score(due)
            self._choose()
        self._factors = self._by_day = self._weekdays = None

    def _score(self, due: list[_Noted]) -> None:
        """Add the errors of totals that are known now; at most one a lead."""
        known = np.full((judging.SAID, len(due), len(self.series)), np.nan)
        outcome = np.empty(known.shape[1:])
        for number, noted in enumerate(due):
            known[:, number, : noted.codes.shape[1]] = decoded(noted.codes)
            days = np.arange(noted.origin + 1, noted.origin + LEADS[noted.lead] + 1) % WINDOW_DAYS
            outcome[number] = np.nansum(self._used(days), axis=0)
        leads = [noted.lead for noted in due]
        watched = self._watched()
        sums, sums_of_drift = self._sums[:, leads], self._drift[:, leads][..., watched]
        self._sums[:, leads] = rounded(judging.judge(sums, known, outcome, leads))
        watching = judging.watch(sums_of_drift, sums[..., watched], known[..., watched], outcome[:, watched], leads)
        self._drift[:, np.array(leads)[:, None], watched] = rounded(watching)

    def _choose(self) -> None:
        """Which items use the simple method from now on."""
        count = self._sums[judging.SIMPLE_COUNT]
        worse = np.nan_to_num(self._simple_worse(self._sums)).mean(axis=0)
        better = (count[simple.DECIDING] >= simple.SCORED_LEAST) & (worse <= simple.SIMPLE_FROM)
        good_enough = worse <= simple.PLANNER_FROM
        for number in np.flatnonzero(better | ~good_enough).tolist():
            if better[number]:
                self.simple.add(self.series[number])
            else:
                self.simple.discard(self.series[number])

    @staticmethod
    def _simple_worse(sums: Floats) -> Floats:
        loss = sums[judging.LOSS] / np.maximum(sums[judging.COUNT], 1e-9)
        return simple.worse(sums[judging.SIMPLE_WORSE], sums[judging.SIMPLE_COUNT], loss)

    # --- forecasts are noted --------------------------------------------------------------------------------------

    def note(
        self, origin: int, names: Sequence[str], mean: Floats, variance: Floats, is_open: npt.NDArray[np.bool_]
    ) -> bool:
        """Note today's forecasts, once per origin. False: they were noted before, or of a later one.

        Args:
            origin: the day before the first day of the forecasts.
            mean, variance: of the totals over ``LEADS``, shape (leads, names); the variance before any factor.
            is_open: whether the site is open on each of the ``LEADS[-1]`` days after ``origin``.
        """
        if origin <= self.noted:
            return False
        self.noted = origin
        self._prune(frozenset(names))
        at = self._columns(names)
        # of all others that are known nothing is expected
        said = np.zeros((judging.SAID, len(LEADS), len(self.series)))
        said[judging.FACTOR] = factor = self.factors()
        said[judging.SIMPLE_MEAN] = np.nan
        said[judging.MEAN][:, at] = mean
        said[judging.DEVIATION][:, at] = np.sqrt(np.maximum(variance * factor[:, at], 0.0))
        items = [number for number, name in enumerate(self.series) if name.startswith("item/")]
        by_weekday = self._by_weekday()
        if by_weekday is not None:
            running = np.cumsum(simple.daily_means(by_weekday[:, items], origin + 1, is_open), axis=0)
            said[judging.SIMPLE_MEAN][:, items] = running[np.array(LEADS) - 1]
        codes = encoded(said)
        for lead, stride in enumerate(STRIDES):
            if origin % stride == 0:
                self._waiting.append(_Noted(lead, origin, np.ascontiguousarray(codes[:, lead])))
        return True

    def _by_weekday(self) -> Floats | None:
        if not self.settled:
            return None
        if self._weekdays is None:
            days = np.arange(self.settled - WINDOW_DAYS + 1, self.settled + 1) % WINDOW_DAYS
            self._weekdays = (simple.weekday_means(self._used(days), self.settled),)
        return self._weekdays[0]

    def _used(self, days: npt.NDArray[np.int64]) -> Floats:
        """Use of days by their row, whole numbers whole again; nan: not known, or closed."""
        found: Floats = np.round(decoded(self._use[days]), 2)
        return found

    def _columns(self, names: Sequence[str]) -> list[int]:
        """The numbers of series, new ones among them; before they were known nothing of them was used."""
        new = [name for name in names if name not in self._at]
        if new:
            for name in new:
                self._at[name] = len(self.series)
                self.series.append(name)
            known = (self._use != ABSENT).any(axis=1) if self._use.shape[1] else np.zeros(WINDOW_DAYS, np.bool_)
            column = np.where(known, 0, ABSENT).astype(np.uint16)
            self._use = np.concatenate((self._use, np.repeat(column[:, None], len(new), axis=1)), axis=1)
            self._sums = np.pad(self._sums, ((0, 0), (0, 0), (0, len(new))))
            self._drift = np.pad(self._drift, ((0, 0), (0, 0), (0, len(new))))
            self._factors = self._by_day = self._weekdays = None
        return [self._at[name] for name in names]

    def _prune(self, names: Collection[str]) -> None:
        """Forget series that are not forecast any more, of which nothing waits and nothing was used for long."""
        gone = [number for number, name in enumerate(self.series) if name not in names]
        if not gone:
            return
        used = ((self._use != ABSENT) & (self._use > 0)).any(axis=0)
        for noted in self._waiting:
            used[: noted.codes.shape[1]] |= noted.codes[judging.MEAN] > 0
        keep = np.ones(len(self.series), np.bool_)
        keep[gone] = used[gone]
        if keep.all():
            return
        self._waiting = [n._replace(codes=n.codes[:, keep[: n.codes.shape[1]]]) for n in self._waiting]
        self._use, self._sums, self._drift = self._use[:, keep], self._sums[..., keep], self._drift[..., keep]
        self.series = [name for name, kept in zip(self.series, keep.tolist(), strict=True) if kept]
        self.simple.intersection_update(self.series)
        self._at = {name: number for number, name in enumerate(self.series)}
        self._factors = self._by_day = self._weekdays = None

    # --- what follows ---------------------------------------------------------------------------------------------

    def factors(self) -> Floats:
        """Factors on the variance of the totals over ``LEADS``, of every series; (leads, series). Sessions have 1:
        their spread is calibrated where they are forecast."""
        if self._factors is None:
            rows = self._sums[[judging.COUNT, judging.SQUARED, judging.USE, judging.ADAPTED]]
            self._factors = calibration.factors(*rows)
            if SESSIONS in self._at:
                self._factors[:, self._at[SESSIONS]] = 1.0
        return self._factors

    def factors_by_day(self, names: tuple[str, ...], days: int) -> Floats:
        """Factors on the variance of the totals over 1 … ``days`` days; shape (names, days), to be read only."""
        known = self._by_day
        if known is None or known[0] != names or known[1] != days:
            found = np.ones((len(LEADS), len(names)))
            held = [number for number, name in enumerate(names) if name in self._at]
            found[:, held] = self.factors()[:, [self._at[names[number]] for number in held]]
            known = self._by_day = (names, days, calibration.by_day(found, days))
        return known[2]

    def spread_factor(self, series: str, lead: int) -> float:
        """Factor on the variance of a series' total over ``lead`` days; 1 for one that is not known.

        Raises:
            ValueError: ``lead`` is not 1 to 90.
        """
        number = self._at.get(series)
        return 1.0 if number is None else calibration.at_lead(self.factors()[:, number], lead)

    def method(self, item: str) -> Method:
        """What the forecasts of an item are made with."""
        return "simple" if item_series(item) in self.simple else "planner"

    def simple_forecast(
        self, items: Sequence[str], first_day: int, is_open: npt.NDArray[np.bool_], planner: Floats
    ) -> tuple[Floats, Floats] | None:
        """What the simple method expects of items that use it.

        Args:
            is_open: of the days from ``first_day`` on, as many as are asked for.
            planner: the planner's variance of the totals over ``LEADS``, (leads, items).

        Returns:
            Mean by day, and variance of the total through each day; (items, days) each. None: too little is known.
        """
        by_weekday = self._by_weekday()
        if by_weekday is None:
            return None
        at = [self._at[item_series(item)] for item in items]
        variance = simple.variances(
            self._sums[judging.SIMPLE_SQUARED][:, at], self._sums[judging.COUNT][:, at], planner
        )
        mean = simple.daily_means(by_weekday[:, at], first_day, is_open).T
        return mean, simple.variance_by_day(variance, is_open.size)

    def _watched(self) -> npt.NDArray[np.intp]:
        """Series in which drift is looked for: groups and sessions."""
        return np.array([n for n, name in enumerate(self.series) if not name.startswith("item/")], dtype=np.intp)

    def drift(self, series: str, *, standing: bool) -> drift.Drift | None:
        """Whether a group or the sessions have drifted, given whether that is known already."""
        number = self._at.get(series)
        if number is None or series.startswith("item/"):
            return None
        return drift.drift_of(self._drift[..., number], self._sums[judging.ADAPTED, :, number], standing=standing)

    def scores(self, series: str) -> list[Score]:
        """How good the forecasts of a series have been, by lead; those of which none is scored are left out."""
        number = self._at.get(series)
        return [] if number is None else self._scores([number])[0]

    def all_scores(self, decimals: int) -> dict[str, list[Score]]:
        """``scores`` of every series of which anything is scored, in order of series; figures rounded."""
        order = sorted(range(len(self.series)), key=self.series.__getitem__)
        found = zip(order, self._scores(order, decimals), strict=True)
        return {self.series[number]: scores for number, scores in found if scores}

    def _scores(self, numbers: list[int], decimals: int | None = None) -> list[list[Score]]:
        sums = self._sums[:, :, numbers]
        figures = sums / np.maximum(sums[judging.COUNT], 1e-9)
        figures[judging.COUNT] = sums[judging.COUNT]
        figures[judging.SIMPLE_WORSE] = self._simple_worse(sums)
        figures[judging.ADAPTED] = self.factors()[:, numbers]
        if decimals is not None:
            figures = np.round(figures, decimals)
        return [
            [
                _score(lead, of_lead)
                for lead, of_lead in zip(LEADS, of_series, strict=True)
                if of_lead[judging.COUNT] > 0
            ]
            for of_series in figures.transpose(2, 1, 0).tolist()
        ]

    # --- the table entry ------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """See ``Part``."""
        return orjson.dumps(
            {
                "format": 1,
                "noted": self.noted,
                "settled": self.settled,
                "series": self.series,
                "simple": sorted(self.simple),
                "use": text_of(self._use),
                "sums": pack(self._sums),
                "drift": pack(self._drift[..., self._watched()]),
                "waiting": [[n.lead, n.origin, n.codes.shape[1], text_of(n.codes)] for n in self._waiting],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """See ``Part``."""
        body = orjson.loads(data)
        if body["format"] != 1:
            raise ValueError(f"scores: format {body['format']!r}; expected 1")
        found = cls()
        found.noted, found.settled = body["noted"], body["settled"]
        found.series, found.simple = body["series"], set(body["simple"])
        found._at = {name: number for number, name in enumerate(found.series)}
        count = len(found.series)
        found._use = codes_from(body["use"], (WINDOW_DAYS, count))
        found._sums = unpack(body["sums"], (judging.ROWS, len(LEADS), count))
        watched = found._watched()
        found._drift = np.zeros((drift.ROWS, len(LEADS), count))
        found._drift[..., watched] = unpack(body["drift"], (drift.ROWS, len(LEADS), len(watched)))
        found._waiting = [
            _Noted(lead, origin, codes_from(text, (judging.SAID, width)))
            for lead, origin, width, text in body["waiting"]
        ]
        return found


def _score(lead: int, figures: list[float]) -> Score:
    """From the rows of the sums, as means, with the factor in the place of θ."""
    worse = figures[judging.SIMPLE_WORSE]
    return Score(
        lead=lead,
        n=figures[judging.COUNT],
        realised=figures[judging.USE],
        bias=figures[judging.ERROR],
        pinball=figures[judging.LOSS],
        simple_worse=None if isnan(worse) else worse,
        coverage=(figures[judging.BELOW_80], figures[judging.BELOW_90], figures[judging.BELOW_95]),
        factor=figures[judging.ADAPTED],
    )

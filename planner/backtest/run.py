"""A back-test: origins walked through, the planner and simple methods asked at each, their answers put side by side.

The *origin* o of a forecast is the end of a site's day o. The total over a lead of L days is that of the days o + 1
to o + L. Where a log has several sites, ``ALL_SITES`` is their sum, each site at the end of its own day; the sites'
errors are taken as independent there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from planner.backtest.baselines import Baseline, Forecasts
from planner.backtest.believed import Believed, believed
from planner.backtest.faults import CannotTest
from planner.backtest.history import Book, Days, History, together
from planner.backtest.scores import Score, score
from planner.backtest.series import Series, Weights, find_series
from planner.backtest.use import SessionUse
from planner.backtest.walk import Walk
from planner.forecast.chain import ALL_SITES
from planner.forecast.outlook import Floats
from planner.forecast.quantiles import quantiles
from planner.messages import HORIZON_DAYS

PLANNER = "planner"


@dataclass(frozen=True, slots=True)
class Request:
    """What to back-test.

    Args:
        leads: days, from 1 to ``HORIZON_DAYS``, rising.
        first, last: the first and the last origin; ``step``: days from one origin to the next.
        warmup_days: an origin with fewer days of a site's history, its own day included, is left out.
        series: names; see ``find_series``.
        sites: to be scored; none: all that the log names.
        draw_seed: what a completion does not tell of use is drawn with it; None: it is the expected use.
        fan_origin: the origin whose day-by-day forecast is kept; None: the middle one.
    """

    leads: tuple[int, ...]
    first: date
    last: date
    step: int = 1
    warmup_days: int = 0
    series: tuple[str, ...] = ("sessions",)
    sites: tuple[str, ...] = ()
    draw_seed: int | None = None
    fan_origin: date | None = None

    def __post_init__(self) -> None:
        """Raises ValueError: a field is out of its range; the message names it."""
        if not self.leads or list(self.leads) != sorted(set(self.leads)):
            raise ValueError(f"leads: found {self.leads}; expected different days, rising")
        if self.leads[0] < 1 or self.leads[-1] > HORIZON_DAYS:
            raise ValueError(f"leads: found {self.leads}; expected days from 1 to {HORIZON_DAYS}")
        if self.first > self.last:
            raise ValueError(f"from: found {self.first}, after to ({self.last}); expected a day not after it")
        if self.step < 1:
            raise ValueError(f"step: found {self.step}; expected at least 1 day")
        if self.warmup_days < 0:
            raise ValueError(f"warmup: found {self.warmup_days}; expected 0 days or more")
        if len(set(self.series)) != len(self.series) or not self.series:
            raise ValueError(f"series: found {', '.join(self.series) or 'none'}; expected different ones")

    @property
    def horizon(self) -> int:
        """The longest lead."""
        return self.leads[-1]

    def origins(self) -> list[date]:
        """The origins asked for."""
        days = range(0, (self.last - self.first).days + 1, self.step)
        return [self.first + timedelta(days=day) for day in days]


class Scored(NamedTuple):
    """Forecasts of one series at one site and lead by one method, and what came; arrays by origin."""

    method: str
    site: str
    series: Series
    lead: int
    origins: tuple[date, ...]
    quantiles: Floats
    """Shape (origins, levels)."""
    mean: Floats
    realised: Floats

    def score(self) -> Score:
        """Raises ValueError where there are no origins."""
        return score(self.realised, self.quantiles, self.mean)


class Fan(NamedTuple):
    """The forecast of one origin day by day; arrays by day from the origin's next on."""

    site: str
    series: Series
    origin: date
    on_books: Floats
    mean: Floats
    quantiles: Floats
    """Shape (levels, days)."""
    realised: Floats


class Result(NamedTuple):
    """What a back-test found."""

    scored: list[Scored]
    fan: Fan | None
    books: dict[tuple[str, str], Book]
    """(site, series) → its book."""
    refused: dict[str, int]
    """Reason → events that the steps refused."""


class Backtest:
    """One back-test over a walk.

    Raises:
        CannotTest: a series or site is unknown, or there are no origins; the message names it.
    """

    def __init__(self, walk: Walk, request: Request) -> None:
        self._walk = walk
        self._request = request
        self.series = tuple(find_series(walk.catalogue, name) for name in request.series)
        for site in request.sites:
            if site not in walk.sites:
                raise CannotTest(f"site: found {site!r}; expected one of the log's, {', '.join(walk.sites)}")
        self.sites = tuple(sorted(request.sites)) or walk.sites
        latest = walk.reached_day - timedelta(days=request.leads[0])
        self._origins = [day for day in request.origins() if walk.first_day <= day <= latest]
        if not self._origins:
            raise CannotTest(
                f"origins: none from {request.first} to {request.last}; the log goes from {walk.first_day} to"
                f" {walk.reached_day}, and a lead of {request.leads[0]} has to end in it"
            )
        weights = Weights(walk.catalogue, self.series)
        self._histories = {
            site: History(walk.first_day, walk.days, request.horizon, weights, len(self.series)) for site in self.sites
        }
        rng = None if request.draw_seed is None else np.random.default_rng(request.draw_seed)
        self._use = SessionUse(walk.catalogue, weights, walk.lines, rng)
        self._believed: dict[str, dict[int, Believed]] = {site: {} for site in self.sites}
        """Site → origin (day of the log) → what the planner believed."""

    def run(
        self,
        baselines: Sequence[Baseline] = (),
        *,
        on_events: Callable[[int], None] = lambda _: None,
        on_baseline: Callable[[str], None] = lambda _: None,
    ) -> Result:
        """Walk, then ask the baselines.

        Args:
            on_events: told how many more events have been folded.
            on_baseline: told the name of each baseline before it is asked.

        Raises:
            CannotTest: no origin has as much history as ``warmup_days`` asks for.
        """
        asked = {self._index(day) for day in self._origins}
        for end in self._walk.through(on_events=on_events):
            history = self._histories.get(end.site)
            if history is None:
                continue
            for session in end.completed:
                history.take(session.day, self._use.of(session))
            history.close(end.day, self._walk.state(end.site))
            at = self._index(end.day)
            if at in asked and self._is_warm(history, at):
                outlook = self._walk.outlook(end.site)
                self._believed[end.site][at] = believed(outlook, self.series, self._request.horizon)
        if not any(self._believed.values()):
            raise CannotTest(f"warmup: {self._request.warmup_days} days leave no origin; expected fewer")
        books = self._books()
        scored = list(self._planned(books))
        for baseline in baselines:
            on_baseline(baseline.name)
            scored += self._asked(baseline, books)
        return Result(scored, self._fan(books), books, dict(self._walk.refused))

    def _index(self, day: date) -> int:
        return (day - self._walk.first_day).days

    def _day(self, index: int) -> date:
        return self._walk.first_day + timedelta(days=int(index))

    def _is_warm(self, history: History, at: int) -> bool:
        return history.begins is not None and at - history.begins + 1 >= self._request.warmup_days

    def _places(self) -> list[tuple[str, tuple[str, ...]]]:
        """What is scored: each site, and where there are several their sum."""
        places: list[tuple[str, tuple[str, ...]]] = [(site, (site,)) for site in self.sites]
        return [*places, (ALL_SITES, self.sites)] if len(self.sites) > 1 else places

    def _books(self) -> dict[tuple[str, str], Book]:
        return {
            (place, one.name): together([self._histories[site].book(at) for site in sites])
            for place, sites in self._places()
            for at, one in enumerate(self.series)
        }

    def _origins_of(self, sites: Sequence[str]) -> Days:
        """Days of the log at whose end every one of the sites that had begun was asked."""
        found = sorted(set().union(*(self._believed[site] for site in sites)))
        begins = {site: self._histories[site].begins for site in sites}
        return np.array(
            [at for at in found if all(at in self._believed[s] or (b := begins[s]) is None or at < b for s in sites)],
            dtype=np.intp,
        )

    # --- what was forecast --------------------------------------------------------------------------------

    def _planned(self, books: dict[tuple[str, str], Book]) -> Iterator[Scored]:
        last = self._index(self._walk.reached_day)
        for place, sites in self._places():
            origins = self._origins_of(sites)
            known = [[b[at] for site in sites if at in (b := self._believed[site])] for at in origins]
            for at, one in enumerate(self.series):
                mean = np.array([sum(b.mean[at] for b in together_) for together_ in known])
                variance = np.array([sum(b.variance[at] for b in together_) for together_ in known])
                scale = known[0][0].scale[at] if known else 1.0
                for lead in self._request.leads:
                    inside = origins + lead <= last
                    m, v = mean[inside, lead - 1], variance[inside, lead - 1]
                    levels = quantiles(m / scale, v / (scale * scale)).T * scale
                    yield self._scored(
                        PLANNER, place, one, lead=lead, at=origins[inside], made=Forecasts(levels, m), books=books
                    )

    def _asked(self, baseline: Baseline, books: dict[tuple[str, str], Book]) -> Iterator[Scored]:
        last = self._index(self._walk.reached_day)
        for place, sites in self._places():
            origins = self._origins_of(sites)
            for one in self.series:
                for lead, made in baseline.forecast(books[place, one.name], origins, self._request.leads).items():
                    inside = origins + lead <= last
                    made_inside = Forecasts(made.quantiles[inside], made.mean[inside])
                    yield self._scored(
                        baseline.name, place, one, lead=lead, at=origins[inside], made=made_inside, books=books
                    )

    def _scored(
        self,
        method: str,
        site: str,
        series: Series,
        *,
        lead: int,
        at: Days,
        made: Forecasts,
        books: dict[tuple[str, str], Book],
    ) -> Scored:
        book = books[site, series.name]
        realised = np.array([book.realised[origin + 1 : origin + 1 + lead].sum() for origin in at])
        return Scored(method, site, series, lead, tuple(map(self._day, at)), made.quantiles, made.mean, realised)

    def _fan(self, books: dict[tuple[str, str], Book]) -> Fan | None:
        """Of the first series at the first site that was asked."""
        site = next(site for site in self.sites if self._believed[site])
        known = self._believed[site]
        wanted = self._request.fan_origin
        at = sorted(known)[len(known) // 2] if wanted is None else self._index(wanted)
        if at not in known:
            return None
        series, found, book = self.series[0], known[at], books[site, self.series[0].name]
        scale = found.scale[0]
        return Fan(
            site=site,
            series=series,
            origin=self._day(at),
            on_books=book.on_books[at],
            mean=found.daily_mean[0],
            quantiles=quantiles(found.daily_mean[0] / scale, found.daily_variance[0] / (scale * scale)) * scale,
            realised=book.realised[at + 1 : at + 1 + self._request.horizon],
        )

"""A site's booking book, learned as a whole: who comes of those booked, how many are still to come, and how sure it is.

One step per site-day, in ``close``; what happens within a day is counted by ``planner.learning.running``. What is
believed of the days ahead is a function of what was learned by the morning (``path``), so that within a day only the
days that events touch change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats
from planner.learning import ladder
from planner.learning.curve import BANDS, Curve, DayOfBook, Paths
from planner.learning.mix import CORRECTIONS, LEVELS, Mix, Path, corrections
from planner.learning.packed import pack, unpack
from planner.learning.prior import Prior, prior_of
from planner.learning.running import Running
from planner.learning.season import HISTORY_DAYS, season_index
from planner.messages import HORIZON_DAYS

MIX_HALF_LIFE_DAYS: Final = 56.0
MIX_PRIOR_SESSIONS: Final = 20.0
"""Sessions that the stated mix of protocols counts for, in each band."""
_MIX_DECAY: Final = 0.5 ** (1 / MIX_HALF_LIFE_DAYS)
_FORGOTTEN: Final = 1e-4
_NO_VOLUME: Final = 1e-9
CORRECTED_FROM_DAYS: Final = 7
"""Days to learn from before a level is known."""
_DAYS: Final = np.arange(HORIZON_DAYS)
_FORMAT: Final = 3

Bools = npt.NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Book:
    """What was learned by the morning of ``today``. Mutable; its entry is written once a day."""

    today: int = 0
    """Ordinal; 0: no day has begun."""
    curve: Curve | None = None
    mix: Mix = field(default_factory=Mix)
    protocols: list[dict[str, float]] = field(default_factory=lambda: [{} for _ in range(BANDS)])
    """Band of days to go → protocol → new bookings (decayed)."""
    history: list[float] = field(default_factory=list)
    """Sessions that took place, by day, up to the last settled one; at most ``HISTORY_DAYS``."""
    history_ends: int = 0
    """Ordinal of the day after the last of ``history``."""
    days: int = 0
    """Days learned from."""
    opens: int = 0
    """The first session day ever booked (ordinal); 0: none yet."""
    on_book: Floats = field(default_factory=lambda: np.zeros(HORIZON_DAYS))
    """Live bookings in the morning of ``today``, by day ahead."""
    _believed: tuple[str, int, Path, Prior] | None = field(default=None, compare=False, repr=False)
    """Catalogue version and day of the path that was worked out last: a cache."""

    # --- what is believed ---------------------------------------------------------------------------------

    def path(self, catalogue: Catalogue, site: str, today: int) -> Path:
        """What is believed in the morning of ``today`` (ordinal), by day ahead."""
        return self._look(catalogue, site, today)[0]

    def prior(self, catalogue: Catalogue, site: str, today: int) -> Prior:
        """What learning started from, by the catalogue in force."""
        return self._look(catalogue, site, today)[1]

    def common_error(self, catalogue: Catalogue, site: str, today: int) -> tuple[Floats, Floats]:
        """Relative variance that sessions share, of the total through each day ahead and of each day; shape (H,) each.

        Of those expected to be lost or to be booked, W, the number varies by φ W; independent sessions explain the
        part I = Σ K (1 − K) + to come of it. What is left, ÷ W², is common to all.
        """
        path, prior = self._look(catalogue, site, today)
        booked = self.on_book if today == self.today else np.zeros(HORIZON_DAYS)
        volume = booked * (1 - path.keep) + path.to_come
        independent = booked * path.keep * (1 - path.keep) + path.to_come
        result: list[Floats] = []
        for total in (True, False):
            dispersion = self.mix.dispersion(prior.dispersion, volume, total=total)
            w, known = (np.cumsum(volume), np.cumsum(independent)) if total else (volume, independent)
            beyond = np.maximum(dispersion * w - known, 0.0)
            result.append(np.divide(beyond, w * w, out=np.zeros_like(w), where=w > _NO_VOLUME))
        return result[0], result[1]

    def shares(self, catalogue: Catalogue, site: str, today: int) -> list[dict[str, float]]:
        """Of the sessions still to be booked, by band of days to go, each protocol's share (adding up to 1, or
        none)."""
        prior = self.prior(catalogue, site, today).shares
        result: list[dict[str, float]] = []
        for learned in self.protocols:
            weights = {protocol: MIX_PRIOR_SESSIONS * share for protocol, share in prior.items()}
            for protocol, number in learned.items():
                weights[protocol] = weights.get(protocol, 0.0) + number
            total = sum(weights[protocol] for protocol in sorted(weights))
            result.append({protocol: weights[protocol] / total for protocol in sorted(weights)} if total else {})
        return result

    def _look(self, catalogue: Catalogue, site: str, today: int) -> tuple[Path, Prior]:
        known = self._believed
        if known is None or known[:2] != (catalogue.version, today):
            prior = prior_of(catalogue, site)
            path = self.mix.path(*self._paths(catalogue, site, prior, today))
            self._believed = known = (catalogue.version, today, path, prior)
        return known[2], known[3]

    def _paths(self, catalogue: Catalogue, site: str, prior: Prior, today: int) -> tuple[Paths, Floats, Floats]:
        """What each rate expects from the morning of ``today`` on, by what the experts correct it, and the season."""
        curve = self.curve or Curve.begin(prior)
        season = season_index(self.history, self.history_ends, today, HORIZON_DAYS)
        is_open = _open(catalogue, site, today)
        paths = curve.paths(prior, date.fromordinal(today).weekday(), is_open, season)
        if today != self.today or self.days < CORRECTED_FROM_DAYS:
            return paths, np.ones((CORRECTIONS, BANDS, HORIZON_DAYS)), season
        levels: dict[float, Floats] = {}
        by_ladder: Floats | None = None
        if len(self.history) >= CORRECTED_FROM_DAYS:
            weekday = (today + _DAYS) % 7
            levels = {days: np.where(is_open, self._level(catalogue, site, days)[weekday], 0.0) for days in LEVELS}
            by_ladder = self._by_ladder(catalogue, site, curve, prior, paths, is_open)
        return paths, corrections(paths, self.on_book, levels, by_ladder), season

    def _by_ladder(  # noqa: PLR0917 (the parts of a look)
        self, catalogue: Catalogue, site: str, curve: Curve, prior: Prior, paths: Paths, is_open: Bools
    ) -> Floats:
        past = np.array(self.history[-ladder.PAST_DAYS :])
        begins = self.history_ends - past.size
        return ladder.to_come(
            ladder.climb(curve, prior, self.days, paths),
            curve,
            prior,
            weekday=date.fromordinal(self.today).weekday(),
            on_book=self.on_book,
            open_days=is_open,
            past=past,
            past_ends=self.today - self.history_ends + 1,
            past_open=_open(catalogue, site, begins, past.size),
        )

    def _level(self, catalogue: Catalogue, site: str, half_life_days: float) -> Floats:
        """Mean sessions of a weekday (ordinal mod 7), older ones decayed, closed days of the site left out."""
        days = np.arange(self.history_ends - len(self.history), self.history_ends)
        is_open = _open(catalogue, site, self.history_ends - len(self.history), len(self.history))
        weight = 0.5 ** ((self.history_ends - 1 - days) / half_life_days) * is_open
        number = np.bincount(days % 7, weight, 7)
        held: Floats = np.bincount(days % 7, weight * np.array(self.history), 7) / np.maximum(number, _NO_VOLUME)
        return held

    # --- learning -----------------------------------------------------------------------------------------

    def close(
        self,
        catalogue: Catalogue,
        site: str,
        running: Running,
        *,
        on_book: Floats,
        settled: dict[int, float],
        more: Floats,
    ) -> None:
        """The day is over: learn from it, and forecast as the next morning will.

        Args:
            running: what happened on the day; forgotten here.
            on_book: live bookings by day from the day that is over on; shape (HORIZON_DAYS + 1,).
            settled: day → bookings of it that were live to the end, of which nobody told; in order, ending a run of
                days that are now settled.
            more: sessions expected beside the curve from the next day on; shape (HORIZON_DAYS,).
        """
        prior = prior_of(catalogue, site)
        day, self.today = self.today, self.today + 1
        if self.curve is None:
            self.curve = Curve.begin(prior)
        self._opens(running, day, on_book)
        if running.whole:
            is_open = _open(catalogue, site, day) & (np.arange(day, day + HORIZON_DAYS) >= self.opens)
            season = season_index(self.history, self.history_ends, day, HORIZON_DAYS)
            self.curve.learn(_day_of_book(running, day, on_book, is_open), prior, season)
            self._learn_protocols(running)
            self.days += 1
        for over, untold in settled.items():
            self._settle(over, running, untold, prior)
        running.next_day()
        self.on_book = on_book[1:].copy()
        paths, factors, season = self._paths(catalogue, site, prior, self.today)
        path = self.mix.path(paths, factors, season)
        self._believed = (catalogue.version, self.today, path, prior)
        self.mix.note(self.today, paths, path, factors=factors, on_book=on_book[1:], more=more)

    def _opens(self, running: Running, day: int, on_book: Floats) -> None:
        """The first day for which a session was ever booked: before it the site was not open."""
        told = [*running.new, *running.completed, *running.missed]
        told += (day + np.flatnonzero(on_book)[:1]).tolist()
        self.opens = min([*told, *([self.opens] if self.opens else [])], default=0)

    def _settle(self, day: int, running: Running, untold: float, prior: Prior) -> None:
        """The sessions of ``day`` are accounted for; those of which nobody told are taken to have come as others do."""
        completed, missed = running.settle(day)
        if self.curve is None:
            return
        if not self.opens or day < self.opens:
            return
        held = sum(completed.values()) + untold * (1 - float(self.curve.misses(prior).mean()))
        self.curve.settle(completed, missed)
        if self.history_ends and day != self.history_ends:
            self.history.clear()  # days are missing: there is no run of them any more
        self.history.append(held)
        self.history_ends = day + 1
        del self.history[:-HISTORY_DAYS]
        begins = self.history_ends - len(self.history)
        self.mix.score({begins + at: value for at, value in enumerate(self.history)}, day, prior.dispersion)

    def _learn_protocols(self, running: Running) -> None:
        for band, numbers in enumerate(self.protocols):
            booked = running.protocols.get(str(band), {})
            # in order of name, so that sums do not depend on who booked first
            learned = {p: numbers.get(p, 0.0) * _MIX_DECAY + booked.get(p, 0) for p in sorted({*numbers, *booked})}
            self.protocols[band] = {protocol: number for protocol, number in learned.items() if number >= _FORGOTTEN}

    # --- entries ------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Book) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        body: dict[str, Any] = {
            "format": _FORMAT,
            "today": self.today,
            "curve": None if self.curve is None else self.curve.as_json(),
            "mix": self.mix.as_json(),
            "protocols": self.protocols,
            "history": self.history,
            "history_ends": self.history_ends,
            "days": self.days,
            "opens": self.opens,
            "on_book": pack(self.on_book),
        }
        return orjson.dumps(body)

    @classmethod
    def decode(cls, data: bytes) -> Book:
        """See ``planner.learning.part.Part``."""
        body = orjson.loads(data)
        if body["format"] != _FORMAT:
            raise ValueError(f"book entry: found format {body['format']!r}; expected {_FORMAT}")
        return cls(
            today=body["today"],
            curve=None if body["curve"] is None else Curve.from_json(body["curve"]),
            mix=Mix.from_json(body["mix"]),
            protocols=body["protocols"],
            history=body["history"],
            history_ends=body["history_ends"],
            days=body["days"],
            opens=body["opens"],
            on_book=unpack(body["on_book"], (HORIZON_DAYS,)),
        )


def _day_of_book(running: Running, day: int, on_book: Floats, is_open: Bools) -> DayOfBook:
    """The day's bookings and losses by days to go. Its own sessions that are over were on the books too."""
    new, lost = np.zeros(HORIZON_DAYS), np.zeros(HORIZON_DAYS)
    booked = {session_day: sum(profiles.values()) for session_day, profiles in running.new.items()}
    for counts, by_days_to_go in ((booked, new), (running.lost, lost)):
        for session_day, number in counts.items():
            if 0 <= session_day - day < HORIZON_DAYS:
                by_days_to_go[session_day - day] = number
    at_risk = on_book[:HORIZON_DAYS] + lost
    at_risk[0] += sum(sum(counts.get(day, {}).values()) for counts in (running.completed, running.missed))
    return DayOfBook(new, lost, at_risk, is_open, date.fromordinal(day).weekday())


def _open(catalogue: Catalogue, site: str, first_day: int, days: int = HORIZON_DAYS) -> Bools:
    """Whether the site is open, by day from ``first_day`` (ordinal) on; shape (days,)."""
    is_open = np.ones(days, dtype=np.bool_)
    for closed in catalogue.sites[site].closed_on:
        ahead = closed.toordinal() - first_day
        if 0 <= ahead < days:
            is_open[ahead] = False
    return is_open

"""The need of a site by item and day, kept up to date by day.

A booked session takes place with probability p (its demand model's; 1 once the patient has arrived), and then uses
an item with mean m and variance v, independently of other sessions. Over the n bookings of a segment and profile:

    firm mean = Σ n p m        firm variance = Σ n (p (v + m²) − p² m²) = Σ n p v + Σ n p (1 − p) m²

Sessions still to come, μ_s with variance σ_s² of a protocol whose typical session uses (m, v), are a compound sum:

    mean = Σ μ_s m             variance = Σ μ_s v + σ_s² m²

A day is always computed whole from its counts, in a fixed order, never by adding or subtracting what changed. So a
day's figures are a function of its counts, equal to the bit to those computed afresh. Multi-dose items are pooled
by day and counted in containers by ``multidose``. Sessions of the last days whose end has not been told are not need
of today: what they are expected to have used is told apart (``Need.unsettled``), as long as bookings are counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from planner.catalogue.index import Catalogue
from planner.expansion.profile import typical
from planner.forecast.layout import Layout, Pooled, lay_out
from planner.forecast.model import DemandModel
from planner.forecast.multidose import Volume, containers
from planner.forecast.outlook import Floats, Need, Totals
from planner.forecast.rows import Row, Rows
from planner.messages import HORIZON_DAYS, AlertState
from planner.site.bookings import SETTLE_DAYS
from planner.site.state import Profile, SiteState

_FIRST_SLOTS = 64


class SiteNeed:
    """The need of one site. A cache: it can be dropped and built again from the state at any time.

    Build a new one when the catalogue changes.
    """

    def __init__(self, state: SiteState, catalogue: Catalogue, model: DemandModel, days: int = HORIZON_DAYS) -> None:
        self._state = state
        self._catalogue = catalogue
        self._model = model
        self._days = days
        self._rows = Rows(catalogue)
        self._today: date | None = None
        self._first = 0  # ordinal of today
        self._touched: set[int] = set()
        self._need: Need | None = None
        self._axis: tuple[str, ...] = ()
        self._axis_from: tuple[bytes, frozenset[str]] | None = None
        self._keep: dict[str, Floats] = {}
        self._typical: dict[tuple[str, int], Profile | None] = {}
        self._in_force: set[tuple[str, int]] = set()  # (protocol, version) on some day of the horizon
        self._counted: dict[str, tuple[Floats, Floats]] = {}
        self._layout: Layout | None = None
        self._laid_out_slots = 0
        # by day and slot; four kinds of moments: firm mean and variance, to-come mean and variance
        self._moments: Floats = np.zeros((4, days, _FIRST_SLOTS))
        self._mentioned: npt.NDArray[np.bool_] = np.zeros((days + 1, _FIRST_SLOTS), dtype=np.bool_)  # last: unsettled
        self._unsettled: Floats = np.zeros(0)

    def touch(self, day: int) -> None:
        """The counts of a day (ordinal) have changed; of any day, in the horizon or not."""
        self._touched.add(day)

    def touch_all(self) -> None:
        """What the demand model believes has changed: every day is computed again."""
        self._today = None

    def refresh(self, today: date) -> Need:
        """The need from ``today`` (the site's day) on. Only touched days are computed; all of them on a new day."""
        if today != self._today:
            self._today = today
            self._first = today.toordinal()
            self._keep.clear()
            self._rows.prune(self._state.profiles)
            self._moments[:] = 0.0
            self._mentioned[:] = False
            self._axis_from = None
            self._fill_to_come(today)
            days: Iterable[int] = range(self._days)
            self._need = None
        else:
            days = sorted(day - self._first for day in self._touched if 0 <= day - self._first < self._days)
            if any(self._first - SETTLE_DAYS <= day < self._first for day in self._touched):
                self._need = None
        if self._need is None:
            self._settle()
        for index in days:
            self._fill_day(index)
            self._need = None
        self._touched.clear()
        axis = self._items()
        if self._need is None or axis != self._need.items:
            self._need = self._assemble(today, axis)
        return self._need

    # --- one day's counts ---------------------------------------------------------------------------------

    def _fill_day(self, index: int) -> None:
        mean, variance, mentioned = self._sums(self._first + index, index)
        self._make_room()
        self._moments[0, index, : mean.size] = mean
        self._moments[0, index, mean.size :] = 0.0
        self._moments[1, index, : mean.size] = variance
        self._moments[1, index, mean.size :] = 0.0
        self._mentioned[index, : mean.size] = mentioned
        self._mentioned[index, mean.size :] = False

    def _settle(self) -> None:
        """What sessions of the last days, whose end has not been told, are expected to have used."""
        self._unsettled = np.zeros(0)
        self._mentioned[self._days] = False
        if self._catalogue.sites[self._state.site].consumption != "completions":
            return  # stock falls when something is dispensed, whatever becomes of the booking
        for ordinal in range(self._first - SETTLE_DAYS, self._first):
            if ordinal in self._state.demand:
                mean, _, mentioned = self._sums(ordinal, 0)
                self._make_room()
                total = np.zeros(max(mean.size, self._unsettled.size))
                total[: self._unsettled.size] = self._unsettled
                total[: mean.size] += mean
                self._unsettled = total
                self._mentioned[self._days, : mean.size] |= mentioned

    def _sums(self, ordinal: int, days_to_go: int) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Mean, variance and mention by slot of the sessions of a day; as many slots as the day uses."""
        counts = self._state.demand.get(ordinal, {})
        arrived = self._state.arrived.get(ordinal, {})
        of_profile: dict[str, int] = {}
        if arrived:
            for (_, profile), n in counts.items():
                of_profile[profile] = of_profile.get(profile, 0) + n
        rows: list[Row] = []
        expected: list[float] = []
        uncertain: list[float] = []
        for (segment, profile), n in sorted(counts.items()):
            if n <= 0:
                continue
            # arrived ones are counted by profile: segments that share it share them in proportion
            here = n * arrived[profile] / of_profile[profile] if profile in arrived else 0.0
            p = self._keep_probability(segment)[days_to_go]
            rows.append(self._rows.of(self._state.profiles[profile]))
            expected.append((n - here) * p + here)
            uncertain.append((n - here) * p * (1 - p))
        if not rows:
            return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.bool_)
        lengths = [row.slots.size for row in rows]
        slots = np.concatenate([row.slots for row in rows])
        mean = np.concatenate([row.mean for row in rows])
        weight = np.repeat(expected, lengths)
        variance = weight * np.concatenate([row.variance for row in rows]) + np.repeat(uncertain, lengths) * mean * mean
        # bincount adds in the order of the entries: the same for the same counts, whatever came before
        total: Floats = np.bincount(slots, weight * mean).astype(np.float64, copy=False)
        spread: Floats = np.bincount(slots, variance).astype(np.float64, copy=False)
        return total, spread, np.bincount(slots) > 0

    def _keep_probability(self, segment: str) -> Floats:
        found = self._keep.get(segment)
        if found is None:
            days_to_go = np.arange(self._days, dtype=np.float64)
            found = self._keep[segment] = self._model.keep_probability(self._state.site, segment, days_to_go)
        return found

    # --- sessions still to come -----------------------------------------------------------------------------

    def _fill_to_come(self, today: date) -> None:
        site = self._catalogue.sites[self._state.site]
        self._in_force.clear()
        for protocol in sorted({entry.protocol for entry in site.expected_sessions}):
            sessions = self._model.to_come(self._state.site, protocol, today, self._days)
            by_version = self._typical_by_day(protocol, today)
            for version in sorted(set(by_version)):
                self._in_force.add((protocol, version))
                profile = self._typical[protocol, version]
                if profile is None:
                    continue
                row = self._rows.of(profile)
                self._make_room()
                days = np.flatnonzero(np.array(by_version) == version)
                mean, variance = sessions.mean[days, None], sessions.variance[days, None]
                where = np.ix_(days, row.slots)
                self._moments[2][where] += mean * row.mean
                self._moments[3][where] += mean * row.variance + variance * row.mean * row.mean

    def _typical_by_day(self, protocol: str, today: date) -> list[int]:
        """The protocol's version on each day (0: none in force); each version's typical session is remembered."""
        versions: list[int] = []
        for index in range(self._days):
            day = today + timedelta(days=index)
            version = self._catalogue.protocol_version(protocol, day)
            number = 0 if version is None else version.version
            if (protocol, number) not in self._typical:
                profile = None if version is None else typical(self._catalogue, self._state.site, protocol, day)
                self._typical[protocol, number] = profile
            versions.append(number)
        return versions

    def _make_room(self) -> None:
        width = self._moments.shape[2]
        if len(self._rows.slots) > width:
            more = max(len(self._rows.slots), 2 * width) - width
            self._moments = np.pad(self._moments, ((0, 0), (0, 0), (0, more)))
            self._mentioned = np.pad(self._mentioned, ((0, 0), (0, more)))

    # --- what comes out -------------------------------------------------------------------------------------

    def _items(self) -> tuple[str, ...]:
        """Items in order of id: those that booked or typical sessions, stock, open orders, standing alerts or the
        site's par stock mention, and that the catalogue knows."""
        state = self._state
        others = set(state.stock)
        for order in state.orders.values():
            if order.status == "open":
                others.update(order.lines)
        others.update(alert.item for alert in state.alerts.values() if alert.state is not AlertState.RESOLVED)
        mentioned = np.logical_or.reduce(self._mentioned, axis=0)
        source = (mentioned.tobytes(), frozenset(others))
        if source != self._axis_from:
            for par in self._catalogue.sites[state.site].par_stock:
                others.add(self._catalogue.choices(state.site, par.component)[0].item)
            for version in self._in_force:
                profile = self._typical[version]
                if profile is not None:
                    others.update(profile.items)
            for (kind, name), number in self._rows.slots.items():
                if kind == "item" and mentioned[number]:
                    others.add(name)
            self._axis = tuple(sorted(item for item in others if item in self._catalogue.items))
            self._axis_from = source
        return self._axis

    def _assemble(self, today: date, items: tuple[str, ...]) -> Need:
        layout = self._layout
        if layout is None or layout.items != items or self._laid_out_slots != len(self._rows.slots):
            layout = self._layout = lay_out(items, self._state.site, self._catalogue, self._rows)
            self._laid_out_slots = len(self._rows.slots)
        arrays = layout.picked.of(self._moments)
        totals = layout.picked_keys.of(self._moments)
        for pooled in layout.pooled:
            counted = self._containers(pooled, arrays[:, pooled.row])
            arrays[:, pooled.row] = counted
            # as if independent of the session's other items
            for position, amount in pooled.adds_to:
                totals[0::2, position] += counted[0::2] * amount
                totals[1::2, position] += counted[1::2] * (amount * amount)
        return Need(
            first_day=today,
            items=items,
            firm_mean=arrays[0],
            firm_variance=arrays[1],
            to_come_mean=arrays[2],
            to_come_variance=arrays[3],
            totals=Totals(
                keys=layout.keys,
                units=layout.units,
                scale=layout.scale,
                firm_mean=totals[0],
                firm_variance=totals[1],
                to_come_mean=totals[2],
                to_come_variance=totals[3],
            ),
            unsettled=self._unsettled_of(layout),
        )

    def _containers(self, pooled: Pooled, volume: Floats) -> Floats:
        """The item's pooled volume in containers, shape (4, days) as the volume's; firm and to come share them as
        they share the volume."""
        inputs = np.concatenate((volume, pooled.uses.of(self._moments)[:, 0]))
        known = self._counted.get(pooled.item.id)
        if known is not None and np.array_equal(known[0], inputs):
            return known[1]
        firm_mean, firm_variance, come_mean, come_variance, *uses = inputs
        if pooled.item.open_hours is None:
            raise ValueError(f"item {pooled.item.id}: open_hours is absent; expected hours for a multi-dose container")
        mean, variance = firm_mean + come_mean, firm_variance + come_variance
        counted = containers(
            Volume(mean, variance, uses[0] + uses[2], uses[1] + uses[3]),
            float(pooled.item.content.value),
            pooled.item.open_hours,
        )
        share = np.divide(firm_mean, mean, out=np.zeros_like(mean), where=mean > 0)
        spread = np.divide(firm_variance, variance, out=share.copy(), where=variance > 0)
        firm_mean, firm_variance = counted.mean * share, counted.variance * spread
        result = np.stack((firm_mean, firm_variance, counted.mean - firm_mean, counted.variance - firm_variance))
        self._counted[pooled.item.id] = (inputs, result)
        return result

    def _unsettled_of(self, layout: Layout) -> Floats:
        """Containers by item; of multi-dose items as a fraction of their content."""
        known = np.zeros(len(self._rows.slots) + 1)  # the last is that of a slot without number
        known[: self._unsettled.size] = self._unsettled
        result: Floats = known[layout.picked.numbers] / layout.container_ml
        return result

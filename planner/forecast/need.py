"""The need of a site by item and day, kept up to date by day.

A booked session takes place with probability p (its demand model's; 1 once the patient has arrived), and then uses
an item with mean m and variance v. Over the n bookings of a segment and profile:

    firm mean = Σ n p m    firm variance = Σ n (p (v + m²) − p² m²) = Σ n p v + Σ n p (1 − p) m²    lost = Σ n (1 − p) m

m and v are as the site has learned them (``planner.learning.use``): what the protocol says, times the item's factors.
Sessions still to come are compound sums (``planner.forecast.coming``). All that takes sessions as independent of one
another; beside it the demand model tells the relative variance κ of the error that sessions share, of which an item
has the part that goes with what is open about it:

    common variance = κ (lost + to come)²

for a day, and with another κ and sums over the days for the total from the first day through a day.

A day is always computed whole from its counts, in a fixed order, never by adding or subtracting what changed. So a
day's figures are a function of its counts, equal to the bit to those computed afresh. Multi-dose items are pooled
by day and counted in containers by ``multidose``. Sessions of the last days whose end has not been told are not need
of today: what they are expected to have used is told apart (``Need.unsettled``), as long as bookings are counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from planner.catalogue.index import Catalogue
from planner.forecast.coming import Coming
from planner.forecast.layout import Layout, Pooled, lay_out
from planner.forecast.model import CommonError, DemandModel, Stream
from planner.forecast.multidose import Volume, containers
from planner.forecast.outlook import Floats, Need, Totals
from planner.forecast.portions import portion
from planner.forecast.rows import Row, Rows
from planner.forecast.unexplained import add_unexplained, open_days
from planner.learning.other import Expected
from planner.messages import HORIZON_DAYS, AlertState
from planner.site.state import SETTLE_DAYS, Segment, SiteState

_SLOTS_AT_ONCE = 16
"""Room is made for so many more at a time: a slot takes 3.6 KB, and a chain has a thousand sites."""
_FIRM, _COME, _LOST = slice(0, 2), slice(2, 4), 4
"""Kinds of moments: firm mean and variance, to-come mean and variance, what of the booked is expected to be lost."""


_NONE = (0.0, 0.0, 0.0)


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
        self._keep: dict[str, array[float]] = {}  # a third of a list's memory, and as quick to read
        self._coming = Coming(state, catalogue, self._rows)
        self._counted: dict[str, tuple[Floats, Floats]] = {}
        self._layout: Layout | None = None
        self._laid_out_slots = 0
        self._moments: Floats = np.zeros((5, days, _SLOTS_AT_ONCE))
        self._mentioned: npt.NDArray[np.bool_] = np.zeros((days + 1, _SLOTS_AT_ONCE), dtype=np.bool_)  # last: unsettled
        self._unsettled: Floats = np.zeros(0)
        self._unexplained: dict[str, Expected] = {}

    def touch(self, day: int) -> None:
        """The counts of a day (ordinal) have changed; of any day, in the horizon or not."""
        self._touched.add(day)

    def touch_all(self) -> None:
        """What the demand model believes has changed: every day is computed again."""
        self._today = None

    def rest(self) -> None:
        """Hold the days' moments only, no longer the need that is made of them."""
        self._need = None

    def refresh(self, today: date) -> Need:
        """The need from ``today`` (the site's day) on. Only touched days are computed; all of them on a new day."""
        if today != self._today or (self._touched and self._coming.outdated()):
            self._today = today
            self._first = today.toordinal()
            self._keep.clear()
            self._rows.prune(self._state.profiles)
            learned = self._state.learned
            self._rows.scale(learned.use.changed())
            self._unexplained = {item: learned.other.expected(item) for item in sorted(learned.other.items)}
            self._moments[:] = 0.0
            self._mentioned[:] = False
            self._axis_from = None
            self._coming.begin(self._streams(today), today, self._days)
            days: Sequence[int] = range(self._days)
            self._need = None
        else:
            days = sorted(day - self._first for day in self._touched if 0 <= day - self._first < self._days)
            if any(self._first - SETTLE_DAYS <= day < self._first for day in self._touched):
                self._need = None
        if self._need is None:
            self._settle()
        if days:
            self._fill(days)
            self._need = None
        self._touched.clear()
        axis, portions = self._items(), self._portions()
        if self._need is None or (axis, portions) != (self._need.items, self._need.portions):
            self._need = self._assemble(today, axis, portions)
        return self._need

    # --- one day's counts ---------------------------------------------------------------------------------

    def _fill(self, days: Sequence[int]) -> None:
        """Add up the counts of some days (from today, rising) at once.

        Each day's sums are those of its own counts alone, in their own order: the same to the bit for one day as
        for ninety.
        """
        *moments, mentioned = self._sums([self._first + index for index in days], days)
        coming = self._to_come(days)
        self._make_room()
        width = mentioned.shape[1]
        for kind, values in zip((0, 1, _LOST), moments, strict=True):
            self._moments[kind, days, :width] = values
            self._moments[kind, days, width:] = 0.0
        self._moments[_COME, days] = 0.0
        for kind, values in zip((2, 3), coming, strict=True):
            self._moments[kind, np.asarray(days)[:, None], self._coming.slots] = values
        self._mentioned[days, :width] = mentioned
        self._mentioned[days, width:] = False

    def _to_come(self, days: Sequence[int]) -> Floats:
        """Mean and variance of the use still to be booked, shape (2, days, slots of ``_coming``). Of what was expected
        to be booked today, item by item, that which was is no longer to come."""
        today = date.fromordinal(self._first)
        pools = self._coming.of(self._streams(today), days)
        for number, ahead in enumerate(days):
            for pool, booked in self._model.booked_today(today, ahead).items():
                if pool in pools:
                    expected = pools[pool][0, number]
                    left = np.maximum(expected - self._use_of(booked)[self._coming.slots], 0.0)
                    pools[pool][:, number] *= np.divide(left, expected, out=np.zeros_like(left), where=expected > 0)
        total: Floats = sum(pools.values(), np.zeros((2, len(days), self._coming.slots.size)))
        return total

    def _use_of(self, sessions: Mapping[str, float]) -> Floats:
        """Expected use of some sessions, by profile, of each slot. A profile of which no booking is left has none."""
        rows = [
            (self._rows.of(self._state.profiles[profile]), number)
            for profile, number in sorted(sessions.items())
            if profile in self._state.profiles
        ]
        use = np.zeros(len(self._rows.slots))
        for row, number in rows:
            use[row.slots] += number * row.mean
        return use

    def _streams(self, today: date) -> tuple[Stream, ...]:
        return self._model.streams(today, self._days)

    def _settle(self) -> None:
        """What sessions of the last days, whose end has not been told, are expected to have used."""
        self._unsettled = np.zeros(0)
        self._mentioned[self._days] = False
        if self._catalogue.sites[self._state.site].consumption != "completions":
            return  # stock falls when something is dispensed, whatever becomes of the booking
        days = [day for day in range(self._first - SETTLE_DAYS, self._first) if day in self._state.demand]
        if days:
            mean, *_, mentioned = self._sums(days, [0] * len(days))
            self._make_room()
            self._unsettled = mean.sum(axis=0)
            self._mentioned[self._days, : mean.shape[1]] = mentioned.any(axis=0)

    def _sums(
        self, ordinals: Sequence[int], days_to_go: Sequence[int]
    ) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
        """Mean, variance, loss and mention of the sessions of some days; shape (days, slots in use)."""
        rows: list[Row] = []
        numbers: list[int] = []  # of the day that each row belongs to
        weights: list[tuple[float, float, float]] = []
        for number, (ordinal, to_go) in enumerate(zip(ordinals, days_to_go, strict=True)):
            for profile, weight in self._expected(ordinal, to_go).items():
                rows.append(self._rows.of(self._state.profiles[profile]))
                numbers.append(number)
                weights.append(weight)
        shape = (len(ordinals), len(self._rows.slots))
        if not rows:
            return np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.bool_)
        lengths = [row.slots.size for row in rows]
        cells = np.concatenate([row.slots for row in rows]) + np.repeat(np.array(numbers) * shape[1], lengths)
        mean = np.concatenate([row.mean for row in rows])
        expected, uncertain, lost = np.repeat(np.array(weights).T, lengths, axis=1)
        variance = expected * np.concatenate([row.variance for row in rows]) + uncertain * mean * mean
        # bincount adds in the order of the entries: the same for the same counts, whatever came before
        size = shape[0] * shape[1]
        sums = [
            np.bincount(cells, values, size).astype(np.float64, copy=False).reshape(shape)
            for values in (expected * mean, variance, lost * mean)
        ]
        mentioned = np.bincount(cells, minlength=size) > 0
        return sums[0], sums[1], sums[2], mentioned.reshape(shape)

    def _expected(self, ordinal: int, to_go: int) -> dict[str, tuple[float, float, float]]:
        """Of a day's sessions by profile: Σ n p, Σ n p (1 − p), Σ n (1 − p)."""
        counts = self._state.demand.get(ordinal)
        if not counts:
            return {}
        arrived = self._state.arrived.get(ordinal)
        shares = _shares(counts, arrived) if arrived else {}
        sums: dict[str, tuple[float, float, float]] = {}
        keep = self._keep
        for (segment, profile), n in sorted(counts.items()):
            if n <= 0:
                continue
            # arrived ones are counted by profile: segments that share it share them in proportion
            here = n * shares[profile] if profile in shares else 0.0
            p = (keep.get(segment) or self._keep_probability(segment))[to_go]
            expected, uncertain, lost = sums.get(profile, _NONE)
            open_question = (n - here) * (1 - p)
            sums[profile] = (expected + (n - here) * p + here, uncertain + open_question * p, lost + open_question)
        return sums

    def _keep_probability(self, segment: str) -> array[float]:
        """By days to go, from today on."""
        today = date.fromordinal(self._first)
        found = array("d", self._model.keep_probability(segment, today, self._days).tobytes())
        self._keep[segment] = found
        return found

    def _make_room(self) -> None:
        width = self._moments.shape[2]
        if len(self._rows.slots) > width:
            more = -(-(len(self._rows.slots) - width) // _SLOTS_AT_ONCE) * _SLOTS_AT_ONCE
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
        others.update(self._unexplained)
        mentioned = np.logical_or.reduce(self._mentioned, axis=0)
        source = (mentioned.tobytes(), frozenset(others))
        if source != self._axis_from:
            for par in self._catalogue.sites[state.site].par_stock:
                others.add(self._catalogue.choices(state.site, par.component)[0].item)
            for profile in self._coming.profiles:
                others.update(profile.items)
            for (kind, name), number in self._rows.slots.items():
                if kind == "item" and mentioned[number]:
                    others.add(name)
            self._axis = tuple(sorted(item for item in others if item in self._catalogue.items))
            self._axis_from = source
        return self._axis

    def _assemble(self, today: date, items: tuple[str, ...], portions: dict[str, int]) -> Need:
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
        common = self._model.common_error(today, self._days)
        variance, total_variance = (_with_common(moments, common) for moments in (arrays, totals))
        is_open = open_days(self._catalogue.sites[self._state.site].closed_on, today, self._days)
        other = add_unexplained(self._unexplained, is_open, layout, (arrays, variance), (totals, total_variance))
        return Need(
            first_day=today,
            items=items,
            firm_mean=arrays[0],
            firm_variance=arrays[1],
            to_come_mean=arrays[2],
            to_come_variance=arrays[3],
            cumulative_variance=variance,
            totals=Totals(
                keys=layout.keys,
                units=layout.units,
                scale=layout.scale,
                firm_mean=totals[0],
                firm_variance=totals[1],
                to_come_mean=totals[2],
                to_come_variance=totals[3],
                cumulative_variance=total_variance,
            ),
            unsettled=self._unsettled_of(layout),
            other_mean=other,
            portions=portions,
        )

    def _portions(self) -> dict[str, int]:
        """Of the sessions booked and to come; of no item whose use is not as stated, or not that of sessions alone."""
        found = {
            item: portion(item, self._state.profiles.values(), typical)
            for item, typical in self._coming.portions.items()
            if item not in self._rows.scaled and item not in self._unexplained
        }
        return {item: number for item, number in found.items() if number > 1}

    def _containers(self, pooled: Pooled, volume: Floats) -> Floats:
        """The item's pooled volume in containers, shape (5, days) as the volume's; firm and to come share them as
        they share the volume."""
        inputs = np.concatenate((volume, pooled.uses.of(self._moments)[:, 0]))
        known = self._counted.get(pooled.item.id)
        if known is not None and np.array_equal(known[0], inputs):
            return known[1]
        firm_mean, firm_variance, come_mean, come_variance, lost, *uses = inputs
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
        lost = np.divide(lost * counted.mean, mean, out=np.zeros_like(mean), where=mean > 0)
        result = np.stack((firm_mean, firm_variance, counted.mean - firm_mean, counted.variance - firm_variance, lost))
        self._counted[pooled.item.id] = (inputs, result)
        return result

    def _unsettled_of(self, layout: Layout) -> Floats:
        """Containers by item; of multi-dose items as a fraction of their content."""
        known = np.zeros(len(self._rows.slots) + 1)  # the last is that of a slot without number
        known[: self._unsettled.size] = self._unsettled
        result: Floats = known[layout.picked.numbers] / layout.container_ml
        return result


def _shares(counts: Mapping[Segment, int], arrived: Mapping[str, int]) -> dict[str, float]:
    """Of the day's sessions of each profile, the share that has arrived."""
    of_profile: dict[str, int] = {}
    for (_, profile), n in counts.items():
        of_profile[profile] = of_profile.get(profile, 0) + n
    return {profile: n / of_profile[profile] for profile, n in arrived.items() if of_profile.get(profile)}


def _with_common(moments: Floats, common: CommonError | None) -> Floats:
    """Variance of the totals from the first day through each day, shape (rows, days); the days' own share of the common
    error is added to the to-come variance in place."""
    independent = np.cumsum(moments[1] + moments[3], axis=1)
    if common is None:
        return independent
    exposed = moments[2] + moments[_LOST]
    moments[3] += common.daily * exposed**2
    result: Floats = independent + common.total * np.cumsum(exposed, axis=1) ** 2
    return result

"""The reorder policy: which days an order answers for, how much risk it may leave, and how much to order.

Base stock with periodic review, order-up-to S in whole multiples, (R, S, nQ): at a chance to order, order so much
that what is on hand and on order lasts until the order of the next chance comes, as late as it may be, with no more
risk than the policy accepts::

    order = ⌈max(S − supply, 0) / multiple⌉ × multiple, at least the minimum

Source: E. A. Silver, D. F. Pyke, D. J. Thomas, *Inventory and Production Management in Supply Chains*, 4th ed.,
2017, §6.10 (R, S); multiples: §6.11. The risk and S: ``planner.reorder.cover``; what is accepted, and how large a lot
is worth its cost: ``planner.reorder.levels``; what a supplier announced: ``planner.reorder.announced``.

Days before an order placed now arrives are beyond its reach. How far that is, is random too: a day counts among them
with the probability that the order has not come by then, and is judged against the policy's critical risk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
import numpy.typing as npt

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item, Policy
from planner.forecast.outlook import Floats, Outlook
from planner.forecast.quantiles import MAXIMUM_LEVEL, quantiles
from planner.learning.lateness import Punctuality, stated
from planner.reorder.announced import Allocation, allocation, brought_meanwhile, shut_days
from planner.reorder.calendar import OrderDates, later_dues, order_dates, valid_until
from planner.reorder.cover import Cover
from planner.reorder.levels import Levels, Typical, levels_of, needs_sessions, typical_sessions, usable_lot
from planner.reorder.windows import Windows, windows_of
from planner.site.state import Announcement, SiteState

STICKY_FRACTION = 0.1
"""A published quantity holds while the need for it stays within half a multiple, or this fraction, of its range."""
_ROUNDING = 1e-9


def rounded(needed: float, item: Item) -> int:
    """Containers to order for ``needed`` ones: a whole number of multiples, at least the minimum order."""
    if needed <= 0:
        return 0
    return math.ceil(max(needed, item.minimum_order) / item.order_multiple) * item.order_multiple


def sticky(needed: float, item: Item, published: int | None) -> int:
    """The quantity to show for ``needed`` containers, given the one shown before.

    The shown quantity stays while ``needed`` is within the range that rounds to it, widened on both sides by half
    a multiple or ``STICKY_FRACTION`` of the quantity, so that need swinging about a boundary changes nothing.
    """
    if published is not None:
        slack = max(item.order_multiple / 2, STICKY_FRACTION * published)
        # below a minimum order nothing smaller can be ordered, so any lesser need keeps it
        least = -math.inf if published == rounded(1e-9, item) else published - item.order_multiple - slack
        if least < needed <= published + slack:
            return published
    return max(rounded(needed, item), rounded(1e-9, item))


@dataclass(frozen=True, slots=True)
class Shortage:
    """What is missing until the next order comes.

    ``needed``: order-up-to level − supply, in containers; at or below zero nothing is missing. ``wanted``: what to
    order for it before rounding: as much as a line is worth, and as will be sent. ``day`` is the one on which most is
    missing, ``supply`` that of this day in the expected course.
    """

    day: date
    needed: float
    need_quantile: float
    supply: float
    wanted: float


class _Answer(NamedTuple):
    """What was asked of an item, the containers needed, and the decisive column."""

    asked: tuple[bytes | float, ...]
    needed: float
    column: int


@dataclass
class SitePlan:
    """The order dates of a site's items as arrays aligned with an outlook's; a function of catalogue, site, time, what
    is known of its suppliers' delays, and what these announced.

    Arrays have shape (items, days). ``missing``: P(an order placed now has not come by the end of the day); ``ends``:
    P(what is ordered now must last just until the end of the day), ``later``: the same of what is ordered at the next
    chance. Where a window begins beyond the horizon, the last day stands for it.
    """

    site: str
    policy: Policy
    first_day: date
    items: tuple[str, ...]
    index: dict[str, int]
    entries: tuple[Item, ...]
    dates: tuple[OrderDates, ...]
    missing: Floats
    ends: Floats
    later: Floats
    until: datetime
    """Last instant for which it holds."""
    since: datetime
    punctuality: Mapping[str, Punctuality]
    announced: tuple[Announcement, ...]
    allocations: dict[int, Allocation]
    """Of the rows whose supplier announced something that bears on an order placed now."""
    meanwhile: tuple[tuple[list[int], Floats], ...]
    """Rows with the same dates, and of each day's need (rows) the share that orders of the chances after the next one
    have brought by the end of each day (columns); of rows whose next order may be late."""
    sessions: Mapping[str, Typical]
    """Of the site, where the policy's levels depend on them."""
    arrival_columns: list[int]
    """By item: the first column that an order placed now can help."""
    _outlook: ref[Outlook] | None = None
    _levels: Levels | None = None
    _more: Floats | None = None
    _shortages: dict[tuple[int, bool], Shortage] = field(default_factory=dict)
    """Of ``_outlook``, by item and ``later``: what is asked for twice is worked out once."""
    _answers: dict[tuple[int, bool], _Answer] = field(default_factory=dict)
    """By item and ``later``, of whichever outlook was last asked about."""

    # --- of an outlook ------------------------------------------------------------------------------------

    def _of(self, outlook: Outlook) -> Levels:
        if self._levels is None or self._outlook is None or self._outlook() is not outlook:
            self._outlook = ref(outlook)
            self._shortages.clear()
            self._more = self._brought(outlook)
            self._levels = levels_of(self.policy, self.entries, self.sessions, outlook, self._between)
        return self._levels

    def _brought(self, outlook: Outlook) -> Floats | None:
        """What orders of chances after the next one bring, on average, and those of announced days; None: nothing."""
        more = brought_meanwhile(self.allocations, outlook.cumulative_mean)
        daily = np.diff(outlook.cumulative_mean, axis=1, prepend=0.0)
        for rows, brought in self.meanwhile:
            if more is None:
                more = np.zeros_like(daily)
            more[rows] += daily[rows] @ brought
        return more

    def levels(self, outlook: Outlook) -> Levels:
        """What the policy accepts."""
        return self._of(outlook)

    def risk(self, outlook: Outlook, *, later: bool = False) -> Floats:
        """By item: the risk until the next order comes if none is placed now (``later``: none at the next chance
        either), to be compared with ``levels(outlook).allowed``."""
        levels = self._of(outlook)
        ends = self.later if later else self.ends
        if levels.fill:
            special = list(range(len(self.items)))
            result = np.zeros(len(self.items))
        else:
            reached = np.where(self._reachable, outlook.risk, 0.0)
            result = (np.maximum.accumulate(reached, axis=1) * ends).sum(axis=1)
            special = [row for row, found in self.allocations.items() if found.builds_up]
            special += [row for rows, _ in self.meanwhile for row in rows]
            if levels.money:
                horizon = outlook.risk.shape[1]
                special += [
                    row
                    for row, item in enumerate(self.entries)
                    if levels.waste[row] and self.arrival_columns[row] + item.shelf_life_days <= horizon
                ]
        if special:
            cover = self.cover(outlook, sorted(set(special)), later=later)
            result[cover.rows] = cover.risk(np.zeros(cover.rows.size))
        return result

    def cover(
        self, outlook: Outlook, rows: Sequence[int], levels: Levels | None = None, *, later: bool = False
    ) -> Cover:
        """Items and what they must last until; ``levels``: instead of the policy's."""
        own = self._of(outlook)
        ends = self.later if later else self.ends
        return Cover(outlook, levels or own, self.entries, rows, self.arrival_columns, ends, self._more)

    def shortage(self, outlook: Outlook, row: int, *, later: bool = False) -> Shortage:
        """What of item ``row`` is missing until the next order comes.

        ``later``: until the one after that, for an order that is to save the next one.
        """
        self.work_out(outlook, (row,), later=later)
        return self._shortages[row, later]

    def work_out(self, outlook: Outlook, rows: Iterable[int], *, later: bool = False) -> None:
        """Work out the shortages of many items at once, for ``shortage`` to find: many times cheaper than singly."""
        levels = self._of(outlook)
        wanted = [row for row in rows if (row, later) not in self._shortages]
        if not wanted:
            return
        # an event changes few items: of the others the answer is known
        asked = {row: self._asked(outlook, levels, row) for row in wanted}
        known = self._answers
        others = [row for row in wanted if (row, later) not in known or known[row, later].asked != asked[row]]
        if others:
            cover = self.cover(outlook, others, later=later)
            for row, needed, column in zip(others, cover.needed().tolist(), cover.decisive.tolist(), strict=True):
                known[row, later] = _Answer(asked[row], needed, column)
        for row in wanted:
            _, needed, column = known[row, later]
            supply = float(outlook.supply[row, column])
            self._shortages[row, later] = Shortage(
                day=self.first_day + timedelta(days=column),
                needed=needed,
                need_quantile=supply + needed,
                supply=supply,
                wanted=self._wanted(outlook, row, needed, float(levels.lots[row])),
            )

    def _asked(self, outlook: Outlook, levels: Levels, row: int) -> tuple[bytes | float, ...]:
        """All that the shortage of an item depends on, beside the plan itself."""
        parts: list[bytes | float] = [float(x[row]) for x in (levels.allowed, levels.cycle_need, levels.waste)]
        parts.append(float(outlook.need.portions.get(self.items[row], 1)))
        arrays = [outlook.cumulative_mean, outlook.cumulative_variance, outlook.supply]
        arrays += [] if outlook.base is None else [outlook.base]
        arrays += [] if outlook.losses is None else [outlook.losses.relief]
        parts += [array[row].tobytes() for array in arrays]
        waiting = outlook.waiting
        if waiting is not None and waiting.quantity.size:
            lines = slice(waiting.begins[row], waiting.begins[row + 1])
            parts += [waiting.quantity[lines].tobytes(), waiting.arrived[lines].tobytes()]
        return tuple(parts)

    def _wanted(self, outlook: Outlook, row: int, needed: float, lot: float) -> float:
        if needed <= 0:
            return needed
        if lot > needed:
            item, arrives, cost = self.entries[row], self.arrival_columns[row], float(self.policy.order_line_cost or 0)
            lot = usable_lot(outlook, row, item, arrives, needed=needed, lot=lot, line_cost=cost)
            portion = outlook.need.portions.get(item.id, 1)
            # beyond what is needed as near to the lot as whole portions come
            needed = max(needed, lot if portion == 1 else needed + round((lot - needed) / portion) * portion)
        found = self.allocations.get(row)
        return needed if found is None else needed / found.sent

    def need_quantile(self, outlook: Outlook, row: int, column: int) -> float:
        """Need of item ``row`` through day ``column`` at the service level, in containers."""
        mean, variance = outlook.cumulative_mean[row, column], outlook.cumulative_variance[row, column]
        level = min(1 - float(self._of(outlook).allowed[row]), MAXIMUM_LEVEL)
        return float(quantiles([mean], [variance], (level,))[0, 0])

    # --- dates --------------------------------------------------------------------------------------------

    @cached_property
    def _reachable(self) -> npt.NDArray[np.bool_]:
        """Days on which an order placed now can be there, by the stated lead time."""
        days = np.arange(self.missing.shape[1])
        reachable: npt.NDArray[np.bool_] = days >= np.array(self.arrival_columns, np.intp).reshape(-1, 1)
        return reachable

    @cached_property
    def _between(self) -> Floats:
        """Days from the arrival of an order placed now to that of the next, as stated."""
        return np.array([max((d.next_arrives - d.arrives).days, 1) for d in self.dates], np.float64)

    @cached_property
    def out_of_reach(self) -> list[int]:
        """By item: days from the first one on which a shortage may be critical since no order placed now has come."""
        least = max(float(self.policy.critical_risk * self.policy.resolve_margin), _ROUNDING)
        found: list[int] = (self.missing >= least).sum(axis=1).tolist()
        return found

    @cached_property
    def last_columns(self) -> list[int]:
        """By item: the last column that an order must cover, the next one as late as it is at the service level."""
        within = np.cumsum(self.ends, axis=1) < float(self.policy.service_level) - _ROUNDING
        return np.minimum(within.sum(axis=1), self.ends.shape[1] - 1).tolist()  # type: ignore[no-any-return]

    def last_reached(self, row: int) -> int:
        """Column of the last day that an order of item ``row`` placed now must cover."""
        return self.last_columns[row]

    def days_before(self, row: int) -> int:
        """Number of days from the first one on which an order of item ``row`` placed now may be missed."""
        return self.out_of_reach[row]

    def covered_until(self, row: int) -> date:
        """Last day that an order of item ``row`` placed now must cover, or of the horizon."""
        return self.first_day + timedelta(days=self.last_columns[row])


_plans: WeakKeyDictionary[Catalogue, dict[str, SitePlan]] = WeakKeyDictionary()
"""The plan last used of each site. A cache only: what it holds is a function of what ``SitePlan`` names."""


def site_plan(state: SiteState, catalogue: Catalogue, outlook: Outlook, now: datetime) -> SitePlan:
    """The site's plan at ``now`` for the items and days of ``outlook``."""
    need, site = outlook.need, state.site
    plans = _plans.setdefault(catalogue, {})
    plan = plans.get(site)
    expected = stated(catalogue) if outlook.punctuality is None else outlook.punctuality
    announced = tuple(state.announced.values())
    if (
        plan is None
        or not plan.since <= now <= plan.until
        or plan.first_day != need.first_day
        or (plan.items is not need.items and plan.items != need.items)
        or plan.missing.shape[1] != outlook.risk.shape[1]
        or plan.punctuality is not expected
        or plan.announced != announced
    ):
        plan = plans[site] = _plan(state, catalogue, outlook, now, expected, announced)
    return plan


def let_go(catalogue: Catalogue, site: str) -> None:
    """Do not hold the site's plan any more: its arrays take a fifth of a megabyte."""
    if (plans := _plans.get(catalogue)) is not None:
        plans.pop(site, None)


def _plan(  # noqa: PLR0917 (what a plan is a function of)
    state: SiteState,
    catalogue: Catalogue,
    outlook: Outlook,
    now: datetime,
    expected: Mapping[str, Punctuality],
    announced: tuple[Announcement, ...],
) -> SitePlan:
    need, days = outlook.need, outlook.risk.shape[1]
    entries = tuple(catalogue.items[item] for item in need.items)
    known: dict[tuple[str, int, tuple[date, date] | None], tuple[OrderDates, Windows]] = {}
    dates: list[OrderDates] = []
    windows: list[Windows] = []
    allocations: dict[int, Allocation] = {}
    groups: dict[tuple[str, int, tuple[date, date] | None], list[int]] = {}
    for row, item in enumerate(entries):
        lead = catalogue.stated_lead_days(item.id)
        shut = shut_days(state, item.supplier, item.id) if announced else None
        key = item.supplier, lead, shut
        found = known.get(key)
        if found is None:
            expect = expected[item.supplier]
            chances = order_dates(catalogue, state.site, item.id, now, expect=expect, shut=shut)
            last = need.first_day + timedelta(days=days - 1)
            dues = later_dues(catalogue, state.site, item.id, chances, last, expect=expect, shut=shut)
            found = known[key] = chances, windows_of(chances, dues, expect, need.first_day, days)
            groups[key] = []
        dates.append(found[0])
        windows.append(found[1])
        if np.count_nonzero(found[1].ends) > 1:
            groups[key].append(row)
        bears = allocation(state, item, found[0], need.first_day, lead_days=lead, days=days) if announced else None
        if bears is not None:
            allocations[row] = bears
            if bears.builds_up:
                groups[key] = [other for other in groups[key] if other != row]
                through = np.zeros(days)
                through[bears.last] = 1.0
                windows[-1] = found[1]._replace(ends=through, later=through)
    shape = (len(entries), days)
    policy = catalogue.policy_of(state.site)
    return SitePlan(
        site=state.site,
        policy=policy,
        first_day=need.first_day,
        items=need.items,
        index={item: row for row, item in enumerate(need.items)},
        entries=entries,
        dates=tuple(dates),
        missing=np.array([w.missing for w in windows]).reshape(shape),
        ends=np.array([w.ends for w in windows]).reshape(shape),
        later=np.array([w.later for w in windows]).reshape(shape),
        until=valid_until(catalogue, state.site, now),
        since=now,
        punctuality=expected,
        announced=announced,
        allocations=allocations,
        meanwhile=tuple((rows, known[key][1].brought) for key, rows in groups.items() if rows),
        sessions=typical_sessions(catalogue, state.site, need.first_day) if needs_sessions(policy) else {},
        arrival_columns=[min((d.arrives - need.first_day).days, days - 1) for d in dates],
    )

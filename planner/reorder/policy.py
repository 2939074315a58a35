"""The reorder policy: which days an order answers for, how much risk it may leave, and how much to order.

Base stock with periodic review, order-up-to S in whole multiples, (R, S, nQ): at a chance to order, order so much
that need through the end of the *protection interval* (from today until the order of the next chance arrives) is
covered with the probability of the service level::

    S = F⁻¹(service level),  F: distribution of need through the interval
    order = ⌈max(S − supply, 0) / multiple⌉ × multiple, at least the minimum

Source: E. A. Silver, D. F. Pyke, D. J. Thomas, *Inventory and Production Management in Supply Chains*, 4th ed.,
2017, §6.10 (R, S) with the cycle service measure P1; multiples: §6.11. Booked sessions are advance demand
information, so need is booked plus still to come, and S moves with the book: G. Gallego, Ö. Özer, "Integrating
Replenishment Decisions with Advance Demand Information", *Management Science* 47 (2001) 1344–1360.

Supply changes during the interval (orders due, lots that expire), so the rule is applied to each day that the order
can help, from its arrival to the end of the interval, and the largest shortage decides: then an order is wanted just
when the risk of running out on one of these days is above the allowed one. Days before the arrival are beyond its
reach: they are judged against the policy's critical risk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from weakref import WeakKeyDictionary, ref

import numpy as np
import numpy.typing as npt

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item, Policy
from planner.forecast.outlook import Floats, Outlook
from planner.forecast.quantiles import MAXIMUM_LEVEL, quantiles
from planner.reorder.calendar import OrderDates, order_dates, valid_until

Mask = npt.NDArray[np.bool_]

STICKY_FRACTION = 0.1
"""A published quantity holds while the need for it stays within half a multiple, or this fraction, of its range."""


def allowed_risk(policy: Policy) -> float:
    """Probability of running out that the policy accepts: 1 − service level."""
    return float(1 - policy.service_level)


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
    """What is missing on the worst day that an order placed now can help.

    ``needed``: need quantile − supply, in containers; at or below zero nothing is missing.
    """

    day: date
    needed: float
    need_quantile: float
    supply: float


@dataclass(slots=True)
class SitePlan:
    """The order dates of a site's items as arrays aligned with an outlook's; a function of catalogue, site and time.

    Masks have shape (items, days): ``before`` the order placed now arrives; ``reached`` by it, until the one of the
    next chance arrives; ``later`` until the one of the chance after that does. Where a window begins beyond the
    horizon, the last day stands for it.
    """

    site: str
    policy: Policy
    first_day: date
    items: tuple[str, ...]
    index: dict[str, int]
    entries: tuple[Item, ...]
    dates: tuple[OrderDates, ...]
    before: Mask
    reached: Mask
    later: Mask
    until: datetime
    """Last instant for which it holds."""
    since: datetime
    allowed: float
    level: float
    """Service level, as far as quantiles go."""
    arrival_columns: list[int]
    """By item: the first column that an order placed now can help."""
    last_columns: list[int]
    """By item: the last column that it must cover."""
    _outlook: ref[Outlook] | None = None
    _shortages: dict[tuple[int, bool], Shortage] = field(default_factory=dict)
    """Of ``_outlook``, by item and ``later``: what is asked for twice is worked out once."""

    def shortage(self, outlook: Outlook, row: int, *, later: bool = False) -> Shortage:
        """The largest shortage of item ``row`` over the days that an order placed now can help.

        ``later``: through the end of the next protection interval, for an order that is to save the next one.
        """
        self.work_out(outlook, (row,), later=later)
        return self._shortages[row, later]

    def work_out(self, outlook: Outlook, rows: Iterable[int], *, later: bool = False) -> None:
        """Work out the shortages of many items at once, for ``shortage`` to find: many times cheaper than singly."""
        if self._outlook is None or self._outlook() is not outlook:
            self._shortages.clear()
            self._outlook = ref(outlook)
        wanted = [row for row in rows if (row, later) not in self._shortages]
        if not wanted:
            return
        # need only rises: between two deliveries the last day is the worst
        window = (self.later if later else self.reached)[wanted]
        supply = outlook.supply[wanted]
        ends = np.ones_like(window)
        ends[:, :-1] = (supply[:, 1:] > supply[:, :-1]) | ~window[:, 1:]
        at, columns = np.nonzero(window & ends)
        days = (np.array(wanted)[at], columns)
        levels = quantiles(outlook.cumulative_mean[days], outlook.cumulative_variance[days], (self.level,))[0]
        there = outlook.supply[days]
        missing = levels - there
        begins = np.searchsorted(at, np.arange(len(wanted) + 1)).tolist()
        for row, begin, end in zip(wanted, begins, begins[1:], strict=False):
            worst = begin + int(missing[begin:end].argmax())
            self._shortages[row, later] = Shortage(
                day=self.first_day + timedelta(days=int(columns[worst])),
                needed=float(missing[worst]),
                need_quantile=float(levels[worst]),
                supply=float(there[worst]),
            )

    def need_quantile(self, outlook: Outlook, row: int, column: int) -> float:
        """Need of item ``row`` through day ``column`` at the service level, in containers."""
        mean, variance = outlook.cumulative_mean[row, column], outlook.cumulative_variance[row, column]
        return float(quantiles([mean], [variance], (self.level,))[0, 0])

    def last_reached(self, row: int) -> int:
        """Column of the last day that an order of item ``row`` placed now must cover."""
        return self.last_columns[row]

    def days_before(self, row: int) -> int:
        """Number of days from the first one on that an order of item ``row`` placed now cannot help."""
        return self.arrival_columns[row]

    def covered_until(self, row: int) -> date:
        """Last day that an order of item ``row`` placed now must cover, or of the horizon."""
        return self.first_day + timedelta(days=self.last_columns[row])


def worst_risk(risk: Floats, mask: Mask) -> Floats:
    """Largest risk within a mask; shapes (items, days) → (items,). Zero where the mask is empty."""
    highest: Floats = np.where(mask, risk, 0.0).max(axis=1)
    return highest


def _windows(dates: Sequence[OrderDates], first_day: date, days: int) -> tuple[Mask, Mask, Mask]:
    column = np.arange(days)
    arrives = np.array([(d.arrives - first_day).days for d in dates])
    following = np.array([(d.next_arrives - first_day).days for d in dates])
    later = np.array([(d.later_arrives - first_day).days for d in dates])
    # the last day stands for what lies beyond the horizon
    arrives, following, later = np.clip(arrives, 0, days - 1)[:, None], following[:, None], later[:, None]
    before = column < arrives
    reached = (column >= arrives) & (column < np.maximum(following, arrives + 1))
    after = (column >= arrives) & (column < np.maximum(later, arrives + 1))
    return before, reached, after


def _dates(catalogue: Catalogue, site: str, items: Sequence[str], now: datetime) -> tuple[OrderDates, ...]:
    """Of each item; those of one supplier and lead time share them."""
    known: dict[tuple[str, int], OrderDates] = {}
    dates: list[OrderDates] = []
    for item in items:
        key = (catalogue.items[item].supplier, catalogue.lead_time_days(item))
        found = known.get(key)
        if found is None:
            found = known[key] = order_dates(catalogue, site, item, now)
        dates.append(found)
    return tuple(dates)


_plans: WeakKeyDictionary[Catalogue, dict[str, SitePlan]] = WeakKeyDictionary()
"""The plan last used of each site. A cache only: what it holds is a function of catalogue, site, items and time."""


def site_plan(catalogue: Catalogue, site: str, outlook: Outlook, now: datetime) -> SitePlan:
    """The site's plan at ``now`` for the items and days of ``outlook``."""
    need = outlook.need
    plans = _plans.setdefault(catalogue, {})
    plan = plans.get(site)
    if (
        plan is None
        or not plan.since <= now <= plan.until
        or plan.first_day != need.first_day
        or (plan.items is not need.items and plan.items != need.items)
        or plan.before.shape[1] != outlook.risk.shape[1]
    ):
        dates = _dates(catalogue, site, need.items, now)
        days = outlook.risk.shape[1]
        before, reached, later = _windows(dates, need.first_day, days)
        policy = catalogue.policy_of(site)
        plan = plans[site] = SitePlan(
            site=site,
            policy=policy,
            first_day=need.first_day,
            items=need.items,
            index={item: row for row, item in enumerate(need.items)},
            entries=tuple(catalogue.items[item] for item in need.items),
            dates=dates,
            before=before,
            reached=reached,
            later=later,
            until=valid_until(catalogue, site, now),
            since=now,
            allowed=allowed_risk(policy),
            level=min(float(policy.service_level), MAXIMUM_LEVEL),
            arrival_columns=before.sum(axis=1).tolist(),
            last_columns=(days - 1 - reached[:, ::-1].argmax(axis=1)).tolist(),
        )
    return plan

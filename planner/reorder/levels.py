"""How much risk the policy accepts, by item, and in what it is measured.

``cycle``    P(running out before the next order arrives) ≤ 1 − service level: P1 of E. A. Silver, D. F. Pyke, D. J.
             Thomas, *Inventory and Production Management in Supply Chains*, 4th ed., 2017, §6.7.
``fill``     expected containers short before the next order arrives ÷ those needed in a cycle ≤ 1 − service level: P2,
             ibid.; P. H. Zipkin, *Foundations of Inventory Management*, 2000, §6.2. A cycle lasts for what is ordered
             at once, at least from this order's arrival to the next.
``session``  P(a session lacks something) ≤ 1 − service level. It is at most the sum of the probabilities that its
             items are short (Boole), so each gets the same part of it: of an item whose sessions use k items on
             average, (1 − service level) ÷ k, with P1. Sessions are those the site expects, weighted by their use.
money        with a shortage cost, of items with a price: the last container held is worth it as long as

                 shortage cost × P(it is missed in a cycle) > holding it for a cycle + price × P(it expires unused)

             the newsvendor's critical ratio with cost of a shortage per container (Silver et al. §9.3 and, for cycles
             of a lot, §6.7, B2), and for goods that expire the newsvendor of their life (Nahmias 2011, ch. 3).

Lots: with a cost for each order line, the economic order quantity √(2 K D ÷ (h c)) (Silver et al. §4.2; F. W. Harris
1913) where it is above what is needed, and no more than is expected to be used before it expires. It is bought in
whole multiples, and where sessions take several at once (``planner.forecast.portions``) in whole portions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item, Policy
from planner.expansion.profile import typical
from planner.forecast.outlook import Floats, Outlook
from planner.forecast.quantiles import MAXIMUM_LEVEL, survival
from planner.reorder.sessions import containers_per_session

DAYS_A_YEAR = 365.0
ALLOWED_MOST = 0.5
"""However little a shortage costs, an item is not planned to run out more often than not."""
_ALLOWED_LEAST = 1 - MAXIMUM_LEVEL


class Typical(NamedTuple):
    """An item in the sessions that use it, on average over those the site expects."""

    items: float
    """Items that such a session uses."""
    containers: float
    """Containers of this one that it takes."""


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """What the policy accepts; arrays by row of an outlook."""

    allowed: Floats
    """Largest accepted risk (of ``fill``: share of need that is short)."""
    fill: bool
    cycle_need: Floats
    """Containers needed in a cycle, on average."""
    lots: Floats
    """Containers that an order line is worth, when there is one; 0: what is needed."""
    waste: Floats
    """Price ÷ cost of a container short: what P(expires unused) counts against the risk; 0: does not count."""
    money: bool


def allowed_risk(policy: Policy, item: Item | None = None) -> float:
    """1 − service level."""
    level = policy.service_level if item is None or item.service_level is None else item.service_level
    return float(1 - level)


def needs_sessions(policy: Policy) -> bool:
    """Whether the levels depend on what sessions of the site use."""
    return policy.service_measure == "session" or policy.shortage_cost is not None


def levels_of(
    policy: Policy, items: Sequence[Item], sessions: Mapping[str, Typical], outlook: Outlook, between: Floats
) -> Levels:
    """The levels of the rows of an outlook.

    Args:
        sessions: of the site, where ``needs_sessions``.
        between: days from the arrival of an order placed now to that of the next, by item; at least 1.
    """
    days = outlook.cumulative_mean.shape[1]
    daily = outlook.cumulative_mean[:, -1] / days if days else np.zeros(len(items))
    lots = _lots(policy, items, daily, outlook.need.portions)
    at_once = np.maximum(lots, [item.order_multiple for item in items])
    allowed = np.array([allowed_risk(policy, item) for item in items])
    waste = np.zeros(len(items))
    fill, money = policy.service_measure == "fill", policy.shortage_cost is not None
    if needs_sessions(policy):
        for row, item in enumerate(items):
            use = sessions.get(item.id, _UNKNOWN)
            if policy.service_measure == "session":
                allowed[row] /= max(use.items, 1.0)
            if policy.shortage_cost is not None and policy.holding_cost_per_year is not None and item.price:
                lost = float(policy.shortage_cost) / max(use.containers, 1.0)
                cycle = max(between[row], at_once[row] / daily[row] if daily[row] > 0 else DAYS_A_YEAR)
                held = float(item.price) * float(policy.holding_cost_per_year) * cycle / DAYS_A_YEAR
                allowed[row] = held / lost
                waste[row] = float(item.price) / lost
    return Levels(
        allowed=np.clip(allowed, _ALLOWED_LEAST, ALLOWED_MOST),
        fill=fill and not money,
        cycle_need=np.maximum(daily * between, at_once),
        lots=lots,
        waste=waste,
        money=money,
    )


def _lots(policy: Policy, items: Sequence[Item], daily: Floats, portions: Mapping[str, int]) -> Floats:
    """Economic order quantities in whole multiples (or portions, where multiples make them up), at least one; 0 where
    there is no cost or price to tell."""
    lots = np.zeros(len(items))
    if policy.order_line_cost is None or policy.holding_cost_per_year is None:
        return lots
    line, holding = float(policy.order_line_cost), float(policy.holding_cost_per_year)
    for row, item in enumerate(items):
        if item.price and daily[row] > 0:
            best = math.sqrt(2 * line * daily[row] * DAYS_A_YEAR / (float(item.price) * holding))
            portion = portions.get(item.id, 1)
            unit = portion if portion % item.order_multiple == 0 else item.order_multiple
            # k units cost what k + 1 do where best² = k (k + 1) units²
            lots[row] = max(math.ceil((math.sqrt(1 + (2 * best / unit) ** 2) - 1) / 2), 1) * unit
    return lots


def usable_lot(
    outlook: Outlook, row: int, item: Item, arrives: int, *, needed: float, lot: float, line_cost: float
) -> float:
    """As much of a lot that arrives in column ``arrives`` as is worth having before it expires.

    Of a lot that expires within the horizon, beyond what is ``needed``: a multiple that makes it q containers saves
    ``line_cost`` × multiple ÷ q in lines for the same use, and loses price × multiple × P(its last one expires unused),
    so it is worth it while price × P ≤ line cost ÷ q (marginal analysis, as the newsvendor's). Otherwise as much as is
    expected to be used.
    """
    days = outlook.cumulative_mean.shape[1]
    mean = outlook.cumulative_mean[row]
    last = arrives + item.shelf_life_days - 1
    if last < days and item.price:
        multiple = item.order_multiple
        sizes = np.arange(math.ceil(max(needed, 1.0) / multiple), math.floor(lot / multiple) + 1) * multiple
        before = np.ceil(float(outlook.supply[row, last]) + sizes) - 1
        at = np.full(sizes.size, last)
        unused = 1 - survival(mean[at], outlook.cumulative_variance[row, at], before)
        worth = float(item.price) * unused <= line_cost / np.maximum(sizes, 1)
        worth[:1] = True
        return float(sizes[int(np.cumprod(worth).sum()) - 1]) if sizes.size else 0.0
    beyond: float = max(last - (days - 1), 0) * float(mean[-1]) / days
    column = min(last, days - 1)
    usable: float = float(mean[column]) + beyond - float(outlook.supply[row, column])
    return max(min(lot, usable), 0.0)


_UNKNOWN = Typical(1.0, 1.0)
_sessions: WeakKeyDictionary[Catalogue, dict[tuple[str, date], dict[str, Typical]]] = WeakKeyDictionary()
"""A cache: a function of catalogue, site and day."""


def typical_sessions(catalogue: Catalogue, site: str, day: date) -> dict[str, Typical]:
    """Item → its typical session on ``day``, over the protocols that the site expects; others are left out."""
    known = _sessions.setdefault(catalogue, {})
    found = known.get((site, day))
    if found is None:
        known.clear()
        found = known[site, day] = _typical_sessions(catalogue, site, day)
    return found


def _typical_sessions(catalogue: Catalogue, site: str, day: date) -> dict[str, Typical]:
    weights: dict[str, float] = {}
    items: dict[str, float] = {}
    containers: dict[str, float] = {}
    for expected in catalogue.sites[site].expected_sessions:
        profile = typical(catalogue, site, expected.protocol, day)
        sessions = float(sum(expected.per_day.values()))
        if profile is None or sessions <= 0:
            continue
        means = {i: containers_per_session(m, catalogue.items[i]) for i, m in profile.items.items()}
        used = {i: 1.0 if profile.items[i].certain > 0 else min(mean, 1.0) for i, mean in means.items()}
        number = sum(used.values())
        for item, share in used.items():
            weights[item] = weights.get(item, 0.0) + sessions * share
            items[item] = items.get(item, 0.0) + sessions * share * number
            containers[item] = containers.get(item, 0.0) + sessions * means[item]
    return {i: Typical(items[i] / w, containers[i] / w) for i, w in weights.items() if w > 0}

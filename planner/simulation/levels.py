"""Policies that are levels: order when the position falls below one, up to another. And a fast simulator of them.

The position is what is on hand and on order. On a day on which the item can be ordered, with position p, reorder level
r, order-up-to level S and least quantity q:  order max(S − p, q) if p < r, in whole multiples.

``simulate`` runs one item under many parameters and seeds at once (numpy arrays of shape (seeds, candidates)), with the
same rules as ``SiteWorld`` but for two things: an item does not see that a session was sent home for want of another,
and of a day's sessions those that find too little are counted together (in whole ``lump``).
It serves to tune; what is reported comes from ``SiteWorld``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from planner.simulation.clinic import ItemFacts, SiteClinic
from planner.simulation.measure import DAYS_A_YEAR
from planner.simulation.scenario import Costs
from planner.simulation.shelf import Shelf
from planner.simulation.world import Fate, Placed, SiteWorld, Today, next_delivery

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class History:
    """One item in several worlds. Arrays by seed and day (number); containers."""

    facts: ItemFacts
    costs: Costs
    wanted: Floats
    """Shape (seeds, days)."""
    due: Ints
    """Day on which a line ordered on a day comes; shape (seeds, days)."""
    orderable: npt.NDArray[np.bool_]
    """Shape (days,); so is the next."""
    working: npt.NDArray[np.bool_]
    promised: Ints
    """Day for which a line ordered on a day is promised; shape (days,)."""
    opening: int
    measured_from: int
    lump: int = 1
    """Containers that every session takes at once, or a divisor of them: who finds fewer takes none."""

    @property
    def days(self) -> int:
        return int(self.wanted.shape[1])

    def digest(self) -> bytes:
        """Of all that it holds."""
        hashed = blake2b(repr((self.facts, self.costs, self.opening, self.measured_from, self.lump)).encode())
        for array in (self.wanted, self.due, self.orderable, self.working, self.promised):
            hashed.update(repr(array.shape).encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.digest()

    def economic_quantity(self, per_day: Floats | float) -> Floats:
        """√(2 D K ÷ h): the order size that balances lines and holding (Harris 1913), for mean use by calendar day."""
        holding = max(self.facts.price * self.costs.holding_per_year, 1e-3)
        yearly = np.maximum(np.asarray(per_day, np.float64), 1e-9) * DAYS_A_YEAR
        quantity: Floats = np.sqrt(2 * yearly * self.costs.order_line / holding)
        return np.maximum(quantity, 1.0)


def histories(fates: Sequence[Fate]) -> dict[str, History]:
    """The items of a clinic in the worlds of several seeds."""
    clinic = fates[0].clinic
    days = clinic.scenario.days
    weekdays = (clinic.first_day.weekday() + np.arange(days)) % 7
    closed = np.zeros(days, dtype=np.bool_)
    for day in clinic.catalogue.sites[clinic.site].closed_on:
        if 0 <= (day - clinic.first_day).days < days:
            closed[(day - clinic.first_day).days] = True
    wanted = np.stack([wanted_containers(fate) for fate in fates], axis=1)
    due = np.stack([fate.due_days() for fate in fates], axis=1)
    # what every policy begins with
    opening = SiteWorld(fates[0]).opening_quantities()
    found = {}
    for row, (item, facts) in enumerate(clinic.items.items()):
        found[item] = History(
            facts=facts,
            costs=clinic.scenario.costs,
            wanted=wanted[row],
            due=due[row],
            orderable=np.isin(weekdays, list(facts.order_weekdays)) & ~closed,
            working=np.isin(weekdays, list(clinic.open_weekdays)),
            promised=np.array([next_delivery(clinic, day + facts.lead_days) for day in range(days)]),
            opening=opening[item],
            measured_from=clinic.scenario.horizon.warm_up_days,
            lump=_lump(fates, item),
        )
    return found


def _lump(fates: Sequence[Fate], item: str) -> int:
    """The greatest number of containers of which every session takes a multiple; 1 of multi-dose items."""
    if Shelf(fates[0].clinic.catalogue.items[item]).pooled:
        return 1
    amounts = {
        int(part[item])
        for fate in fates
        for sessions in fate.book.sessions.values()
        for session in sessions
        for part in (session.needs, session.extra)
        if item in part
    }
    return math.gcd(*amounts) or 1


def wanted_containers(fate: Fate) -> Floats:
    """Containers wanted by item and day; of multi-dose items those that would be opened if none ever lacked."""
    items = tuple(fate.clinic.items)
    wanted = fate.book.wanted(items)
    for row, item in enumerate(items):
        if Shelf(fate.clinic.catalogue.items[item]).pooled:
            wanted[row] = _opened(fate, item)
    return wanted


def _opened(fate: Fate, item: str) -> Floats:
    plenty = 1_000_000
    shelf = Shelf(fate.clinic.catalogue.items[item])
    shelf.receive("plenty", 10**9, plenty)
    opened = np.zeros(fate.book.days)
    for day in range(fate.book.days):
        before = shelf.whole
        for session in fate.book.sessions.get(day, ()):
            amount = session.wanted().get(item, 0)
            if amount:
                shelf.take(amount, session.start)
        opened[day] = before - shelf.whole
    return opened


class Level(NamedTuple):
    """What to do on a day: arrays that broadcast to (seeds, candidates)."""

    reorder_below: Floats
    up_to: Floats
    least: Floats


class Levels(Protocol):
    """Levels of one item by day."""

    def at(self, day: int) -> Level: ...


class Tried(NamedTuple):
    """What came of each candidate: over all seeds, shape (candidates,), and by seed, shape (seeds, candidates)."""

    fill: Floats
    money: Floats
    money_by_seed: Floats
    value_by_seed: Floats
    """Mean value of the stock."""
    waste_by_seed: Floats
    """Money."""


def simulate(history: History, levels: Levels, candidates: int) -> Tried:
    """Run an item under the levels of many candidates in all worlds of a history."""
    seeds, days = history.wanted.shape
    shape = (seeds, candidates)
    multiple = history.facts.multiple
    stock = np.full(shape, float(history.opening))
    on_order = np.zeros(shape)
    arriving = np.zeros((days, seeds, candidates))
    received = np.zeros((days, seeds, candidates))
    received[0] = history.opening
    used, expired, fresh_lost = np.zeros((3, *shape))
    short, stock_days, lines, lost = np.zeros((4, *shape))
    everyone = np.arange(seeds)
    life = history.facts.shelf_life_days
    for day in range(days):
        come = arriving[day]
        stock += come
        on_order -= come
        received[day] += come
        want = history.wanted[:, day, None]
        take = np.floor(np.minimum(stock, want) / history.lump) * history.lump
        stock -= take
        used += take
        if day >= life:
            # first expired, first out: what came by then and was neither used nor thrown away goes now
            expired += received[day - life]
            fresh_lost = np.maximum(expired - used - lost, 0.0)
            stock -= fresh_lost
            lost += fresh_lost
        if history.orderable[day]:
            level = levels.at(day)
            position = stock + on_order
            size = np.maximum(level.up_to - position, level.least)
            packs = np.where(position < level.reorder_below, np.ceil(size / multiple - 1e-9), 0.0)
            quantity = np.maximum(packs, 0.0) * multiple
            quantity = np.where(quantity > 0, np.maximum(quantity, history.facts.minimum), 0.0)
            on_order += quantity
            due = history.due[:, day]
            inside = due < days
            arriving[due[inside], everyone[inside]] += quantity[inside]
            if day >= history.measured_from:
                lines += quantity > 0
        if day >= history.measured_from:
            short += want - take
            stock_days += stock
        elif day == history.measured_from - 1:
            before = lost.copy()
    total = history.wanted[:, history.measured_from :].sum()
    value = stock_days * history.facts.price
    waste = (lost - before) * history.facts.price
    money = value * history.costs.holding_per_year / DAYS_A_YEAR + lines * history.costs.order_line + waste
    return Tried(
        fill=1 - short.sum(axis=0) / total if total else np.ones(candidates),
        money=money.sum(axis=0),
        money_by_seed=money,
        value_by_seed=value / (days - history.measured_from),
        waste_by_seed=waste,
    )


class LevelsPolicy:
    """A policy of levels at work in a world; a ``planner.simulation.world.Ordering``."""

    def __init__(self, name: str, clinic: SiteClinic, levels: Mapping[str, Levels]) -> None:
        self.name = name
        self._clinic = clinic
        self._levels = levels

    def observe(self, today: Today) -> None:
        """The levels know what they may know."""

    def order(self, today: Today) -> Mapping[str, int]:
        """By the position of each item."""
        asked = {}
        for item in sorted(today.orderable):
            levels = self._levels.get(item)
            if levels is None:
                continue
            level = levels.at(today.number)
            position = today.on_hand[item] + today.on_order[item]
            if position >= float(level.reorder_below.flat[0]):
                continue
            facts = self._clinic.items[item]
            size = max(float(level.up_to.flat[0]) - position, float(level.least.flat[0]))
            packs = int(np.ceil(size / facts.multiple - 1e-9))
            if packs > 0:
                asked[item] = max(packs, -(-facts.minimum // facts.multiple)) * facts.multiple
        return asked

    def placed(self, orders: Sequence[Placed], at: datetime) -> None:
        """Nothing to learn from it."""


def working_days(history: History, until: int) -> Floats:
    """Number of working days before each day 0 … ``until``, going on after the horizon as in its last weeks."""
    pattern = history.working[-7:]
    more = max(until + 1 - history.days, 0)
    mask = np.concatenate([history.working, np.resize(pattern, more)]) if more else history.working
    counted: Floats = np.concatenate([[0.0], np.cumsum(mask, dtype=np.float64)])
    return counted

"""A book of stock kept apart from the planner: what came in and went out, by what was effectively applied.

In containers, for items of single-dose containers: the shelf holds what the last count found, and what has come and
gone since it. Written from what the documents promise (decision 9), in the simplest way, with no lots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

import orjson

from planner.site.entries import restore_sites
from planner.site.lots import on_shelf
from planner.site.state import ItemStock
from streams import names
from tests.plan.clinic import CATHETER, MAGNESIUM, NORTH
from tests.soak.sim.world import Slot, World

CONTAINERS = (MAGNESIUM, CATHETER)
COMES = {"stock.received": 1, "stock.transferred-in": 1, "stock.dispensed": -1, "stock.wasted": -1}
COMES |= {"stock.transferred-out": -1}


@dataclass
class Shelf:
    """One item at one site."""

    counted_at: datetime | None = None
    counted_lots: frozenset[str] = frozenset()
    base: Decimal = Decimal(0)
    moved: list[tuple[datetime, Decimal]] = field(default_factory=list)

    def move(self, at: datetime, amount: Decimal, lot: str | None) -> None:
        """``amount`` came (negative: went)."""
        if self.counted_at is None or at > self.counted_at:
            self.moved.append((at, amount))
        elif amount > 0 and lot not in self.counted_lots:
            self.base += amount  # the count had nothing to say of it

    def count(self, at: datetime, lots: list[dict[str, Any]]) -> None:
        """The shelf was counted."""
        self.counted_at, self.counted_lots = at, frozenset(lot["lot"] for lot in lots)
        self.base = Decimal(sum(lot["quantity"] for lot in lots))
        self.moved = [(moment, amount) for moment, amount in self.moved if moment > at]

    @property
    def level(self) -> Decimal:
        return self.base + sum((amount for _, amount in self.moved), Decimal(0))


@dataclass
class Held:
    """A booking as its site has heard of it."""

    revision: int
    used: bool
    needs: dict[str, Decimal]


class Book:
    """All sites of one slot."""

    def __init__(self) -> None:
        self.shelves: dict[tuple[str, str], Shelf] = {}
        self.held: dict[tuple[str, str], Held] = {}

    def shelf(self, site: str, item: str) -> Shelf:
        return self.shelves.setdefault((site, item), Shelf())

    def told(self, event: dict[str, Any]) -> None:
        """An event of stock or orders that was applied."""
        at, site, kind = datetime.fromisoformat(event["occurred_at"]), event["site"], event["type"]
        if kind == "order.delivered":
            for line in event["lines"]:
                self.shelf(site, line["item"]).move(at, Decimal(line["quantity"]), line["lot"])
        elif kind == "stock.counted":
            self.shelf(site, event["item"]).count(at, event["lots"])
        elif kind in COMES and "quantity" in event:
            self.shelf(site, event["item"]).move(at, Decimal(COMES[kind] * event["quantity"]), event.get("lot"))

    def required(self, message: dict[str, Any]) -> None:
        """A message about a booking: at ``north`` a session's use leaves the shelf when it is completed."""
        place = (message["site"], message["booking_id"])
        before = self.held.get(place, Held(0, used=False, needs={}))
        if message["revision"] <= before.revision:
            return
        used = message["type"] == "requirement.used"
        needs = before.needs
        if message["type"] == "requirement.stated":
            needs = {}
            for line in message["lines"]:
                if line.get("item") is not None:
                    needs[line["item"]] = needs.get(line["item"], Decimal(0)) + Decimal(line["mean"])
        elif used and not before.used and message["site"] == NORTH:
            told = {use["item"]: use for use in message.get("actual_use", ())}
            at = datetime.fromisoformat(message["occurred_at"])
            for item in needs.keys() | told.keys():
                amount = needs.get(item, Decimal(0))
                if item in told:
                    amount = Decimal(told[item].get("containers") or 0)
                    if item != CATHETER:
                        amount = amount.to_integral_value(ROUND_CEILING)
                self.shelf(NORTH, item).move(at, -amount, None)
        self.held[place] = Held(message["revision"], used, needs)


def book_of(world: World, slot: Slot, applied: set[tuple[str, int]]) -> Book:
    """The book of a slot; ``applied``: topic and offset of what was."""
    book = Book()
    for folded in world.folded[slot]:
        for record in folded.records:
            if folded.topic in {"stock", "orders"} and (folded.topic, record.offset) in applied:
                book.told(orjson.loads(record.value or b""))
            elif folded.topic == "requirements" and b'"requirement.' in (record.value or b""):
                book.required(orjson.loads(record.value or b""))
    return book


def conserved(world: World) -> Iterator[str]:
    """What is on the shelf is what came in less what went out."""
    from tests.soak.sim.checks import effective, short  # noqa: PLC0415 (it names this check among all)

    if not short(world):
        return
    for partition in range(world.script.partitions):
        slot = (names.PLAN, partition)
        outcomes = [orjson.loads(m.value or b"") for m in effective(world, slot) if m.topic == "outcomes"]
        applied = {(o["topic"], o["offset"]) for o in outcomes if o["status"] == "applied"}
        book = book_of(world, slot, applied)
        sites = restore_sites(world.tables[slot].scan(b""))
        for (site, item), shelf in sorted(book.shelves.items()):
            if item not in CONTAINERS:
                continue
            stock = sites[site].stock.get(item, ItemStock())
            if on_shelf(stock) - stock.presumed != shelf.level:
                yield f"{site} {item}: {on_shelf(stock)} there, {stock.presumed} presumed, the book says {shelf.level}"

"""A shelf in the simulated world: lots by expiry, open multi-dose containers, and what is thrown away.

It is kept apart from ``planner.site``: the planner's own books are compared with it, not made from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from planner.catalogue.model import ContainerUse, Item
from planner.simulation.book import Amount


@dataclass(slots=True)
class ShelfLot:
    """Containers of a lot; ``last_day``: number of the last day on which it may be used."""

    lot: str
    last_day: int
    quantity: int


@dataclass(slots=True)
class OpenContainer:
    """The rest of an opened multi-dose container."""

    remaining_ml: Decimal
    use_by: datetime


class Discarded(NamedTuple):
    """What was thrown away: a lot's containers, or (``lot`` None) the rests of open containers as a share of one."""

    containers: float
    reason: Literal["expired", "open"]
    lot: str | None


@dataclass(slots=True)
class Shelf:
    """The stock of one item; first expired, first out. ``day`` is a day's number in the simulation."""

    item: Item
    lots: list[ShelfLot] = field(default_factory=list)
    open: list[OpenContainer] = field(default_factory=list)
    received: int = 0
    """Containers, since the beginning; so are the next three."""
    used: float = 0.0
    expired: int = 0
    open_waste: float = 0.0

    @property
    def pooled(self) -> bool:
        """Multi-dose: wanted in mL, and the rest of a container is kept for its open hours."""
        return self.item.use is ContainerUse.MULTI_DOSE

    @property
    def whole(self) -> int:
        """Unopened containers on the shelf."""
        return sum(lot.quantity for lot in self.lots)

    @property
    def containers(self) -> float:
        """On the shelf, the rests of open ones as shares."""
        return self.whole + float(sum((o.remaining_ml for o in self.open), Decimal(0)) / self.item.content.value)

    def receive(self, lot: str, last_day: int, quantity: int) -> None:
        """Put a lot on the shelf."""
        self.lots.append(ShelfLot(lot, last_day, quantity))
        self.lots.sort(key=lambda entry: (entry.last_day, entry.lot))
        self.received += quantity

    def reaches(self, amount: Amount, at: datetime) -> bool:
        """Whether so much can be taken."""
        if not self.pooled:
            return self.whole >= amount
        return self._open_ml(at) + self.whole * self.item.content.value >= amount

    def take(self, amount: Amount, at: datetime) -> None:
        """Take it; the caller has asked ``reaches``."""
        if not self.pooled:
            self._take_whole(int(amount))
            self.used += int(amount)
            return
        left = Decimal(amount)
        for container in sorted(self.open, key=lambda o: o.use_by):
            if container.use_by > at:
                drawn = min(left, container.remaining_ml)
                container.remaining_ml -= drawn
                left -= drawn
        hours = float(self.item.open_hours or 0)
        while left > 0:
            self._take_whole(1)
            drawn = min(left, self.item.content.value)
            left -= drawn
            self.open.append(OpenContainer(self.item.content.value - drawn, at + timedelta(hours=hours)))
        self.open = [container for container in self.open if container.remaining_ml > 0]
        self.used += float(amount / self.item.content.value)

    def _take_whole(self, quantity: int) -> None:
        for lot in self.lots:
            taken = min(lot.quantity, quantity)
            lot.quantity -= taken
            quantity -= taken
            if not quantity:
                break
        self.lots = [lot for lot in self.lots if lot.quantity]

    def _open_ml(self, at: datetime) -> Decimal:
        return sum((o.remaining_ml for o in self.open if o.use_by > at), Decimal(0))

    def discard(self, day: int, now: datetime) -> list[Discarded]:
        """Throw away what may not be used on ``day`` any more, and open containers whose time is over at ``now``."""
        gone = [Discarded(lot.quantity, "expired", lot.lot) for lot in self.lots if lot.last_day < day]
        self.expired += sum(lot.quantity for lot in self.lots if lot.last_day < day)
        self.lots = [lot for lot in self.lots if lot.last_day >= day]
        rest = sum((o.remaining_ml for o in self.open if o.use_by <= now), Decimal(0))
        if rest:
            share = float(rest / self.item.content.value)
            self.open = [o for o in self.open if o.use_by > now]
            self.open_waste += share
            gone.append(Discarded(share, "open", None))
        return gone

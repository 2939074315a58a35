"""A site's present, planned afresh: what is at risk, what would be ordered, and what would be lost, by item.

Standing alerts and proposals are set aside first, so that hysteresis (what was told before holds for a while) hides no
difference between two catalogues.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from planner.catalogue.index import Catalogue
from planner.forecast.learned import LearnedModel
from planner.forecast.model import CommonError, DemandModel, Pool, Stream
from planner.forecast.need import SiteNeed
from planner.forecast.outlook import Floats
from planner.forecast.projection import last_safe_order_date, project, risk_day
from planner.learning.scoring import corrected
from planner.messages import AlertKind
from planner.plan.apply import apply_requirement
from planner.plan.requirements import Read, RequirementReader
from planner.plan.site import PlannedSite
from planner.reorder.alerts import alert_key, review
from planner.reorder.findings import View
from planner.reorder.proposals import propose
from planner.simulation.whatif_log import chosen_of, copy_id
from planner.site.bookings import rebuild
from planner.site.state import LIVE, BookingEntry, SiteState
from planner.step import Record


@dataclass(frozen=True, slots=True)
class ItemNow:
    """An item of a site, as it would be planned."""

    risk: float
    """Of running out before an order placed now has come."""
    order_by: date | None
    """Last day on which an order still arrives before the risk passes the policy; None: beyond the horizon. May be
    past."""
    stock_out: date | None
    """First day at critical risk that no order placed now can help."""
    quantity: int
    """Containers proposed."""
    value: Decimal | None
    """Of ``quantity``, in money; None: the item has no price."""
    expiring: int
    """Lots of which some will probably be left at expiry."""


@dataclass(frozen=True, slots=True)
class Present:
    """A site at an instant, as it would be planned."""

    as_of: datetime
    items: Mapping[str, ItemNow] = field(default_factory=dict)

    @property
    def stock_outs(self) -> int:
        """Items that no order placed now keeps from running out."""
        return sum(item.stock_out is not None for item in self.items.values())

    @property
    def proposed(self) -> int:
        """Items to order."""
        return sum(item.quantity > 0 for item in self.items.values())

    @property
    def quantity(self) -> int:
        """Containers to order."""
        return sum(item.quantity for item in self.items.values())

    @property
    def value(self) -> Decimal:
        """Money of what is to be ordered, as far as items have prices."""
        return sum((item.value for item in self.items.values() if item.value is not None), Decimal(0))

    @property
    def expiring(self) -> int:
        """Lots of which some will probably be left at expiry."""
        return sum(item.expiring for item in self.items.values())

    @property
    def risk(self) -> float:
        """Items expected to run out before an order placed now has come: the sum of their risks."""
        return sum(item.risk for item in self.items.values())


RISK_STEP = 0.005
"""A risk that differs by less is no difference."""


def differing(before: Present, after: Present) -> list[str]:
    """Items that would be planned otherwise, those whose risk differs most first."""

    def gap(name: str) -> float:
        return abs(after.items.get(name, NOTHING).risk - before.items.get(name, NOTHING).risk)

    def differs(name: str) -> bool:
        first, second = before.items.get(name, NOTHING), after.items.get(name, NOTHING)
        return gap(name) >= RISK_STEP or replace(first, risk=second.risk) != second

    names = sorted(name for name in before.items.keys() | after.items.keys() if differs(name))
    return sorted(names, key=lambda name: -gap(name))


NOTHING = ItemNow(risk=0.0, order_by=None, stock_out=None, quantity=0, value=None, expiring=0)
"""An item that is not planned at all."""


# --- planning -----------------------------------------------------------------------------------------------


def plan_present(state: SiteState, catalogue: Catalogue, now: datetime, volume: float = 1.0) -> Present:
    """Plan a site by a catalogue at an instant.

    Args:
        state: changed by this: its alerts and proposals are made anew.
        volume: what the sessions still to be booked are multiplied by.
    """
    state.alerts, state.proposals, state.standing = {}, {}, None
    today = catalogue.site_day(state.site, now)
    model: DemandModel = LearnedModel(state, catalogue)
    need = SiteNeed(state, catalogue, model if volume == 1 else _Scaled(model, volume)).refresh(today)
    outlook = project(state, catalogue, corrected(state, catalogue, need), now)
    review(state, catalogue, outlook, now, None)
    proposed = {line.item: line for proposal in propose(state, catalogue, outlook, now) for line in proposal.lines}
    view = View(state, catalogue, outlook, now)
    found: dict[str, ItemNow] = {}
    for row, item in enumerate(need.items):
        passes = risk_day(outlook, row, float(view.allowed[row]))
        needed_on = None if passes is None else today + timedelta(days=passes)
        line, alert = proposed.get(item), state.alerts.get(alert_key(item, AlertKind.STOCK_OUT))
        price = catalogue.items[item].price
        quantity = 0 if line is None else line.quantity
        found[item] = ItemNow(
            risk=float(view.risk_before[row]),
            order_by=None
            if needed_on is None
            else last_safe_order_date(catalogue, state.site, item, needed_on, outlook.punctuality),
            stock_out=None if alert is None else alert.stock_out_day,
            quantity=quantity,
            value=None if price is None else price * quantity,
            expiring=sum(a.kind is AlertKind.EXPIRY and a.item == item for a in state.alerts.values()),
        )
    return Present(now, found)


class _Scaled:
    """A demand model with more or fewer sessions still to be booked; a ``planner.forecast.model.DemandModel``."""

    def __init__(self, model: DemandModel, factor: float) -> None:
        self._model = model
        self._factor = factor

    def keep_probability(self, segment: str, first_day: date, days: int) -> Floats:
        return self._model.keep_probability(segment, first_day, days)

    def streams(self, first_day: date, days: int) -> tuple[Stream, ...]:
        return tuple(
            stream._replace(mean=stream.mean * self._factor, variance=stream.variance * self._factor)
            for stream in self._model.streams(first_day, days)
        )

    def booked_today(self, first_day: date, ahead: int) -> Mapping[Pool, Mapping[str, float]]:
        return self._model.booked_today(first_day, ahead)

    def common_error(self, first_day: date, days: int) -> CommonError | None:
        return self._model.common_error(first_day, days)


# --- another present ----------------------------------------------------------------------------------------


def restate(state: SiteState, catalogue: Catalogue, requirements: Iterable[Record]) -> None:
    """Take over what bookings need under another catalogue, as its adoption by ``BookingStep`` states it."""
    planned, reader = PlannedSite(state, catalogue), RequirementReader()
    for record in requirements:
        read = reader.read(record)
        if isinstance(read, Read) and read.message.site == state.site:
            apply_requirement(planned, catalogue, read, Counter())


def vary_present(state: SiteState, share: float, seed: int) -> None:
    """``share`` (−0.9 to 1) more of the bookings from today on: a random part twice, or left out; series together."""
    live = {name: entry for name, entry in state.bookings.items() if entry.status in LIVE and entry.day >= state.today}
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name, entry in live.items():
        groups[name if entry.series is None else f"series {entry.series}"].append(name)
    for name in sorted(chosen_of(groups, share, seed)):
        if share < 0:
            del state.bookings[name]
        else:
            state.bookings[copy_id(name)] = _copy(live[name])
    rebuild(state)


def _copy(entry: BookingEntry) -> BookingEntry:
    return entry._replace(series=None if entry.series is None else copy_id(entry.series))

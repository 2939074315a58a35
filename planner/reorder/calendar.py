"""When an order can be placed and when it arrives, by the supplier's calendar and the site's clock.

Dates are the site's days. An order placed before the cutoff of a chance is on the shelf for all of the day it
arrives on, and for no day before: what an order can still help begins with its day of arrival.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, Supplier
from planner.learning.lateness import Punctuality


class OrderDates(NamedTuple):
    """The order that can be placed now, and the two that follow it if it is left out.

    ``chance`` is the first day from now on whose cutoff has not passed; ``next_chance`` the first order day at
    least a review period later; ``later_chance`` the one after that. ``cutoff`` is in UTC.
    """

    chance: date
    cutoff: datetime
    arrives: date
    next_chance: date
    next_arrives: date
    later_chance: date
    later_arrives: date

    @property
    def covers_until(self) -> date:
        """Last day of the protection interval: what is ordered now must last until the next order arrives."""
        return self.next_arrives - timedelta(days=1)


def cutoff_on(supplier: Supplier, day: date, zone: ZoneInfo) -> datetime:
    """The instant until which an order placed on ``day`` leaves that day."""
    # in UTC: two instants of one zone compare by wall clock, which is wrong when the clocks change
    return datetime.combine(day, time.fromisoformat(supplier.cutoff), zone).astimezone(UTC)


def first_chance(supplier: Supplier, earliest: date, closed: frozenset[date]) -> date:
    """First day from ``earliest`` on that is an order day of the supplier on which the site is open.

    Raises:
        ValueError: the supplier takes orders on no day of the week.
    """
    if not supplier.order_days:
        raise ValueError(f"supplier {supplier.id}: order_days is empty; expected at least one weekday")
    day = earliest
    # ends: at most the closed days and one week can be passed over
    while day in closed or WEEKDAYS[day.weekday()] not in supplier.order_days:
        day += timedelta(days=1)
    return day


def order_dates(
    catalogue: Catalogue,
    site: str,
    item: str,
    now: datetime,
    *,
    expect: Punctuality | None = None,
    shut: tuple[date, date] | None = None,
) -> OrderDates:
    """The order dates of an item at a site, seen from ``now``; arrivals by the stated lead time.

    Args:
        now: any aware instant; an order at the very instant of the cutoff is still in time.
        expect: of the supplier; an order is due on one of its delivery days. Absent: any day is one.
        shut: first and last day on which the supplier has announced to send nothing.
    """
    supplier = catalogue.supplier_of(item)
    zone = catalogue.zone(site)
    closed = _no_chances(catalogue, site, shut)
    period = timedelta(days=catalogue.policy_of(site).review_period_days)
    lead = timedelta(days=catalogue.stated_lead_days(item))

    def due(day: date) -> date:
        return day + lead if expect is None else expect.delivery_day(day + lead)

    chance = first_chance(supplier, catalogue.site_day(site, now), closed)
    if now > cutoff_on(supplier, chance, zone):
        chance = first_chance(supplier, chance + timedelta(days=1), closed)
    following = first_chance(supplier, chance + period, closed)
    later = first_chance(supplier, following + period, closed)
    return OrderDates(
        chance=chance,
        cutoff=cutoff_on(supplier, chance, zone),
        arrives=due(chance),
        next_chance=following,
        next_arrives=due(following),
        later_chance=later,
        later_arrives=due(later),
    )


def _no_chances(catalogue: Catalogue, site: str, shut: tuple[date, date] | None) -> frozenset[date]:
    closed = frozenset(catalogue.sites[site].closed_on)
    if shut is None:
        return closed
    return closed | {shut[0] + timedelta(days=n) for n in range((shut[1] - shut[0]).days + 1)}


def later_dues(
    catalogue: Catalogue,
    site: str,
    item: str,
    dates: OrderDates,
    through: date,
    *,
    expect: Punctuality,
    shut: tuple[date, date] | None = None,
) -> list[date]:
    """Days on which the orders of the chances from ``dates.later_chance`` on are due, through a day; rising."""
    supplier, closed = catalogue.supplier_of(item), _no_chances(catalogue, site, shut)
    period = timedelta(days=catalogue.policy_of(site).review_period_days)
    lead = timedelta(days=catalogue.stated_lead_days(item))
    found: list[date] = []
    chance = dates.later_chance
    while (due := expect.delivery_day(chance + lead)) <= through:
        if not found or due > found[-1]:
            found.append(due)
        chance = first_chance(supplier, chance + period, closed)
    return found


def valid_until(catalogue: Catalogue, site: str, now: datetime) -> datetime:
    """The instant after which order dates seen from ``now`` may be others: the next cutoff or midnight."""
    zone = catalogue.zone(site)
    today = catalogue.site_day(site, now)
    midnight = datetime.combine(today + timedelta(days=1), time(), zone).astimezone(UTC)
    cutoffs = (cutoff_on(supplier, today, zone) for supplier in catalogue.suppliers.values())
    return min([cutoff for cutoff in cutoffs if cutoff >= now] + [midnight - timedelta(microseconds=1)])

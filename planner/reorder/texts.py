"""Alerts in words: one sentence for the pharmacist with its figures, units and dates, and the figures by name."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item
from planner.forecast.outlook import ExpiringLot, Outlook
from planner.messages import Alert, AlertKind
from planner.reorder.policy import Shortage, SitePlan
from planner.reorder.sessions import MissedSessions
from planner.reorder.words import containers, day_text, moment_text, number, packs_text, percent
from planner.site.state import CountFinding, Order

Figures = dict[str, str | int | float | None]


class Description(NamedTuple):
    """A finding in words and figures."""

    summary: str
    reasons: Figures


def reorder(
    outlook: Outlook,
    plan: SitePlan,
    catalogue: Catalogue,
    row: int,
    *,
    shortage: Shortage,
    quantity: int,
    order_by: date,
    risk: float,
    allowed: float,
    risk_before: float,
) -> Description:
    """What to order, by when, and what happens if it waits for the next chance."""
    item, dates = plan.entries[row], plan.dates[row]
    cutoff = catalogue.suppliers[item.supplier].cutoff
    column = (shortage.day - plan.first_day).days
    mean = float(outlook.cumulative_mean[row, column])
    when = f"by {day_text(dates.chance)} {cutoff}"
    if order_by < dates.chance:
        when += f" (the last safe day was {day_text(order_by)})"
    portion = outlook.need.portions.get(item.id, 1)
    together = f", as sessions take {portion} at a time" if portion > 1 else ""
    summary = (
        f"Order {packs_text(quantity, item)} of {item.name} {when}: with an order placed only at the next chance, "
        f"{day_text(dates.next_chance)}, the risk of running out before it arrives on {day_text(dates.next_arrives)} "
        f"is {percent(risk)}, and {percent(allowed)} is allowed; through {day_text(shortage.day)} "
        f"{_supply_text(shortage.supply)}, {number(mean)} are needed on average, and "
        f"{number(shortage.need_quantile)} to be safe{together}."
    )
    short = plan.allocations.get(row)
    if short is not None:
        told = short.told
        summary += (
            f" Its supplier will send only {percent(float(told.share))} of what is ordered from "
            f"{day_text(told.first_day)} through {day_text(told.last_day)}: "
            + ("this builds up stock for these days." if short.builds_up else "so much more is to be ordered.")
        )
    return Description(
        summary,
        {
            "risk": risk,
            "allowed_risk": allowed,
            "risk_before_arrival": risk_before,
            "critical_risk": float(plan.policy.critical_risk),
            "order_by": order_by.isoformat(),
            "order_arrives": dates.arrives.isoformat(),
            "next_chance": dates.next_chance.isoformat(),
            "next_arrives": dates.next_arrives.isoformat(),
            "covers_until": plan.covered_until(row).isoformat(),
            "worst_day": shortage.day.isoformat(),
            "supply": shortage.supply,
            "need_mean": mean,
            "need_quantile": shortage.need_quantile,
            "needed": shortage.needed,
            "multiple": item.order_multiple,
            "minimum_order": item.minimum_order,
            "portion": portion,
            "announced_share": None if short is None else float(short.told.share),
            "announced_through": None if short is None else short.told.last_day.isoformat(),
        },
    )


def _supply_text(supply: float) -> str:
    if supply < 0:
        verb = "is" if number(-supply) == "1" else "are"
        return f"nothing is usable or due ({containers(-supply)} {verb} missing from the emergency stock or the books)"
    return f"{containers(supply)} {'is' if number(supply) == '1' else 'are'} usable or due"


def stock_out(
    outlook: Outlook,
    plan: SitePlan,
    catalogue: Catalogue,
    row: int,
    *,
    day: date,
    risk: float,
    missed: MissedSessions,
) -> Description:
    """When it runs short, why no order helps in time, and who is concerned."""
    item, dates = plan.entries[row], plan.dates[row]
    column = (day - plan.first_day).days
    supply, mean = float(outlook.supply[row, column]), float(outlook.cumulative_mean[row, column])
    if missed.total:
        first = missed.first(1)[0]
        sessions = (
            f"{missed.total} booked session{'s are' if missed.total > 1 else ' is'} not reached"
            f"{', the first' if missed.total > 1 else ''} on {moment_text(first.start, catalogue.zone(plan.site))} "
            f"({first.booking_id})"
        )
        if missed.without_other < missed.total:
            sessions += f"; {missed.without_other or 'none'} of them can do with nothing else, and come first"
    else:
        sessions = "no booked session is beyond the stock, sessions still to be booked are"
    arrival = (
        f"before an order placed now can arrive ({day_text(dates.arrives)})"
        if day < dates.arrives
        else f"and an order placed now, due on {day_text(dates.arrives)}, may come later than that"
    )
    summary = (
        f"{item.name} runs short on {day_text(day)}, {arrival}: "
        f"risk {percent(risk)}; {containers(max(supply, 0.0))} usable by then, "
        f"{number(mean)} needed on average; {sessions}. Borrow, transfer or use another item."
    )
    return Description(
        summary,
        {
            "risk": risk,
            "critical_risk": float(plan.policy.critical_risk),
            "order_by": dates.chance.isoformat(),
            "order_arrives": dates.arrives.isoformat(),
            "supply": supply,
            "need_mean": mean,
            "stock_out_day": day.isoformat(),
            "sessions_at_risk": missed.total,
            "sessions_without_other": missed.without_other,
            "sessions_through": (plan.first_day + timedelta(days=plan.days_before(row) - 1)).isoformat(),
        },
    )


def expiry(item: Item, lot: ExpiringLot, expired: bool) -> Description:
    """A lot that is lost, or will be."""
    if expired:
        summary = (
            f"Lot {lot.lot} of {item.name} expired on {day_text(lot.expiry)} with {containers(lot.quantity)} on the "
            f"shelf: take {'it' if lot.quantity == 1 else 'them'} away and record the waste."
        )
    else:
        summary = (
            f"About {number(lot.expected_unused)} of {containers(lot.quantity)} in lot {lot.lot} of {item.name} will "
            f"be left when it expires on {day_text(lot.expiry)} (probability that any is: {percent(lot.probability)}): "
            f"use it first, or transfer it."
        )
    reasons: Figures = {
        "lot_expiry": lot.expiry.isoformat(),
        "lot_quantity": lot.quantity,
        "expected_unused": lot.expected_unused,
        "probability": lot.probability,
    }
    if item.price is not None:
        reasons["value"] = round(lot.expected_unused * float(item.price), 2)
        reasons["currency"] = item.currency
    return Description(summary, reasons)


def overdue(catalogue: Catalogue, item: Item, order: Order, *, due: date, outstanding: int, today: date) -> Description:
    """An order that has not come."""
    supplier = catalogue.suppliers.get(order.supplier)
    days = (today - due).days
    said = "promised for" if order.promised is not None else "expected, by the stated lead time, on"
    summary = (
        f"Order {order.order_id} at {supplier.name if supplier else order.supplier}: {containers(outstanding)} of "
        f"{item.name} {said} {day_text(due)} {'has' if outstanding == 1 else 'have'} not come, "
        f"{days} day{'' if days == 1 else 's'} late: ask the supplier."
    )
    return Description(
        summary,
        {
            "supplier": order.supplier,
            "promised": None if order.promised is None else order.promised.isoformat(),
            "due": due.isoformat(),
            "days_late": days,
            "outstanding": outstanding,
        },
    )


def discrepancy(item: Item, count: CountFinding | None, deficit: int, zone: ZoneInfo) -> Description:
    """A shelf that is not what the log says."""
    parts: list[str] = []
    reasons: Figures = {}
    if count is not None:
        difference = count.counted - count.expected
        parts.append(
            f"the count of {moment_text(count.counted_at, zone)} found {containers(count.counted)} where "
            f"{count.expected} were expected ({difference:+d})"
        )
        reasons |= {
            "expected": count.expected,
            "counted": count.counted,
            "difference": difference,
            "counted_at": count.counted_at.isoformat(),
        }
    if deficit:
        parts.append(f"{containers(deficit)} more {'was' if deficit == 1 else 'were'} taken than any lot had: count it")
    return Description(f"{item.name}: {'; '.join(parts)}.", reasons)


_GONE = {
    AlertKind.REORDER: "needs no order now",
    AlertKind.STOCK_OUT: "reaches until an order can arrive",
    AlertKind.EXPIRY: "lot {lot} is no longer going to be wasted, or is off the shelf",
    AlertKind.ORDER_OVERDUE: "nothing of order {order} is overdue any more",
    AlertKind.COUNT_DISCREPANCY: "the shelf agrees with the log again",
    AlertKind.FORECAST_DRIFT: "the forecasts are as good as usual again",
}


def gone(alert: Alert, item_name: str, cause: str | None) -> str:
    """Why an alert is over."""
    what = _GONE[alert.kind].format(lot=alert.lot, order=alert.order_id)
    return f"{item_name}: {what}{f' (event {cause})' if cause else ''}."


def ordered_in_vain(summary: str, waited: timedelta, cancelled: str | None) -> str:
    """An ``ordered`` alert that opens again."""
    if cancelled is not None:
        return f"Order {cancelled} was cancelled. {summary}"
    hours = int(waited.total_seconds() // 3600)
    return f"Said to be ordered, but no order that covers it was told within {hours} hours. {summary}"

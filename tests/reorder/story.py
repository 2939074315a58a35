"""Plays a story at the small clinic: events in, as a plain-text table; the revisions that they give, as lines.

Each line of a story is ``day time | event | revisions``. The day is one of November 2026. An event is

    receive ITEM QUANTITY LOT [expires DATE]      order ORDER ITEM QUANTITY     promise ORDER DAY
    count ITEM LOT=QUANTITY ...                   deliver ORDER ITEM QUANTITY LOT
    take ITEM QUANTITY                            drop ORDER
    book BOOKING DAY TIME ITEM=USE ...            cancel BOOKING
    announce SUPPLIER FIRST-DAY LAST-DAY SHARE
    ack|close ALERT          snooze ALERT DAY|worse          ordered ALERT [ORDER]
    tick

and is known by its line's number, ``e1``, ``e2``, …. All sessions that are booked take place, and no others do, so
that a reader can add up. The stock, orders and projection are those of the planner. Revisions are separated by ``;``.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from planner.catalogue.index import Catalogue
from planner.events import ALERT_ACTIONS, ORDER_EVENTS, STOCK_EVENTS
from planner.forecast.need import SiteNeed
from planner.forecast.outlook import Outlook
from planner.forecast.projection import project
from planner.messages import Alert, Proposal
from planner.refusal import Refused
from planner.reorder.actions import act
from planner.reorder.alerts import review
from planner.reorder.proposals import propose
from planner.site.orders import apply_order
from planner.site.state import SiteState
from planner.site.stock import apply_stock
from planner.site.touched import Touched
from tests.forecast.stated import StatedModel
from tests.reorder.clinic import EPINEPHRINE, ITEMS, SITE, at, book, bundle, stock, unbook


def certain_catalogue(**policy: Any) -> Catalogue:
    """The clinic without guesses: every booked session takes place, and nobody else comes."""
    keep = {"keep_probability": [{"days": 0, "value": "1"}], "still_to_come": [{"days": 0, "value": "0"}]}
    plain = bundle(**keep, **policy)
    sites = tuple(site.model_copy(update={"expected_sessions": ()}) for site in plain.sites)
    return Catalogue(plain.model_copy(update={"sites": sites}))


class Story:
    """The clinic as a story leaves it."""

    def __init__(self, clinic: Catalogue | None = None) -> None:
        self.catalogue = clinic or certain_catalogue()
        self.state = SiteState(SITE)
        stock(self.state, EPINEPHRINE, 3, "PAR")  # the emergency stock is full
        self.now = at(date(2026, 11, 16), "00:00")
        self.need = SiteNeed(self.state, self.catalogue, StatedModel(self.catalogue, SITE))

    def outlook(self) -> Outlook:
        today = self.catalogue.site_day(SITE, self.now)
        self.need.touch_all()
        return project(self.state, self.catalogue, self.need.refresh(today), self.now)

    def review(self, cause: str | None) -> list[Alert]:
        return review(self.state, self.catalogue, self.outlook(), self.now, cause)

    def propose(self) -> list[Proposal]:
        return propose(self.state, self.catalogue, self.outlook(), self.now)

    def play(self, when: str, event: str, event_id: str) -> list[str]:
        """Apply an event and review; the published revisions as lines, a refusal as ``refused REASON``."""
        day, clock = when.split()
        self.now = at(_day(day), clock)
        try:
            revisions = self._apply(event.split(), event_id)
        except Refused as refused:
            return [f"refused {refused.reason}"]
        return [line_of(alert) for alert in [*revisions, *self.review(event_id)]]

    def _apply(self, words: list[str], event_id: str) -> list[Alert]:
        verb, *rest = words
        if verb == "tick":
            return []
        if verb == "book":
            booking, day, clock, *uses = rest
            start = at(_day(day), clock)
            book(self.state, booking, start, dict(use.split("=") for use in uses))
        elif verb == "cancel":
            unbook(self.state, rest[0])
        elif verb in {"ack", "snooze", "ordered", "close"}:
            return [act(self.state, ALERT_ACTIONS.validate_python(self._action(verb, rest, event_id)), self.now)]
        elif verb == "announce":
            supplier, first, last, share = rest
            fields = {"supplier": supplier, "first_day": _day(first), "last_day": _day(last), "share": share}
            told = ORDER_EVENTS.validate_python(self._envelope(event_id, "supply.announced") | fields)
            apply_order(self.state, self.catalogue, told, Touched())
        elif verb in {"order", "promise", "deliver", "drop"}:
            event = ORDER_EVENTS.validate_python(self._order(verb, rest, event_id))
            apply_order(self.state, self.catalogue, event, Touched())
        else:
            event_of_stock = STOCK_EVENTS.validate_python(self._stock(verb, rest, event_id))
            apply_stock(self.state, self.catalogue, event_of_stock, Touched())
        return []

    def _envelope(self, event_id: str, kind: str) -> dict[str, Any]:
        return {"event_id": event_id, "occurred_at": self.now, "site": SITE, "type": kind}

    def _action(self, verb: str, rest: list[str], event_id: str) -> dict[str, Any]:
        kind = {"ack": "acknowledged", "snooze": "snoozed", "ordered": "ordered", "close": "closed"}[verb]
        fields: dict[str, Any] = {"alert_id": f"{SITE}/{rest[0]}", "by": "ana"}
        if verb == "snooze":
            fields |= {"until_worse": True} if rest[1] == "worse" else {"until": _day(rest[1])}
        if verb == "ordered" and len(rest) > 1:
            fields["order_id"] = rest[1]
        return self._envelope(event_id, f"alert.{kind}") | fields

    def _order(self, verb: str, rest: list[str], event_id: str) -> dict[str, Any]:
        kind = {"order": "placed", "promise": "confirmed", "deliver": "delivered", "drop": "cancelled"}[verb]
        fields: dict[str, Any] = {"order_id": rest[0]}
        if verb == "order":
            supplier = next(i["supplier"] for i in ITEMS if i["id"] == rest[1])
            fields |= {"supplier": supplier, "lines": [{"item": rest[1], "quantity": int(rest[2])}]}
        elif verb == "promise":
            fields["promised"] = _day(rest[1])
        elif verb == "deliver":
            line = {"item": rest[1], "quantity": int(rest[2]), "lot": rest[3], "expiry": date(2028, 1, 1)}
            fields["lines"] = [line]
        return self._envelope(event_id, f"order.{kind}") | fields

    def _stock(self, verb: str, rest: list[str], event_id: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"item": rest[0]}
        if verb == "receive":
            expires = date.fromisoformat(rest[4]) if len(rest) > 3 else date(2028, 1, 1)
            return self._envelope(event_id, "stock.received") | fields | {
                "quantity": int(rest[1]), "lot": rest[2], "expiry": expires,
            }  # fmt: skip
        if verb == "count":
            lots = [dict(zip(("lot", "quantity"), found.split("="), strict=True)) for found in rest[1:]]
            return self._envelope(event_id, "stock.counted") | fields | {"lots": lots}
        if verb == "take":
            return self._envelope(event_id, "stock.dispensed") | fields | {"quantity": int(rest[1])}
        raise ValueError(f"unknown event {verb!r}")


def _day(text: str) -> date:
    return date(2026, 11, int(text)) if text.isdigit() else date.fromisoformat(text)


def line_of(alert: Alert) -> str:
    """A revision in a line: what of the decision a reader wants to check."""
    head = f"{alert.alert_id.removeprefix(SITE + '/')} r{alert.revision} {alert.state.value}"
    if alert.state.value == "resolved":
        over = "closed" if alert.cause_persists else f"by {alert.resolved_by_event_id}"
        return f"{head} {over}"
    parts = [head, alert.severity]
    if alert.order_quantity is not None and alert.order_by is not None:
        parts.append(f"order {alert.order_quantity} by {alert.order_by.day}")
    if alert.stock_out_day is not None:
        parts.append(f"short on {alert.stock_out_day.day}")
    if alert.sessions_at_risk:
        parts.append("sessions " + ",".join(session.booking_id for session in alert.sessions_at_risk))
    return " ".join(parts)

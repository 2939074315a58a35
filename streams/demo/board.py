"""What the demo has heard from the planner so far: the state behind the view and the summary."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import orjson

from planner.messages import Alert, AlertState, Forecast, Proposal
from planner.step import Record
from planner.topics import composed_key

FEED_LENGTH = 18
BOOKINGS_LENGTH = 12
ITEMS_SHOWN = 3


class Change(NamedTuple):
    """A revision of an alert worth a line."""

    alert: Alert
    verb: str
    """raised, worse, acknowledged, ordered, resolved …"""


@dataclass
class Board:
    """Fed with records of the output topics, in any order between topics."""

    seed: int
    days: int
    first_day: date
    tracked: tuple[tuple[str, str], ...]
    """(site, item) whose forecasts are shown."""
    today: date | None = None
    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    bookings: deque[str] = field(default_factory=lambda: deque(maxlen=BOOKINGS_LENGTH))
    requirements: Counter[str] = field(default_factory=Counter)
    forecasts: dict[bytes, Forecast] = field(default_factory=dict)
    forecast_messages: int = 0
    alerts: dict[str, Alert] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    feed: deque[Change] = field(default_factory=lambda: deque(maxlen=FEED_LENGTH))
    raised: Counter[str] = field(default_factory=Counter)
    """kind → episodes."""
    resolved: Counter[str] = field(default_factory=Counter)
    at_risk: set[str] = field(default_factory=set)
    """Bookings that were named as at risk."""
    last_booking: str | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        self._tracked_keys = {composed_key(site, "item", item) for site, item in self.tracked}

    def hear(self, record: Record) -> None:
        """Take in a record of an output topic."""
        value = record.value
        if value is None:
            return
        match record.topic:
            case "outcomes":
                outcome = orjson.loads(value)
                if outcome["topic"] == "catalogue":
                    return  # the worker's own
                self.outcomes[outcome["status"]] += 1
                if outcome["status"] in {"refused", "dead-lettered"}:
                    self.refusals[str(outcome.get("reason"))] += 1
            case "requirements":
                self._hear_requirement(orjson.loads(value))
            case "forecasts":
                self.forecast_messages += 1
                if record.key in self._tracked_keys and record.key is not None:
                    self.forecasts[record.key] = Forecast.model_validate_json(value)
            case "alerts":
                self._hear_alert(Alert.model_validate_json(value))
            case "proposals":
                proposal = Proposal.model_validate_json(value)
                self.proposals[proposal.proposal_id] = proposal
            case other:
                raise ValueError(f"nothing is heard of topic {other!r} here")

    def _hear_requirement(self, message: dict[str, object]) -> None:
        if message["type"] == "clock.ticked":
            return
        kind = str(message["type"]).removeprefix("requirement.")
        self.requirements[kind] += 1
        booking = str(message["booking_id"])
        if kind == "withdrawn":
            self.bookings.append(f"{booking}  {message.get('reason')}: needs nothing any more")
        if kind != "stated" or message.get("status") == "arrived":
            return
        lines = message["lines"]
        if not isinstance(lines, list):
            return
        self.last_booking = booking
        needed = [
            f"{line['certain']} × {line['item']}"
            for line in lines
            if line.get("item") and line.get("unit", "containers") == "containers" and line["certain"] not in {"0", 0}
        ]
        more = f", and {len(needed) - ITEMS_SHOWN} more" if len(needed) > ITEMS_SHOWN else ""
        self.bookings.append(f"{booking}  {message['protocol']} → {', '.join(needed[:ITEMS_SHOWN])}{more}")

    def _hear_alert(self, alert: Alert) -> None:
        before = self.alerts.get(alert.alert_id)
        self.alerts[alert.alert_id] = alert
        self.at_risk |= {session.booking_id for session in alert.sessions_at_risk}
        if before is None:
            self.raised[alert.kind.value] += 1
            if alert.state is AlertState.RESOLVED:
                self.resolved[alert.kind.value] += 1
            self.feed.append(Change(alert, "raised"))
        elif alert.state is not before.state:
            if alert.state is AlertState.RESOLVED:
                self.resolved[alert.kind.value] += 1
            self.feed.append(Change(alert, alert.state.value if alert.state is not AlertState.OPEN else "open again"))
        elif alert.severity != before.severity:
            self.feed.append(Change(alert, f"now {alert.severity}"))

    def standing(self) -> list[Alert]:
        """Alerts that are not over."""
        return [alert for alert in self.alerts.values() if alert.state is not AlertState.RESOLVED]

"""The topics: names (without prefix), keys, and what they are for. One table; documents are generated from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CATALOGUE_KEY = b"catalogue"
"""The only key of the ``catalogue`` topic: the bundle, once in every partition, so that it reaches every worker
and a reader sees a whole catalogue or the one before, never a mixture."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic. ``compacted`` ones keep the last value of each key; the others their retention."""

    name: str
    key: str
    holds: str
    direction: Literal["in", "between", "out"]
    compacted: bool = False
    max_message_bytes: int = 1_048_576


TOPICS: dict[str, Topic] = {
    t.name: t
    for t in (
        Topic("bookings", "booking id", "booking events", "in"),
        Topic("stock", "site", "receipts, counts, dispenses, waste, transfers, quarantine", "in"),
        Topic("orders", "site", "purchase orders, their promises and deliveries", "in"),
        Topic("alert-actions", "site", "acknowledged, snoozed, ordered, closed", "in"),
        Topic("clock", "partition number", "the passing of time by the wall clock", "in"),
        Topic("catalogue", "catalogue", "the catalogue in force, once in every partition", "in", True, 8_388_608),
        Topic(
            "requirements",
            "site (of an hour: partition number)",
            "a booking expanded, withdrawn or used; with `--clock event` also each hour that begins",
            "between",
        ),
        Topic("forecasts", "site + kind + id", "need, usable stock and risk by day", "out", True),
        Topic("accuracy", "site + series", "how good the planner's own forecasts have been", "out", True),
        Topic("alerts", "alert id", "the alert with its state, revision and reasons", "out", True),
        Topic("proposals", "site + supplier", "what to order", "out", True),
        Topic("outcomes", "event id", "what became of each event in", "out"),
        Topic("journal", "agent", "which records were applied, in which order and chunks", "out"),
        Topic("dead-letters", "as it came", "unreadable events, byte for byte", "out", False, 16_777_216),
    )
}

SEPARATOR = "\x1f"
"""Between the parts of a composed key; no identifier can contain it."""


def composed_key(*parts: str) -> bytes:
    """A key of several parts, for topics and tables."""
    return SEPARATOR.join(parts).encode()

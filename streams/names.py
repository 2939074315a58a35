"""Names on the log: topics with their prefix, changelogs, the consumer group. One place, for workers and readers.

Agents and tables:

========  ===========================================================  ==============
agent     topics it consumes                                           its table
========  ===========================================================  ==============
expand    bookings, catalogue                                          expand-table
plan      requirements, stock, orders, alert-actions, clock, catalogue  plan-table
========  ===========================================================  ==============
"""

from __future__ import annotations

from typing import Final

from planner.topics import SEPARATOR

EXPAND: Final = "expand"
PLAN: Final = "plan"

INPUTS: Final[dict[str, tuple[str, ...]]] = {
    EXPAND: ("bookings", "catalogue"),
    PLAN: ("requirements", "stock", "orders", "alert-actions", "clock", "catalogue"),
}
"""Agent → topics (without prefix) it consumes."""

POSITION: Final = b"@position"
"""Table entries of the engine: ``@position``, separator, topic without prefix → offset of the next record to apply."""


def table_name(agent: str) -> str:
    """Name of an agent's table."""
    return f"{agent}-table"


def changelog(agent: str) -> str:
    """Changelog topic of an agent's table, without prefix."""
    return f"{table_name(agent)}-changelog"


def group_id(prefix: str) -> str:
    """Consumer group of the workers; also Faust's application id."""
    return f"{prefix}worker"


def position_key(topic: str) -> bytes:
    """Table key of the applied offset of ``topic`` (without prefix)."""
    return POSITION + SEPARATOR.encode() + topic.encode()

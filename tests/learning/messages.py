"""Requirements as ``expand`` tells them, for the tests of what is learned from them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from planner.messages import RequirementStated, RequirementUsed, RequirementWithdrawn


def _common(booking: str, revision: int) -> dict[str, Any]:
    return {
        "booking_id": booking,
        "revision": revision,
        "booking_version": revision,
        "site": "north",
        "event_id": f"{booking}/{revision}",
        "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def stated(booking: str, day: date, *, revision: int = 1, protocol: str = "infusion", **more: Any) -> RequirementStated:
    return RequirementStated(
        **_common(booking, revision),
        protocol=protocol,
        protocol_version=1,
        catalogue_version="c",
        start=datetime.combine(day, time(15), UTC),
        day=day,
        expansion_id="e",
        lines=(),
        **more,
    )


def withdrawn(booking: str, reason: Any, *, revision: int = 2) -> RequirementWithdrawn:
    return RequirementWithdrawn(**_common(booking, revision), reason=reason)


def used(booking: str, *, revision: int = 2) -> RequirementUsed:
    return RequirementUsed(**_common(booking, revision))

"""What a lot that comes in must satisfy, whichever event brings it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Final

from planner.booking.rules import EARLIEST, LATEST
from planner.refusal import Refused
from planner.site.state import ItemStock

_LOTS_SHOWN = 20
LOTS_MOST: Final = 500
"""Lots of an item that a site may have at a time, with containers or in quarantine; those that were emptied do not
count. A shelf has a handful of an item, and one count names no more than these. Each event of an item writes all of its
lots again, at some 50 bytes each: without a limit, a publisher that invents lots would make every event cost more."""


def check_receipt(stock: ItemStock, lot: str, expiry: date, day: date) -> None:
    """A lot may come in on ``day``.

    Raises:
        Refused: ``already-expired``, ``expiry-out-of-range``, ``lot-expiry-differs``.
    """
    check_date("expiry", expiry)
    if expiry < day:
        raise Refused("already-expired", f"expiry: found {expiry}; expected {day}, the day of the receipt, or later")
    known = stock.lots.get(lot)
    if known is not None and known.expiry != expiry:
        raise Refused(
            "lot-expiry-differs", f"expiry: found {expiry} for lot {lot!r}; expected {known.expiry}, as received before"
        )


def check_room(stock: ItemStock, item: str, lots: Collection[str], field: str = "lot") -> None:
    """These lots may come in beside those that are there.

    Raises:
        Refused: ``too-many-lots``.
    """
    if len(stock.lots) + len(lots) <= LOTS_MOST:
        return
    there = {lot.lot for lot in stock.lots.values() if lot.quantity or lot.quarantined}
    new = [lot for lot in lots if lot not in there]
    if new and len(there) + len(new) > LOTS_MOST:
        found = repr(new[0]) + (f" and {len(new) - 1} more" if len(new) > 1 else "")
        raise Refused(
            "too-many-lots",
            f"{field}: found {found} beside {len(there)} lots of {item} with containers or in quarantine; expected at"
            f" most {LOTS_MOST} of an item at a site (a lot that is there may be received, and a count empties those it"
            " does not name)",
        )


def check_date(field: str, day: date) -> None:
    """A day that can be meant.

    Raises:
        Refused: ``<field>-out-of-range``.
    """
    if not EARLIEST.date() <= day < LATEST.date():
        raise Refused(
            f"{field}-out-of-range", f"{field}: found {day}; expected from {EARLIEST.date()} to before {LATEST.date()}"
        )


def known_lots(stock: ItemStock) -> str:
    """The lots of an item, for a reader."""
    names = sorted(stock.lots)
    if not names:
        return "(none received yet)"
    more = f" and {len(names) - _LOTS_SHOWN} more" if len(names) > _LOTS_SHOWN else ""
    return ", ".join(map(repr, names[:_LOTS_SHOWN])) + more

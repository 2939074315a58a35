"""What a lot that comes in must satisfy, whichever event brings it."""

from __future__ import annotations

from datetime import date

from planner.booking.rules import EARLIEST, LATEST
from planner.refusal import Refused
from planner.site.state import ItemStock

_LOTS_SHOWN = 20


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

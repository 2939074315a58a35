"""What a lot that comes in must satisfy, whichever event brings it."""

from __future__ import annotations

from datetime import date

from planner.refusal import Refused
from planner.site.state import ItemStock

_LOTS_SHOWN = 20


def check_receipt(stock: ItemStock, lot: str, expiry: date, day: date) -> None:
    """A lot may come in on ``day``.

    Raises:
        Refused: ``already-expired``, ``lot-expiry-differs``.
    """
    if expiry < day:
        raise Refused("already-expired", f"expiry: found {expiry}; expected {day}, the day of the receipt, or later")
    known = stock.lots.get(lot)
    if known is not None and known.expiry != expiry:
        raise Refused(
            "lot-expiry-differs", f"expiry: found {expiry} for lot {lot!r}; expected {known.expiry}, as received before"
        )


def known_lots(stock: ItemStock) -> str:
    """The lots of an item, for a reader."""
    names = sorted(stock.lots)
    if not names:
        return "(none received yet)"
    more = f" and {len(names) - _LOTS_SHOWN} more" if len(names) > _LOTS_SHOWN else ""
    return ", ".join(map(repr, names[:_LOTS_SHOWN])) + more

"""A site's state as table entries, and back again.

| key (parts) | value (JSON) |
|---|---|
| ``site``, site | ``{"today": ordinal}`` |
| ``told``, site | ``[kind, id]`` of each forecast that may have been published |
| ``booking``, site, booking id | ``[revision, day, start_s, segment, profile, status]``, and ``series`` if it has one |
| ``profile``, site, profile | protocol, versions, items: item → [mean, variance, maximum, certain] |
| ``stock``, site, item | lots, open containers, deficit, presumed, last count, recent movements |
| ``order``, site, order id | the order |
| ``announced``, site, supplier[/item] | ``[first day, last day, share]`` |
| ``alert``, site, item/kind[/subject] | the alert, as published |
| ``proposal``, site, supplier[/controlled] | the proposal, as published |
| ``seen``, site, event id | ordinal of the day it was applied |
| ``learned``, site, part | what the site has learned (``planner.learning``) |

What is derived (``demand``, ``by_day`` …) is not written. Days are ordinals, decimals text, instants ISO 8601 in UTC.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import orjson

from planner.messages import Alert, Proposal, SessionAtRisk
from planner.site.bookings import rebuild
from planner.site.state import (
    Announcement,
    BookingEntry,
    CountFinding,
    ItemStock,
    Lot,
    Moments,
    Movement,
    OpenContainer,
    Order,
    OrderLine,
    Profile,
    SiteState,
)
from planner.site.touched import Touched
from planner.topics import SEPARATOR, composed_key

Writes = dict[bytes, bytes | None]


# --- out --------------------------------------------------------------------------------------------------


def take_writes(state: SiteState, touched: Touched) -> Iterator[tuple[bytes, bytes | None]]:
    """The entries of what was touched, each once, in a fixed order (None: gone); ``touched`` forgets them."""
    site = state.site
    if touched.site:
        yield composed_key("site", site), orjson.dumps({"today": state.today})
        touched.site = False
    if touched.told:
        yield composed_key("told", site), orjson.dumps(sorted(state.told)) if state.told else None
        touched.told = False
    yield from _part("profile", site, touched.profiles, state.profiles, _profile)
    yield from _part("booking", site, touched.bookings, state.bookings, _booking)
    yield from _part("stock", site, touched.stock, state.stock, _stock)
    yield from _part("order", site, touched.orders, state.orders, _order)
    yield from _part("announced", site, touched.announced, state.announced, _announcement)
    yield from _part("seen", site, touched.seen, state.seen, orjson.dumps)
    for name in sorted(touched.learned):
        yield composed_key("learned", site, name), state.learned.part(name).encode()
    touched.learned.clear()


def _part(
    kind: str, site: str, names: set[str], entries: Mapping[str, Any], encode: Callable[[Any], bytes]
) -> Iterator[tuple[bytes, bytes | None]]:
    prefix = f"{kind}{SEPARATOR}{site}{SEPARATOR}"
    for name in sorted(names):
        entry = entries.get(name)
        yield (prefix + name).encode(), None if entry is None else encode(entry)
    names.clear()


def _booking(entry: BookingEntry) -> bytes:
    return orjson.dumps(entry[:-1] if entry.series is None else tuple(entry))


def _profile(profile: Profile) -> bytes:
    return orjson.dumps(
        {
            "protocol": profile.protocol,
            "protocol_version": profile.protocol_version,
            "catalogue_version": profile.catalogue_version,
            "items": {item: [str(value) for value in moments] for item, moments in profile.items.items()},
        }
    )


def _stock(stock: ItemStock) -> bytes:
    count = stock.last_count
    return orjson.dumps(
        {
            "lots": [[lot.lot, lot.expiry, lot.quantity, lot.quarantined] for lot in stock.lots.values()],
            "open": [[open_.lot, open_.opened_at, open_.use_by, str(open_.remaining_ml)] for open_ in stock.open],
            "deficit": stock.deficit,
            "presumed": str(stock.presumed),
            "last_count": None
            if count is None
            else [
                count.event_id,
                count.counted_at,
                count.expected,
                count.counted,
                str(count.presumed),
                sorted(count.lots),
            ],
            "movements": [_movement(movement) for movement in stock.movements],
            "forgotten_until": stock.forgotten_until,
        }
    )


def _movement(movement: Movement) -> list[Any]:
    """Short: there may be many, and each is written again with each that follows it."""
    at, amount, took, lot = movement
    return [at, str(amount)] if lot is None and took == "use" else [at, str(amount), took, lot]


def _order(order: Order) -> bytes:
    return orjson.dumps(
        {
            "supplier": order.supplier,
            "placed_at": order.placed_at,
            "promised": order.promised,
            "status": order.status,
            "closed_on": order.closed_on,
            "lines": {item: [line.ordered, line.confirmed, line.delivered] for item, line in order.lines.items()},
        }
    )


def _announcement(told: Announcement) -> bytes:
    return orjson.dumps([told.first_day, told.last_day, str(told.share)])


# --- in ---------------------------------------------------------------------------------------------------


def restore_sites(entries: Iterable[tuple[bytes, bytes]]) -> dict[str, SiteState]:
    """The states of all sites of which there are entries; those that are no site's are passed over."""
    sites: dict[str, SiteState] = {}
    moments: dict[tuple[str, ...], Moments] = {}
    for key, value in entries:
        kind, _, rest = key.decode().partition(SEPARATOR)
        read = _READERS.get(kind)
        if read is None:
            continue
        site, _, name = rest.partition(SEPARATOR)
        state = sites.get(site)
        if state is None:
            state = sites[site] = SiteState(site)
        if kind == "profile":
            state.profiles[name] = _read_profile(name, value, moments)
        else:
            read(state, name, value)
    for state in sites.values():
        _share(state)
        rebuild(state)
    return sites


def _share(state: SiteState) -> None:
    """One copy of what was one before it was written."""
    # bookings name their profile and segment with the very strings that are keys there
    for booking_id, entry in state.bookings.items():
        profile = state.profiles.get(entry.profile)
        if profile is not None:
            state.bookings[booking_id] = entry._replace(profile=profile.id)
    # many items miss the same sessions
    missed: dict[SessionAtRisk, SessionAtRisk] = {}
    for name, alert in state.alerts.items():
        if alert.sessions_at_risk:
            shared = tuple(missed.setdefault(session, session) for session in alert.sessions_at_risk)
            state.alerts[name] = alert.model_copy(update={"sessions_at_risk": shared})


def _read_profile(name: str, value: bytes, known: dict[tuple[str, ...], Moments]) -> Profile:
    body = orjson.loads(value)
    items: dict[str, Moments] = {}
    for item, texts in body["items"].items():
        moments = known.get(texts := tuple(texts))
        if moments is None:
            moments = known[texts] = Moments(*(Decimal(text) for text in texts))
        items[sys.intern(item)] = moments
    return Profile(
        id=name,
        protocol=sys.intern(body["protocol"]),
        protocol_version=body["protocol_version"],
        catalogue_version=sys.intern(body["catalogue_version"]),
        items=items,
    )


def _read_site(state: SiteState, name: str, value: bytes) -> None:
    state.today = orjson.loads(value)["today"]


def _read_told(state: SiteState, name: str, value: bytes) -> None:
    state.told = {(kind, id_) for kind, id_ in orjson.loads(value)}


def _read_booking(state: SiteState, name: str, value: bytes) -> None:
    revision, day, start_s, segment, profile, status, *series = orjson.loads(value)
    state.bookings[name] = BookingEntry(
        revision,
        day,
        start_s,
        sys.intern(segment),
        profile,
        sys.intern(status),  # type: ignore[arg-type]
        sys.intern(series[0]) if series else None,
    )


def _read_stock(state: SiteState, name: str, value: bytes) -> None:
    body = orjson.loads(value)
    stock = ItemStock(deficit=body["deficit"], presumed=Decimal(body["presumed"]))
    for lot, expiry, quantity, quarantined in body["lots"]:
        stock.lots[lot] = Lot(lot, date.fromisoformat(expiry), quantity, quarantined)
    for lot, opened_at, use_by, remaining_ml in body["open"]:
        stock.open.append(OpenContainer(lot, _instant(opened_at), _instant(use_by), Decimal(remaining_ml)))
    if body["last_count"] is not None:
        event_id, counted_at, expected, counted, presumed, lots = body["last_count"]
        stock.last_count = CountFinding(
            event_id, _instant(counted_at), expected, counted, Decimal(presumed), frozenset(lots)
        )
    for at, amount, *taken in body["movements"]:
        stock.movements.append(Movement(_instant(at), Decimal(amount), *(taken or ("use", None))))
    if body["forgotten_until"] is not None:
        stock.forgotten_until = _instant(body["forgotten_until"])
    state.stock[sys.intern(name)] = stock


def _read_order(state: SiteState, name: str, value: bytes) -> None:
    body = orjson.loads(value)
    state.orders[name] = Order(
        order_id=name,
        supplier=body["supplier"],
        placed_at=_instant(body["placed_at"]),
        lines={sys.intern(item): OrderLine(*line) for item, line in body["lines"].items()},
        promised=None if body["promised"] is None else date.fromisoformat(body["promised"]),
        status=body["status"],
        closed_on=body["closed_on"],
    )


def _read_announcement(state: SiteState, name: str, value: bytes) -> None:
    first_day, last_day, share = orjson.loads(value)
    supplier, _, item = name.partition("/")
    state.announced[name] = Announcement(
        supplier, item or None, date.fromisoformat(first_day), date.fromisoformat(last_day), Decimal(share)
    )


def _read_alert(state: SiteState, name: str, value: bytes) -> None:
    state.alerts[name] = Alert.model_validate_json(value)


def _read_proposal(state: SiteState, name: str, value: bytes) -> None:
    state.proposals[name] = Proposal.model_validate_json(value)


def _read_seen(state: SiteState, name: str, value: bytes) -> None:
    state.seen[name] = orjson.loads(value)


def _read_learned(state: SiteState, name: str, value: bytes) -> None:
    state.learned.restore(name, value)


def _no_reader(state: SiteState, name: str, value: bytes) -> None:
    raise TypeError("profiles are read with their moments shared")


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


_READERS: Final[dict[str, Callable[[SiteState, str, bytes], None]]] = {
    "site": _read_site,
    "told": _read_told,
    "booking": _read_booking,
    "profile": _no_reader,
    "stock": _read_stock,
    "order": _read_order,
    "announced": _read_announcement,
    "alert": _read_alert,
    "proposal": _read_proposal,
    "seen": _read_seen,
    "learned": _read_learned,
}

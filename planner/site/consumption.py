"""What completed sessions take from stock, at sites where nobody tells what is dispensed.

Of each item what was really used, where the completion tells it, else what the session was expected to use:

- containers: the mean is carried in ``presumed`` and leaves the lots in whole containers, so that over many sessions
  stock falls by what they use on average;
- mL (multi-dose): what is taken for certain is drawn at once, opening containers as real doses do; what is only
  probable (PRN) is carried in ``presumed`` and drawn as one dose when it has added up to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import ROUND_CEILING, Decimal
from functools import partial

from planner.catalogue.index import Catalogue
from planner.catalogue.model import ContainerUse, Item
from planner.events.bookings import ItemUse
from planner.learning import using
from planner.site.lots import fefo, take, take_volume, whole_containers
from planner.site.movements import remember, withdraw
from planner.site.state import ItemStock, Moments, Movement, Profile, SiteState
from planner.site.touched import Touched
from planner.units import Unit

_NOTHING = Moments(Decimal(0), Decimal(0), Decimal(0), Decimal(0))


def take_session(
    state: SiteState,
    catalogue: Catalogue,
    profile: Profile | None,
    actual_use: Sequence[ItemUse] | None,
    at: datetime,
    *,
    touched: Touched,
    cause: str,
    day: int | None = None,
) -> int:
    """Take a session's use from stock, and keep what it teaches.

    Args:
        day: of the session (ordinal); None: that of ``at``.

    Returns:
        Number of items that could not be taken, because the catalogue does not know them or the use told of them
        cannot be expressed in their containers and none was expected.
    """
    expected = profile.items if profile is not None else {}
    told = {use.item: use for use in actual_use or ()}
    left_out = 0
    today = catalogue.site_day(state.site, at)
    day = today.toordinal() if day is None else day
    if profile is not None:
        using.session(state, day, profile.id, touched)
    items = catalogue.items
    for item_id in [*expected, *(item for item in told if item not in expected)] if told else expected:
        item = items.get(item_id)
        if item is None:
            left_out += 1
            continue
        amount = told_amount(item, told[item_id]) if told and item_id in told else None
        if amount is None and item_id not in expected:
            left_out += 1
            continue
        if amount is not None:
            using.told(state, day, item, amount, expected.get(item_id), touched)
        stock = state.stock.get(item_id)
        if stock is None:
            stock = state.stock[item_id] = ItemStock()
        if item.use is ContainerUse.MULTI_DOSE:
            before = whole_containers(stock)
            volume = amount if amount is not None else _presumed_volume(stock, expected.get(item_id, _NOTHING))
            if volume > 0:
                use_by = withdraw(
                    stock, item, at, partial(take_volume, stock, item, volume, at, catalogue.zone(state.site))
                )
                if use_by is not None:
                    touched.wake_at(use_by)
                using.opened(state, day, item, before - whole_containers(stock), touched)
        else:
            containers = amount if amount is not None else expected[item_id].mean
            _take_containers(stock, item, containers, at, today)
        touched.stock_of(item_id, cause)
    return left_out


def _take_containers(stock: ItemStock, item: Item, containers: Decimal, at: datetime, today: date) -> None:
    count = stock.last_count
    if count is not None and at <= count.counted_at:
        withdraw(stock, item, at, partial(_take_presumed, stock, containers, today), amount=containers)
        return
    _take_presumed(stock, containers, today)  # as ``withdraw`` would; nearly every one there is
    if containers:
        remember(stock, Movement(at, containers, "use", None))


def _take_presumed(stock: ItemStock, containers: Decimal, today: date) -> None:
    stock.presumed += containers
    whole = int(stock.presumed)
    if whole:
        stock.presumed -= whole
        take(stock, whole, fefo(stock, today))


def _presumed_volume(stock: ItemStock, moments: Moments) -> Decimal:
    """mL to draw now for a session of which only the expected use is known."""
    probable = moments.maximum - moments.certain
    stock.presumed += moments.mean - moments.certain
    if not 0 < probable <= stock.presumed:
        return moments.certain
    stock.presumed -= probable
    return moments.certain + probable


def told_amount(item: Item, use: ItemUse) -> Decimal | None:
    """What was used, in containers (mL for multi-dose); None: told in a unit that says nothing here."""
    content = item.content
    if item.use is ContainerUse.MULTI_DOSE:
        if use.volume_ml is not None:
            return use.volume_ml
        return None if use.containers is None else use.containers * content.value
    containers = use.containers
    if containers is None and use.volume_ml is not None and content.unit is Unit.ML:
        containers = use.volume_ml / content.value
    if containers is None or content.unit is Unit.EACH:
        return containers
    # the rest of a single-dose container is thrown away
    return containers.to_integral_value(ROUND_CEILING)

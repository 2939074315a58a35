"""Stock is conserved: what came in is on hand, used, wasted, sent on, or owed as a deficit. Nothing is clipped."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalogue.index import Catalogue
from planner.events.stock import STOCK_EVENTS
from planner.refusal import Refused
from planner.site.consumption import take_session
from planner.site.lots import discard_open, on_shelf
from planner.site.state import ItemStock, Moments, Profile, SiteState
from planner.site.stock import apply_stock
from planner.site.touched import Touched
from tests.plan.clinic import KETAMINE, MONDAY, NORTH, SOUTH, VITAMIN, at, bundle

CATALOGUE = Catalogue(bundle())
CONTENT_ML = Decimal(30)

few = st.integers(1, 12)
lots = st.sampled_from(["A", "B", "C"])
maybe_lot = st.none() | lots
EXPIRY = {"A": MONDAY + timedelta(days=3), "B": MONDAY + timedelta(days=30), "C": MONDAY + timedelta(days=300)}

received = st.builds(lambda lot, n: {"type": "stock.received", "lot": lot, "quantity": n}, lots, few)
moved_in = st.builds(
    lambda lot, n: {"type": "stock.transferred-in", "lot": lot, "quantity": n, "from_site": SOUTH}, lots, few
)
moved_out = st.builds(
    lambda lot, n: {"type": "stock.transferred-out", "lot": lot, "quantity": n, "to_site": SOUTH}, maybe_lot, few
)
dispensed = st.builds(lambda lot, n: {"type": "stock.dispensed", "lot": lot, "quantity": n}, maybe_lot, few)
drawn = st.builds(
    lambda lot, n: {"type": "stock.dispensed", "lot": lot, "volume_ml": str(n)}, maybe_lot, st.integers(1, 100)
)
wasted = st.builds(
    lambda lot, n, reason: {"type": "stock.wasted", "lot": lot, "quantity": n, "reason": reason, "witness": "w"},
    maybe_lot,
    few,
    st.sampled_from(["broken", "expired", "recalled"]),
)
counted = st.builds(
    lambda found: {"type": "stock.counted", "lots": [{"lot": lot, "quantity": n} for lot, n in found.items()]},
    st.dictionaries(lots, st.integers(0, 20)),
)
locked = st.builds(
    lambda lot, released: {"type": "stock.quarantined", "lot": lot, "released": released}, lots, st.booleans()
)
changes = st.lists(
    st.tuples(
        st.sampled_from([KETAMINE, VITAMIN]),
        st.integers(-9, 9),
        st.one_of(received, moved_in, moved_out, dispensed, drawn, wasted, counted, locked),
    ),
    max_size=40,
)


def open_ml(stock: ItemStock) -> Decimal:
    return sum((open_.remaining_ml for open_ in stock.open), Decimal(0))


@given(changes)
@settings(max_examples=150, deadline=None)
def test_containers_and_volume_are_conserved(told: list[tuple[str, int, dict[str, Any]]]) -> None:
    """In whatever order what happened is told: of what came before the last count, the count knows better."""
    state = SiteState(NORTH)
    expected = {KETAMINE: 0, VITAMIN: 0}
    moved: dict[str, list[tuple[datetime, int]]] = {KETAMINE: [], VITAMIN: []}
    for number, (item, hours, change) in enumerate(told):
        when = at(0) + timedelta(hours=number + hours)
        before = state.stock.get(item, ItemStock())
        shelf_before, ml_before = on_shelf(before), open_ml(before)
        count = before.last_count
        in_count = count is not None and when <= count.counted_at
        count_expected = 0 if count is None else count.expected
        body = {k: v for k, v in change.items() if v is not None}
        body |= {"event_id": f"e{number}", "occurred_at": when, "site": NORTH, "item": item}
        if body["type"] in {"stock.received", "stock.transferred-in"}:
            body["expiry"] = EXPIRY[body["lot"]]
        event = STOCK_EVENTS.validate_python(body)
        try:
            apply_stock(state, CATALOGUE, event, Touched())
        except Refused:
            after = state.stock.get(item, ItemStock())
            assert (on_shelf(after), open_ml(after)) == (shelf_before, ml_before), "a refusal changes nothing"
            continue
        stock = state.stock[item]
        kind, quantity = body["type"], body.get("quantity")
        delta = -(quantity or 0)
        if kind in {"stock.received", "stock.transferred-in"}:
            delta = quantity
            # a lot that the count did not name was not there yet
            in_count = in_count and body["lot"] in count.lots
        elif kind == "stock.counted":
            since = sum(n for moment, n in moved[item] if moment > when)
            delta, in_count = 0, False
            expected[item] = sum(lot["quantity"] for lot in body["lots"]) + since
            assert stock.last_count.expected == shelf_before - since
        elif kind == "stock.dispensed" and quantity is None:
            # volume comes from containers: what was opened holds what was drawn and what is now open besides
            opened = count_expected - count.expected if in_count else shelf_before - on_shelf(stock)
            assert opened * CONTENT_ML == Decimal(body["volume_ml"]) + open_ml(stock) - ml_before
            delta = -opened
        if in_count:
            assert count.expected == count_expected + delta
        else:
            expected[item] += delta
            moved[item].append((when, delta))
        assert on_shelf(stock) == expected[item]
        assert all(lot.quantity >= 0 for lot in stock.lots.values())
        assert all(0 < open_.remaining_ml < CONTENT_ML for open_ in stock.open)
        assert stock.deficit >= 0


def profile(item: str, *, mean: Decimal, maximum: Decimal, certain: Decimal) -> Profile:
    return Profile("p", "infusion", 1, "v", {item: Moments(mean, Decimal(1), maximum, certain)})


@given(st.lists(st.decimals(Decimal("0.01"), 4, places=2), min_size=1, max_size=60))
@settings(max_examples=80, deadline=None)
def test_completions_take_their_mean_in_whole_containers(means: list[Decimal]) -> None:
    state = SiteState(NORTH, stock={KETAMINE: ItemStock()})
    for mean in means:
        needed = profile(KETAMINE, mean=mean, maximum=mean * 3, certain=Decimal(0))
        take_session(state, CATALOGUE, needed, None, at(0), touched=Touched(), cause="e")
    stock = state.stock[KETAMINE]
    assert 0 <= stock.presumed < 1
    assert -on_shelf(stock) + stock.presumed == sum(means)


@given(st.integers(1, 60), st.decimals(Decimal("0.05"), Decimal("0.95"), places=2))
@settings(max_examples=80, deadline=None)
def test_a_probable_dose_is_drawn_when_it_has_added_up(sessions: int, probability: Decimal) -> None:
    """2 mL for certain and 3 mL more with a probability: the doses drawn are the expected number, rounded down."""
    state = SiteState(NORTH)
    needed = profile(VITAMIN, mean=2 + 3 * probability, maximum=Decimal(5), certain=Decimal(2))
    for _ in range(sessions):
        take_session(state, CATALOGUE, needed, None, at(0), touched=Touched(), cause="e")
    stock = state.stock[VITAMIN]
    drawn_ml = -on_shelf(stock) * CONTENT_ML - open_ml(stock)
    assert drawn_ml == 2 * sessions + 3 * int(sessions * probability)


def test_what_was_told_is_taken_instead_of_what_was_expected() -> None:
    from planner.events.bookings import ItemUse  # noqa: PLC0415

    state = SiteState(NORTH)
    needed = profile(KETAMINE, mean=Decimal(4), maximum=Decimal(9), certain=Decimal(0))
    told = (
        ItemUse(item=KETAMINE, volume_ml=Decimal(21)),
        ItemUse(item=VITAMIN, containers=Decimal("0.5")),
        ItemUse(item="moonstone", containers=Decimal(1)),
    )
    left_out = take_session(state, CATALOGUE, needed, told, at(0), touched=Touched(), cause="e")
    assert left_out == 1, "the catalogue has no moonstone"
    assert on_shelf(state.stock[KETAMINE]) == -2, "21 mL of 20 mL vials: two, the rest is thrown away"
    assert open_ml(state.stock[VITAMIN]) == 15


def test_an_open_container_is_thrown_away_when_its_time_is_over() -> None:
    state = SiteState(NORTH)
    event = {"type": "stock.dispensed", "event_id": "e", "occurred_at": at(0), "site": NORTH, "item": VITAMIN}
    touched = Touched()
    apply_stock(state, CATALOGUE, STOCK_EVENTS.validate_python({**event, "volume_ml": "10"}), touched)
    stock = state.stock[VITAMIN]
    assert touched.wake == stock.open[0].use_by == at(2), "48 hours"
    assert discard_open(stock, at(2) - timedelta(seconds=1)) == 0
    assert discard_open(stock, at(2)) == 20
    assert not stock.open

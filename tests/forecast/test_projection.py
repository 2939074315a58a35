"""Usable stock by day, risk and expiry: scenarios in plain text."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from planner.forecast.outlook import Need, Outlook
from planner.forecast.projection import (
    last_safe_order_date,
    on_hand,
    project,
    risk_day,
    stock_out_day,
)
from planner.forecast.waiting import UNCERTAIN_MOST, expected_lines
from planner.site.state import Announcement, ItemStock, Lot, OpenContainer, SiteState
from tests.forecast.clinic import (
    BAG,
    BULK,
    CATHETER,
    COMPLEX,
    EPINEPHRINE,
    MONDAY,
    SITE,
    VIAL,
    at,
    catalogue,
    order,
    receive,
)

CATALOGUE = catalogue(par_stock=[{"component": "epinephrine", "quantity": 3}])
DAYS = 10
NOW = at(MONDAY)

LATE = 1 - (1 / 80) ** 0.5
"""Of what is due at acme, with an allowance of a day, the share that comes on each day: 1/80 is later than that."""


def need_of(item: str, per_day: list[float], variance: float = 0.0) -> Need:
    """A firm need of one item; the days after those given have none."""
    mean = np.zeros((1, DAYS))
    mean[0, : len(per_day)] = per_day
    return Need(MONDAY, (item,), mean, mean * variance, np.zeros_like(mean), np.zeros_like(mean))


def day(text: str) -> date:
    """``+3`` is three days from Monday, ``-1`` the day before it."""
    return MONDAY + timedelta(days=int(text))


def scene(text: str) -> SiteState:
    """A state from lines such as ``lot A 5 expires +3``, ``order 4 placed -1 promised +2``, ``deficit 1``."""
    state = SiteState(SITE)
    stock = state.stock[VIAL] = ItemStock()
    for line in text.strip().splitlines():
        match line.split():
            case ["lot", name, quantity, "expires", expiry, *more]:
                receive(state, VIAL, name, int(quantity), day(expiry), quarantined=more == ["quarantined"])
            case ["order", quantity, "placed", placed, *promise]:
                promised = day(promise[1]) if promise[:1] == ["promised"] else None
                made = order(state, f"o{len(state.orders)}", VIAL, int(quantity), placed=day(placed), promised=promised)
                if promise[-1:] == ["cancelled"]:
                    made.status = "cancelled"
                if promise[-2:-1] == ["delivered"]:
                    made.lines[VIAL].delivered = int(promise[-1])
            case ["deficit", quantity]:
                stock.deficit = int(quantity)
            case ["presumed", quantity]:
                stock.presumed = Decimal(quantity)
            case _:
                raise ValueError(f"line {line!r}: not understood")
    return state


SCENARIOS = [
    # what is there | need by day | supply by day
    ("nothing there", "", "0", "0 0 0 0 0 0 0 0 0 0"),
    ("a lot that lasts", "lot A 5 expires +400", "1 1 1", "5 5 5 5 5 5 5 5 5 5"),
    ("the day of expiry is the last usable one", "lot A 5 expires +2", "0", "5 5 5 0 0 0 0 0 0 0"),
    ("expired yesterday", "lot A 5 expires -1", "1", "0 0 0 0 0 0 0 0 0 0"),
    ("quarantined", "lot A 5 expires +400 quarantined", "1", "0 0 0 0 0 0 0 0 0 0"),
    ("what was used by its expiry stays counted", "lot A 5 expires +2", "1 1 1 1", "5 5 5 3 3 3 3 3 3 3"),
    (
        "first expired, first out: the first lot is used up, the second loses 1 of 4",
        "lot B 4 expires +4\nlot A 2 expires +1\nlot C 9 expires +400",
        "1 1 1 1 1 1",
        "15 15 15 15 15 14 14 14 14 14",
    ),
    (
        "the later lot takes over what the expired one cannot give",
        "lot A 4 expires +1\nlot B 2 expires +3",
        "1 1 1 1 1",
        "6 6 4 4 4 4 4 4 4 4",
    ),
    ("an order by its promise", "order 4 placed -1 promised +3", "0", "0 0 0 4 4 4 4 4 4 4"),
    ("an order without promise: the stated lead time", "order 4 placed -1", "0", "0 4 4 4 4 4 4 4 4 4"),
    ("what should have come comes most likely today", "order 4 placed -9 promised -2", "0", "4 4 4 4 4 4 4 4 4 4"),
    ("an order due today", "order 4 placed -9 promised +0", "0", "4 4 4 4 4 4 4 4 4 4"),
    ("an order beyond the horizon", "order 4 placed -9 promised +40", "0", "0 0 0 0 0 0 0 0 0 0"),
    ("a cancelled order", "order 4 placed -1 promised +3 cancelled", "0", "0 0 0 0 0 0 0 0 0 0"),
    ("what is still outstanding", "order 4 placed -1 promised +3 delivered 3", "0", "0 0 0 1 1 1 1 1 1 1"),
    ("a deficit is owed first", "lot A 5 expires +400\ndeficit 2", "1", "3 3 3 3 3 3 3 3 3 3"),
    ("use presumed of sessions", "lot A 5 expires +400\npresumed 0.75", "1", "4.25 4.25 4.25 4.25 4.25 4.25"),
]


@pytest.mark.parametrize(("what_is_there", "need", "supply"), [s[1:] for s in SCENARIOS], ids=[s[0] for s in SCENARIOS])
def test_supply(what_is_there: str, need: str, supply: str) -> None:
    outlook = project(scene(what_is_there), CATALOGUE, need_of(VIAL, [float(n) for n in need.split()]), NOW)
    wanted = [float(s) for s in supply.split()]
    assert outlook.supply[0, : len(wanted)].tolist() == wanted
    np.testing.assert_allclose(outlook.usable[0], outlook.supply[0] - np.cumsum(outlook.need.mean[0]))


def test_par_stock_is_kept() -> None:
    state = SiteState(SITE)
    receive(state, EPINEPHRINE, "A", 5, day("+400"))
    outlook = project(state, CATALOGUE, need_of(EPINEPHRINE, [0]), NOW)
    assert outlook.supply[0].tolist() == [2] * DAYS
    assert not outlook.risk.any()
    state.stock.clear()
    missing = project(state, CATALOGUE, need_of(EPINEPHRINE, [0]), NOW)
    assert missing.supply[0].tolist() == [-3] * DAYS
    assert missing.risk[0].tolist() == [1] * DAYS  # the reserve itself is not there
    assert on_hand(state, CATALOGUE, EPINEPHRINE, NOW) == 0


def test_open_containers_serve_until_their_time_is_over() -> None:
    state = SiteState(SITE)
    stock = state.stock[COMPLEX] = ItemStock()
    stock.lots["L"] = Lot("L", day("+400"), 2)
    stock.lots["Q"] = Lot("Q", day("+400"), 0, quarantined=True)
    stock.open = [
        OpenContainer("L", at(MONDAY), at(day("+3")), Decimal(15)),  # half of 30 mL
        OpenContainer("L", at(MONDAY), NOW, Decimal(15)),  # its time is over
        OpenContainer("Q", at(MONDAY), at(day("+3")), Decimal(15)),  # recalled
    ]
    stock.presumed = Decimal(3)
    outlook = project(state, CATALOGUE, need_of(COMPLEX, [0.1, 0.1]), NOW)
    np.testing.assert_allclose(outlook.supply[0], [2.4] * 4 + [2.0] * 6)  # with .8 nothing of the half is used
    assert on_hand(state, CATALOGUE, COMPLEX, NOW) == pytest.approx(2.4)
    assert outlook.expiring == ((),)


def test_unsettled_sessions_have_used_what_they_were_expected_to() -> None:
    state = scene("lot A 5 expires +400")
    need = need_of(VIAL, [1])
    owed = Need(need.first_day, need.items, *(np.zeros((1, DAYS)) for _ in range(4)), unsettled=np.array([1.5]))
    assert project(state, CATALOGUE, owed, NOW).supply[0].tolist() == [3.5] * DAYS


def test_risk_is_that_of_the_days_balance() -> None:
    """Poisson need of 2 a day: 4 in stock, 6 more are due on the third day. The risk falls when they arrive."""
    need = need_of(VIAL, [2.0] * DAYS, variance=1.0)
    outlook = project(scene("lot A 4 expires +400\norder 6 placed -1 promised +2"), CATALOGUE, need, NOW)
    supply = np.array([4, 4] + [10] * 8)
    through = 2.0 * np.arange(1, DAYS + 1)
    missing = np.array([0, 0, *((1 - LATE) ** np.arange(1, DAYS - 1))])
    exact = (1 - missing) * stats.poisson.sf(supply, through) + missing * stats.poisson.sf(4, through)
    np.testing.assert_allclose(outlook.risk[0], exact, atol=1.2e-3)
    assert outlook.risk[0, 2] < outlook.risk[0, 1]
    assert risk_day(outlook, 0, 0.3) == 1
    assert risk_day(outlook, 0, 1.0) is None
    assert stock_out_day(outlook, 0) == day("+5")


def test_rests_that_add_up_to_whole_containers_are_whole() -> None:
    """Ten tenths of a container are one, whatever binary fractions make of them."""
    need = need_of(VIAL, [0.1] * DAYS)
    outlook = project(scene("lot A 1 expires +400"), CATALOGUE, need, NOW)
    assert stock_out_day(outlook, 0) is None


def test_a_lot_that_will_expire() -> None:
    """8 vials through Wednesday, Poisson need of 1 a day: X ~ Poisson(3) is below 8 with .988; 8 − X is left."""
    need = need_of(VIAL, [1.0] * DAYS, variance=1.0)
    outlook = project(scene("lot A 8 expires +2\nlot B 9 expires +400"), CATALOGUE, need, NOW)
    (lot,) = outlook.expiring[0]
    assert (lot.lot, lot.expiry, lot.quantity) == ("A", day("+2"), 8)
    x = np.arange(60)
    chance = stats.poisson.pmf(x, 3)
    assert lot.probability == pytest.approx(chance[x < 8].sum(), abs=1e-3)
    assert lot.expected_unused == pytest.approx(chance @ np.maximum(8 - x, 0), rel=0.02)


def test_a_lot_behind_another_waits_for_it() -> None:
    need = need_of(VIAL, [1.0] * DAYS, variance=1.0)
    outlook = project(scene("lot A 2 expires +3\nlot B 4 expires +3\nlot C 2 expires +6"), CATALOGUE, need, NOW)
    assert [lot.lot for lot in outlook.expiring[0]] == ["B"]
    assert outlook.expiring[0][0].expected_unused == pytest.approx(2, abs=0.3)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), max_size=5),
    st.lists(st.floats(0, 4), min_size=1, max_size=DAYS),
)
@settings(max_examples=80)
def test_stock_is_conserved(lots: list[tuple[int, int]], need: list[float]) -> None:
    """Supply never exceeds what is on the shelf, and what it loses is no more than what expired."""
    state = SiteState(SITE)
    state.stock[VIAL] = ItemStock()
    for number, (quantity, expires) in enumerate(lots):
        receive(state, VIAL, f"L{number}", quantity, MONDAY + timedelta(days=expires))
    outlook = project(state, CATALOGUE, need_of(VIAL, need), NOW)
    supply = outlook.supply[0]
    assert supply[0] == pytest.approx(sum(q for q, _ in lots))
    assert (np.diff(supply) <= 1e-9).all()
    used = np.minimum(outlook.cumulative_mean[0], supply)
    for d in range(DAYS):
        usable_now = sum(q for q, expires in lots if expires >= d)
        # what is left for the days to come is on lots that have not expired
        assert supply[d] - used[d] <= usable_now + 1e-9


DATES = [
    # item, needed on, last day to order
    (VIAL, "+10", "+7"),  # three days before: Monday to Monday
    (VIAL, "+9", "+4"),  # Sunday is no order day: Friday
    (BAG, "+10", "+1"),  # nine days before, on a Tuesday
    (BAG, "+9", "-6"),
    (CATHETER, "+13", "+9"),  # Thursday the 26th is a closing day: Wednesday
    (BULK, "+1", "-3"),  # too late: a day past
]


@pytest.mark.parametrize(("item", "needed_on", "order_by"), DATES)
def test_last_safe_order_date(item: str, needed_on: str, order_by: str) -> None:
    assert last_safe_order_date(CATALOGUE, SITE, item, day(needed_on)) == day(order_by)


def test_an_order_comes_at_random_and_the_risk_is_that_of_the_mixture() -> None:
    """Two vials are there, two are needed on each of two days; two more are due on Tuesday."""
    need = need_of(VIAL, [2.0, 2.0], variance=0.5)
    outlook = project(scene("lot A 2 expires +400\norder 2 placed -1 promised +1"), CATALOGUE, need, NOW)
    x = stats.binom(8, 0.5)  # mean 4 and variance 2: need through Tuesday
    without, with_it = x.sf(2), x.sf(4)
    for column, missing in ((1, 1 - LATE), (2, (1 - LATE) ** 2)):
        assert outlook.risk[0, column] == pytest.approx(missing * without + (1 - missing) * with_it, abs=1e-3)
    assert outlook.supply[0, :3].tolist() == [2, 4, 4]


def test_two_orders_are_late_independently() -> None:
    need = need_of(VIAL, [0.0, 3.0])
    outlook = project(scene("order 2 placed -1 promised +1\norder 1 placed -1 promised +1"), CATALOGUE, need, NOW)
    assert outlook.risk[0, 1] == pytest.approx(1 - LATE**2)


def test_an_overdue_order_comes_as_what_is_late_comes() -> None:
    """The supplier of the bags allows for no delay: half of what it is late with comes on each day."""
    state = SiteState(SITE)
    order(state, "o", BAG, 5, placed=day("-30"))
    state.orders["o"].supplier = "slow"
    [line] = expected_lines(state, CATALOGUE, MONDAY, DAYS)
    np.testing.assert_allclose(line.arrived[:4], [0.5, 0.75, 0.875, 0.9375])


def test_an_order_that_is_not_confirmed_brings_the_share_that_was_announced() -> None:
    state = scene("order 10 placed -1")
    told = Announcement("acme", None, day("-3"), day("+3"), Decimal("0.6"))
    state.announced["acme"] = told
    assert project(state, CATALOGUE, need_of(VIAL, []), NOW).supply[0, -1] == pytest.approx(6)
    state.announced["acme"] = told._replace(first_day=day("+0"))
    assert project(state, CATALOGUE, need_of(VIAL, []), NOW).supply[0, -1] == 10
    state.announced["acme"] = told
    state.orders["o0"].lines[VIAL].confirmed = 8
    assert project(state, CATALOGUE, need_of(VIAL, []), NOW).supply[0, -1] == 8


def test_many_uncertain_orders_are_taken_at_their_mean_beyond_some() -> None:
    text = "\n".join("order 1 placed -1 promised +1" for _ in range(UNCERTAIN_MOST + 3))
    need = need_of(VIAL, [0.0, 1.0])
    outlook = project(scene(text), CATALOGUE, need, NOW)
    # the mean of three is more than the two vials needed
    assert outlook.risk[0, 1] == pytest.approx(0.0, abs=1e-9)
    alone = project(scene("order 1 placed -1 promised +1"), CATALOGUE, need, NOW)
    assert alone.risk[0, 1] == pytest.approx(1 - LATE)


def test_nothing_at_a_site_is_an_empty_outlook() -> None:
    nothing = Need(MONDAY, (), *(np.zeros((0, DAYS)) for _ in range(4)))
    outlook: Outlook = project(SiteState(SITE), CATALOGUE, nothing, NOW)
    assert outlook.supply.shape == outlook.risk.shape == (0, DAYS)
    assert outlook.expiring == ()

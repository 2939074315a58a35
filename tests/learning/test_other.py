"""Use that no booking explains: the two methods, their choice, and what counts do not find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.learning.other import ALPHA, BETA, Intermittent, Other
from tests.learning.use_clinic import CATHETER, KETAMINE, KETOROLAC, MAGNESIUM, SOUTH, VITAMIN, Clinic, drawn
from tests.plan.clinic import NORTH

DAY = 740_000


def intermittent(seed: int, days: int, chance: float, sizes: tuple[int, ...] = (1, 2, 3)) -> list[float]:
    rng = drawn(seed)
    return [float(rng.choice(sizes)) if rng.random() < chance else 0.0 for _ in range(days)]


def followed(series: list[float]) -> Intermittent:
    """With constant gains from the first day on, as statsforecast has them."""
    known = Intermittent()
    for number, amount in enumerate(series):
        known.step(amount, chance_gain=BETA if number else 1.0, size_gain=ALPHA)
    return known


def lived(series: list[float], item: str = "x") -> Other:
    other = Other()
    for number, amount in enumerate(series):
        other.close_day(DAY + number, {item: amount} if amount else {}, is_open=True)
    return other


# --- the methods ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chance", [0.05, 0.3, 0.9])
def test_both_methods_say_what_statsforecast_says(seed: int, chance: float) -> None:
    models: Any = pytest.importorskip("statsforecast.models", reason="statsforecast, an optional extra, is not there")
    series = intermittent(seed, 120, chance)
    known, array = followed(series), np.array(series)
    tsb = models.TSB(alpha_d=ALPHA, alpha_p=BETA).forecast(y=array, h=1)["mean"][0]
    sba = models.CrostonSBA().forecast(y=array, h=1)["mean"][0]
    assert known.tsb == pytest.approx(tsb, rel=1e-5)
    assert known.sba == pytest.approx(sba, rel=1e-5)


def test_a_textbook_instance_by_hand() -> None:
    """Two uses of 4 and 6, with 3 days before the first and 2 between: z = 4.2, q = 3.9, p as each day moves it."""
    known = followed([0.0, 0.0, 4.0, 0.0, 6.0])
    p = 0.05
    p = 0.95 * p
    p = 0.95 * p + 0.05
    assert known.size == pytest.approx(4.2)
    assert known.interval == pytest.approx(2.9)
    assert known.chance == pytest.approx(p)
    assert known.sba == pytest.approx(0.95 * 4.2 / 2.9)
    assert known.tsb == pytest.approx(4.2 * p)


def test_the_distribution_of_a_day_is_the_compound_bernoulli() -> None:
    """Long after the beginning, mean and variance are near those of what is drawn."""
    chance, sizes = 0.2, (1, 2, 6)
    means, variances = zip(
        *(lived(intermittent(seed, 400, chance, sizes)).expected("x") for seed in range(60)), strict=True
    )
    first, second = chance * 3, chance * (1 + 4 + 36) / 3
    assert np.mean(means) == pytest.approx(first, rel=0.08)
    assert np.mean(variances) == pytest.approx(second - first**2, rel=0.12)


def test_it_works_from_the_first_week_on() -> None:
    """At the beginning both are plain averages: five days of one container say nearly one a day."""
    known = lived([1.0] * 5).told["x"]
    assert known.tsb == pytest.approx(5 / 6)
    assert known.sba == pytest.approx(0.95)
    assert lived([0.0] * 9 + [1.0]).expected("x").mean == pytest.approx(0.1, abs=0.02)


def test_what_is_used_no_more_is_forgotten_by_tsb() -> None:
    series = intermittent(1, 100, 0.5) + [0.0] * 60
    known = lived(series).told["x"]
    assert known.method == "TSB"
    assert known.expected().mean < 0.1
    assert known.sba > 0.5, "SBA would still expect it"
    assert "x" not in lived(series + [0.0] * 200).told


def test_the_better_method_is_used() -> None:
    """Of steady, rare use SBA tells more: it does not move on days without any."""
    chosen = [lived(intermittent(seed, 500, 0.1, (4,))).told["x"].method for seed in range(20)]
    assert chosen.count("SBA") > 10
    for seed in range(5):
        known = lived(intermittent(seed, 200, 0.3)).told["x"]
        best = min(("TSB", known.tsb_error), ("SBA", known.sba_error), key=lambda pair: pair[1])
        assert known.method == best[0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e4), max_size=80))
def test_never_negative_and_equal_after_a_restore(series: list[float]) -> None:
    other = Other()
    for number, amount in enumerate(series):
        other.close_day(DAY + number, {"x": amount}, is_open=number % 3 > 0)
        assert Other.decode(other.encode()) == other
        mean, variance = other.expected("x")
        assert mean >= 0
        assert variance >= 0


def test_closed_days_without_use_change_nothing() -> None:
    open_only, with_closed = lived([1.0, 0.0, 2.0]), Other()
    for number, (amount, is_open) in enumerate([(1.0, True), (0.0, False), (0.0, True), (0.0, False), (2.0, True)]):
        with_closed.close_day(DAY + number, {"x": amount} if amount else {}, is_open=is_open)
    assert with_closed.expected("x") == open_only.expected("x")


# --- through the plan step ----------------------------------------------------------------------------------


def test_dispenses_without_a_booking_become_need_of_open_days() -> None:
    rng = drawn(7)

    def emergency(day: int) -> None:
        if rng.random() < 0.4:
            clinic.stock("stock.dispensed", KETAMINE, quantity=2)

    clinic = Clinic(per_day=1)
    clinic.run(60, emergency)
    mean, variance = clinic.learned.other.expected(KETAMINE)
    assert mean == pytest.approx(0.8, abs=0.35)
    need = clinic.need()
    row = need.items.index(KETAMINE)
    assert need.other_mean is not None
    assert need.to_come_mean[row] == pytest.approx(need.other_mean[row])
    assert need.other_mean[row] == pytest.approx(mean)
    assert need.cumulative_variance is not None
    assert need.cumulative_variance[row, 9] == pytest.approx(10 * variance)
    assert not need.other_mean[need.items.index(CATHETER)].any()
    explained = clinic.driver.step.explain(NORTH, KETAMINE)
    assert explained.unexplained == pytest.approx(explained.need.to_come_mean)
    assert "without a booking" in " ".join(figure.words for figure in explained.learned)


def test_groups_and_components_carry_it() -> None:
    clinic = Clinic(per_day=1)
    before = clinic.run(20).need().totals
    clinic = Clinic(per_day=1)
    after = clinic.run(20, lambda day: _dispense(clinic, KETAMINE, 3)).need().totals
    mean = clinic.learned.other.expected(KETAMINE).mean
    assert before is not None
    assert after is not None
    group, component = (("group", "drugs"), ("component", "ketamine"))
    for key, amount in ((group, 1.0), (component, 20.0)):
        more = after.to_come_mean[after.keys.index(key)].sum() - before.to_come_mean[before.keys.index(key)].sum()
        assert more == pytest.approx(amount * mean * after.to_come_mean.shape[1], rel=1e-6), key


def _dispense(clinic: Clinic, item: str, quantity: int) -> None:
    clinic.stock("stock.dispensed", item, quantity=quantity)


def test_a_drug_that_no_protocol_asked_for_is_other_use() -> None:
    clinic = Clinic(per_day=1, told=lambda number: {KETAMINE: ("containers", 1.0)} if number % 5 == 0 else {})
    clinic.run(40)
    assert clinic.learned.other.expected(KETAMINE).mean == pytest.approx(0.2, abs=0.1)
    assert clinic.factor(KETAMINE) == 1.0


def test_transfers_are_no_use() -> None:
    clinic = Clinic(per_day=1)

    def transfer(day: int) -> None:
        assert clinic.stock("stock.transferred-out", KETAMINE, quantity=5, to_site=SOUTH).endswith("applied")

    clinic.run(10, transfer)
    assert clinic.learned.other.items == set()


def test_what_counts_do_not_find_is_other_use_beyond_the_tolerance() -> None:
    """Ketamine is never booked: 20 containers missing every 10 days are 2 a day, weighed against 30 days without."""
    clinic = Clinic(per_day=1, stock=300)
    clinic.count(KETAMINE, 0)
    clinic.run(64, lambda day: clinic.count(KETAMINE, 20) if day and day % 10 == 0 else None)
    mean, variance = clinic.learned.other.expected(KETAMINE)
    decayed_days = sum(10 * 0.5 ** ((60 - day) / 90) for day in range(10, 61, 10))
    assert mean == pytest.approx(2 * decayed_days / (decayed_days + 30), rel=0.05)
    assert variance >= mean
    said = " ".join(figure.words for figure in clinic.driver.step.explain(NORTH, KETAMINE).learned)
    assert "only counts find" in said
    clinic = Clinic(per_day=1, stock=300)
    clinic.count(KETAMINE, 0)
    clinic.run(30, lambda day: clinic.count(KETAMINE, 10) if day % 10 == 9 else None)
    assert clinic.learned.other.expected(KETAMINE) == (0.0, 0.0), "a twentieth of what is there is tolerated"


def test_the_first_count_teaches_nothing_and_a_surplus_takes_back() -> None:
    clinic = Clinic(per_day=1, stock=300)
    clinic.count(KETAMINE, 90)
    clinic.run(8)
    assert clinic.learned.other.items == set()
    clinic.count(KETAMINE, 90)
    clinic.run(8)
    assert clinic.learned.other.expected(KETAMINE).mean > 1.5
    clinic.count(KETAMINE, -90)
    clinic.run(8)
    assert clinic.learned.other.expected(KETAMINE).mean == pytest.approx(0.0, abs=0.15)


def test_at_a_site_that_dispenses_what_no_session_asked_for_is_other_use() -> None:
    clinic = Clinic(SOUTH, per_day=0)
    clinic.run(30, lambda day: _dispense(clinic, KETOROLAC, 2) if day % 3 == 0 else None)
    assert clinic.learned.other.expected(KETOROLAC).mean == pytest.approx(2 / 3, abs=0.25)
    assert clinic.factor(KETOROLAC) == 1.0


def test_volumes_are_told_in_containers() -> None:
    clinic = Clinic(per_day=1)

    def dispense(day: int) -> None:
        clinic.stock("stock.dispensed", VITAMIN, volume_ml="15")

    clinic.run(30, dispense)
    assert clinic.learned.other.expected(VITAMIN).mean == pytest.approx(0.5, abs=0.05)
    assert clinic.learned.other.expected(MAGNESIUM).mean == 0

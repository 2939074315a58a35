"""What sessions really use, and what is wasted: recovered where the truth is known, and carried into the need."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.expansion.profile import typical
from planner.learning.daily_use import realised_use
from planner.learning.use import HALF_LIFE_DAYS, LARGEST, PRIOR_USES, SMALLEST, Use
from planner.learning.using import Using
from planner.site.state import Moments, Profile
from tests.learning.use_clinic import (
    CATALOGUE,
    CATHETER,
    KETAMINE,
    KETOROLAC,
    MAGNESIUM,
    NORTH,
    SOUTH,
    VITAMIN,
    Clinic,
    Told,
    drawn,
)
from tests.plan.clinic import MONDAY, at

DAY = 740_000
_TYPICAL = typical(CATALOGUE, NORTH, "infusion", MONDAY)
assert _TYPICAL is not None
CATHETERS = float(_TYPICAL.items[CATHETER].mean)
"""That a session is expected to use."""


def profile(mean: float, variance: float = 0.0, item: str = "x") -> Profile:
    moments = Moments(Decimal(str(mean)), Decimal(str(variance)), Decimal(str(mean * 3 + 1)), Decimal(0))
    return Profile(f"{mean}/{variance}/{item}", "p", 1, "c", {item: moments})


def told(amounts: list[float], expected: Profile) -> dict[str, list[float]]:
    """What completions told of sessions of one profile."""
    ((item, moments),) = expected.items.items()
    e, v, a = float(moments.mean), float(moments.variance), np.array(amounts)
    return {item: [a.size, a.sum(), e * a.size, v * a.size, (a * a).sum(), (a * e).sum(), e * e * a.size]}


def learn(use: Use, amounts: list[float], expected: Profile, *, untold: int = 0) -> None:
    """One day's sessions of a profile; of the last ``untold`` nobody tells."""
    use.age()
    sessions = {expected.id: float(len(amounts) + untold)}
    use.learn(use.expect(sessions, {expected.id: expected}, DAY), told(amounts, expected) if amounts else {})


def spread(use: Use, expected: Profile) -> float:
    """Variance of a session's use, as learned."""
    ((item, moments),) = expected.items.items()
    factors = use.use_factors([item])
    return float(factors.variance[0] * float(moments.variance) + factors.added[0] * float(moments.mean))


# --- the ratio --------------------------------------------------------------------------------------------


def test_nothing_is_known_at_first() -> None:
    use = Use()
    assert use.mean_factor("x") == 1.0
    assert use.variance_factor("x") == 1.0
    assert [list(values) for values in use.use_factors(["x", "y"])] == [[1, 1], [1, 1], [0, 0]]
    assert use.learnt("x") is None


def test_the_prior_weighs_as_much_as_it_says() -> None:
    """``PRIOR_USES`` sessions that used three times as much stand against as many that went as the protocol says."""
    use = Use()
    learn(use, [6.0] * round(PRIOR_USES), profile(2.0))
    assert use.mean_factor("x") == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("truth", [0.4, 1.0, 1.35, 2.5])
def test_the_truth_is_recovered(truth: float) -> None:
    """PRN with probability .3 of 2 containers, really given as often as ``truth`` says: a ratio within its error."""
    rng, expected = drawn(11), profile(0.6, 0.3 * 0.7 * 4)
    use, chance = Use(), min(0.3 * truth, 1.0)
    for _ in range(90):
        learn(use, [2.0 * float(rng.random() < chance) for _ in range(8)], expected)
    assert use.mean_factor("x") == pytest.approx(chance / 0.3, rel=0.12)
    assert spread(use, expected) == pytest.approx(4 * chance * (1 - chance), rel=0.2)


def test_a_fixed_dose_that_varies_gets_a_variance() -> None:
    """The protocol says two containers, always; one to five are used."""
    rng, expected, use = drawn(3), profile(2.0), Use()
    for _ in range(60):
        learn(use, [float(rng.integers(1, 6)) for _ in range(8)], expected)
    assert use.mean_factor("x") == pytest.approx(1.5, rel=0.05)
    assert spread(use, expected) == pytest.approx(2.0, rel=0.12)


def test_use_steadier_than_stated_gets_a_smaller_variance() -> None:
    expected, use = profile(1.0, 4.0), Use()
    for _ in range(60):
        learn(use, [1.0] * 8, expected)
    assert use.mean_factor("x") == 1.0
    assert spread(use, expected) < 0.6


def test_change_is_followed() -> None:
    use, expected = Use(), profile(2.0)
    for _ in range(200):
        learn(use, [2.0] * 4, expected)
    for _ in range(round(HALF_LIFE_DAYS)):
        learn(use, [4.0] * 4, expected)
    assert use.mean_factor("x") > 1.5
    for _ in range(3000):
        use.age()
    assert use.mean_factor("x") == 1.0
    assert use.items == [], "an item that nothing uses any more is forgotten"


def test_told_deviations_among_many_silent_sessions_do_not_mislead() -> None:
    """One in ten sessions uses double, and only those are told: the others went as expected, and the books say so."""
    use, expected = Use(), profile(2.0)
    for _ in range(60):
        learn(use, [4.0], expected, untold=9)
    assert use.mean_factor("x") == pytest.approx(1.1, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1e6), max_size=5), max_size=12), st.floats(0.01, 50), st.floats(0, 50))
def test_factors_stay_in_their_bounds_and_come_back_the_same(days: list[list[float]], e: float, v: float) -> None:
    use, expected = Use(), profile(e, v)
    for amounts in days:
        learn(use, amounts, expected, untold=1)
        restored = Use.decode(use.encode())
        assert restored == use
        assert restored.changed() == use.changed()
    factors = use.use_factors(["x"])
    assert SMALLEST <= factors.mean[0] <= LARGEST
    assert factors.variance[0] >= 0
    assert factors.added[0] >= 0


# --- counts -----------------------------------------------------------------------------------------------


def test_a_count_corrects_what_was_presumed() -> None:
    """A fifth of 400 containers is missing at each of many counts, and nobody told of any session."""
    use, expected = Use(), profile(2.0)
    use.first_count("x")
    rest = 0.0
    for _ in range(6):
        for _ in range(20):
            learn(use, [], expected, untold=10)
        rest += use.learn_count("x", 80.0)
    assert rest == 0.0
    assert use.presumed("x") == pytest.approx(1.2, abs=0.01)
    assert use.mean_factor("x") == pytest.approx(1.2, abs=0.01)


def test_a_count_explains_no_more_than_sessions_can_have_used() -> None:
    use, expected = Use(), profile(2.0)
    learn(use, [], expected, untold=10)
    assert use.learn_count("x", 25.0) == pytest.approx(15.0), "half of the 20 presumed"
    learn(use, [], expected, untold=10)
    assert use.learn_count("x", -25.0) == pytest.approx(-5.0), "no session uses less than nothing"
    learn(use, [2.0] * 10, expected)
    assert use.learn_count("x", 5.0) == 5.0, "where use is told, a count says nothing about it"


# --- through the plan step ----------------------------------------------------------------------------------


def more_magnesium(rng: np.random.Generator) -> Callable[[int], Told]:
    """Sessions take 2 vials, and a third one in every second."""

    def tell(number: int) -> Told:
        return {MAGNESIUM: ("containers", 2.0 + float(rng.random() < 0.5))}

    return tell


def test_the_need_moves_with_what_completions_tell() -> None:
    plain, clinic = Clinic(), Clinic(told=more_magnesium(drawn(5)))
    for each in (plain, clinic):
        each.run(40)
        later = [f"later-{number}" for number in range(12)]
        stated = (each.desk.stated(name, _later(each), _now(each)) for name in later)
        each.driver.feed("requirements", *stated)
    factor = clinic.factor(MAGNESIUM)
    assert factor == pytest.approx(1.25, abs=0.05)
    before, after = plain.need(), clinic.need()
    row = before.items.index(MAGNESIUM)
    planned = [each.driver.step.outlook(NORTH).cumulative_mean[row, -1] for each in (plain, clinic)]
    assert planned[1] > 1.15 * planned[0], "the plan itself goes by it"
    assert after.firm_mean[row].sum() == pytest.approx(factor * before.firm_mean[row].sum())
    assert after.to_come_mean[row].sum() == pytest.approx(factor * before.to_come_mean[row].sum())
    assert after.firm_variance[row].sum() > factor**2 * before.firm_variance[row].sum()
    for item in (CATHETER, KETOROLAC, VITAMIN):
        same = before.items.index(item)
        assert np.array_equal(after.firm_mean[same], before.firm_mean[same]), item
    assert before.totals is not None
    assert after.totals is not None
    component = before.totals.keys.index(("component", "magnesium"))
    group = before.totals.keys.index(("group", "drugs"))
    moved = after.firm_mean[row] - before.firm_mean[row]
    assert after.totals.firm_mean[component] == pytest.approx(factor * before.totals.firm_mean[component])
    assert after.totals.firm_mean[group] - before.totals.firm_mean[group] == pytest.approx(moved)


def _now(clinic: Clinic) -> datetime:
    return at(clinic.day, "08:00", clinic.site)


def _later(clinic: Clinic) -> datetime:
    return at(clinic.day + 5, "10:00", clinic.site)


def test_what_is_only_probable_is_learned() -> None:
    """Ketorolac is given in one session of ten instead of three; of catheters two are taken."""
    rng = drawn(2)

    def tell(number: int) -> Told:
        return {KETOROLAC: ("containers", float(rng.random() < 0.1)), CATHETER: ("containers", 2.0)}

    clinic = Clinic(told=tell).run(50)
    assert clinic.factor(KETOROLAC) == pytest.approx(0.45, abs=0.15)
    assert clinic.factor(CATHETER) == pytest.approx(2 / CATHETERS, rel=0.07)
    assert clinic.learned.use.variance_factor(CATHETER) < 1


def test_volumes_of_a_multi_dose_item_are_learned_in_ml() -> None:
    clinic = Clinic(told=lambda number: {VITAMIN: ("volume_ml", 3.0)}).run(30)
    assert clinic.factor(VITAMIN) == pytest.approx(1.5, abs=0.08)
    need, plain = clinic.need(), Clinic().run(30).need()
    row = need.items.index(VITAMIN)
    assert need.mean[row].sum() > plain.mean[row].sum()


def test_supplies_do_not_inherit_a_drugs_use_or_waste() -> None:
    clinic = Clinic(told=lambda number: {MAGNESIUM: ("containers", 4.0)})
    clinic.run(20, lambda day: _waste(clinic, MAGNESIUM, 3))
    assert clinic.factor(MAGNESIUM) > 1.8
    for item in (CATHETER, KETOROLAC, VITAMIN, KETAMINE):
        assert item not in clinic.learned.use.changed(), item


def _waste(clinic: Clinic, item: str, quantity: int, reason: str = "prepared-not-used") -> None:
    said = clinic.stock("stock.wasted", item, quantity=quantity, reason=reason, witness="w")
    assert said.endswith("applied"), said


def test_waste_is_part_of_the_factor_and_told_apart() -> None:
    """4 sessions of 2 vials a day, and one vial broken every second day: 1/16 of what is used."""
    clinic = Clinic(told=lambda number: {MAGNESIUM: ("containers", 2.0)})
    clinic.run(60, lambda day: _waste(clinic, MAGNESIUM, 1, "broken") if day % 2 else None)
    known = clinic.learned.use.learnt(MAGNESIUM)
    assert known is not None
    assert known.use == pytest.approx(1.0, abs=1e-3)
    assert known.waste == pytest.approx(1 / 16, rel=0.15)
    assert clinic.factor(MAGNESIUM) == pytest.approx(known.use + known.waste, abs=1e-3)
    assert clinic.learned.use.use_factors([MAGNESIUM]).added[0] == pytest.approx(known.waste, rel=0.02)


@pytest.mark.parametrize("reason", ["expired", "recalled"])
def test_what_expires_is_no_waste_of_the_process(reason: str) -> None:
    clinic = Clinic().run(5)
    clinic.run(10, lambda day: _waste(clinic, MAGNESIUM, 3, reason))
    assert clinic.factor(MAGNESIUM) == 1.0
    assert clinic.learned.other.items == set()


def test_the_rest_of_an_open_container_is_not_counted_twice() -> None:
    clinic = Clinic().run(5)
    clinic.run(10, lambda day: _waste(clinic, VITAMIN, 1, "open-expired"))
    assert clinic.factor(VITAMIN) == 1.0
    clinic.run(10, lambda day: _waste(clinic, VITAMIN, 1, "broken"))
    assert clinic.factor(VITAMIN) > 1.0


def test_waste_of_what_no_session_uses_is_other_use() -> None:
    clinic = Clinic().run(20)
    clinic.run(10, lambda day: _waste(clinic, KETAMINE, 1, "broken"))
    assert clinic.factor(KETAMINE) == 1.0
    assert clinic.learned.other.expected(KETAMINE).mean > 0.2


def _dispense(clinic: Clinic, item: str, quantity: int) -> None:
    clinic.stock("stock.dispensed", item, quantity=quantity)


def test_at_a_site_that_dispenses_the_day_tells() -> None:
    """10 vials of magnesium for four sessions of two, and of the vitamin 12 mL for four of 2 mL."""
    clinic = Clinic(SOUTH)

    def dispense(day: int) -> None:
        clinic.stock("stock.dispensed", MAGNESIUM, quantity=10)
        clinic.stock("stock.dispensed", VITAMIN, volume_ml="12")

    clinic.run(60, dispense)
    assert clinic.factor(MAGNESIUM) == pytest.approx(1.25, abs=0.03)
    assert clinic.factor(VITAMIN) == pytest.approx(1.5, abs=0.06)
    assert clinic.factor(KETOROLAC) < 0.2, "none of it was dispensed"
    assert clinic.learned.other.items == set()
    words = " ".join(figure.words for figure in clinic.driver.step.explain(SOUTH, MAGNESIUM).learned)
    assert "the dispenses of" in words


def test_whole_containers_of_a_multi_dose_item_do_not_tell_what_sessions_use() -> None:
    """The rest of an opened container is waste that the need has already."""
    clinic = Clinic(SOUTH)
    clinic.run(30, lambda day: _dispense(clinic, VITAMIN, 1) if day % 2 else None)
    assert clinic.factor(VITAMIN) == 1.0


def test_at_a_site_that_dispenses_sessions_nobody_tells_of_count_as_the_policy_says() -> None:
    clinic = Clinic(SOUTH, per_day=0)
    for _ in range(40):
        begin = _now(clinic)
        names = [f"u{clinic.day}-{number}" for number in range(4)]
        clinic.driver.feed("requirements", *(clinic.desk.stated(name, begin, begin) for name in names))
        clinic.stock("stock.dispensed", MAGNESIUM, quantity=8)
        clinic.close()
    assert clinic.factor(MAGNESIUM) == pytest.approx(1 / 0.95, abs=0.01)


def test_counts_correct_the_factor_and_not_other_use() -> None:
    """Nobody tells of sessions; every ten days 16 of the 80 vials presumed are missing beside."""
    clinic = Clinic(stock=1_000)
    clinic.count(MAGNESIUM, 0)
    clinic.run(64, lambda day: clinic.count(MAGNESIUM, 16) if day % 10 == 9 else None)
    known = clinic.learned.use.learnt(MAGNESIUM)
    assert known is not None
    assert known.presumed == pytest.approx(1.2, abs=0.04)
    assert clinic.factor(MAGNESIUM) == pytest.approx(1.18, abs=0.04)
    assert clinic.learned.other.expected(MAGNESIUM).mean == 0.0
    words = " ".join(figure.words for figure in clinic.driver.step.explain(NORTH, MAGNESIUM).learned)
    assert "By the counts" in words


def test_frequent_counts_teach_as_well() -> None:
    clinic = Clinic(stock=2_000)
    clinic.count(MAGNESIUM, 0)
    clinic.run(40, lambda day: clinic.count(MAGNESIUM, 2))
    assert clinic.factor(MAGNESIUM) == pytest.approx(1.23, abs=0.04)


# --- what is realised -------------------------------------------------------------------------------------


def test_realised_use_is_what_left_the_shelf() -> None:
    clinic = Clinic(told=lambda number: {MAGNESIUM: ("containers", 3.0)} if number % 2 else {})
    clinic.treat()
    clinic.stock("stock.wasted", MAGNESIUM, quantity=1, reason="broken")
    clinic.stock("stock.wasted", MAGNESIUM, quantity=5, reason="expired")
    clinic.stock("stock.dispensed", KETAMINE, quantity=2)
    state = clinic.driver.step.sites[NORTH]
    used = realised_use(state, CATALOGUE, clinic.today.toordinal())
    assert used[MAGNESIUM] == pytest.approx(2 * 3 + 2 * 2 + 1)
    assert used[KETAMINE] == 2
    assert used[VITAMIN] == 1, "four doses of 2 mL from one container of 30 mL"
    assert used[CATHETER] == pytest.approx(4 * CATHETERS)


def test_what_is_realised_is_on_average_what_the_need_says() -> None:
    """Told use, waste and use without a booking together: none is left out, none counted twice."""
    rng = drawn(8)
    clinic = Clinic(told=more_magnesium(rng))
    realised: list[float] = []

    def day(number: int) -> None:
        if rng.random() < 0.3:
            _waste(clinic, MAGNESIUM, 1)
        if rng.random() < 0.2:
            clinic.stock("stock.dispensed", MAGNESIUM, quantity=2)
        state = clinic.driver.step.sites[NORTH]
        realised.append(realised_use(state, CATALOGUE, clinic.today.toordinal())[MAGNESIUM])

    clinic.run(90, day)
    per_session = 2 * clinic.factor(MAGNESIUM)
    told_of = 4 * per_session + clinic.learned.other.expected(MAGNESIUM).mean
    assert told_of == pytest.approx(float(np.mean(realised)), rel=0.05)


# --- the table --------------------------------------------------------------------------------------------


def busy(seed: int) -> Clinic:
    """Some of everything, a little late."""
    rng = drawn(seed)

    def tell(number: int) -> Told:
        return {} if rng.random() < 0.4 else {MAGNESIUM: ("containers", float(rng.integers(1, 5)))}

    clinic = Clinic(told=tell, stock=500)

    def day(number: int) -> None:
        item = (MAGNESIUM, CATHETER, VITAMIN, KETAMINE)[int(rng.integers(4))]
        if rng.random() < 0.5:
            clinic.count(item, int(rng.integers(-3, 12)), clock="11:00")
        if rng.random() < 0.5:
            _waste(clinic, item, int(rng.integers(1, 4)))
        if rng.random() < 0.5:
            clinic.stock("stock.dispensed", item, "18:30", quantity=int(rng.integers(1, 4)))

    clinic.run(12, day)
    return clinic


@pytest.mark.parametrize("seed", range(3))
def test_a_restart_changes_nothing(seed: int) -> None:
    clinic = busy(seed)
    kept, outlook = clinic.learned, clinic.driver.step.outlook(NORTH)
    clinic.driver.restart()
    restored = clinic.learned
    for name in ("using", "use", "other"):
        assert restored.part(name) == kept.part(name), name
    again = clinic.driver.step.outlook(NORTH)
    assert again.need.items == outlook.need.items
    for name in ("firm_mean", "firm_variance", "to_come_mean", "to_come_variance"):
        assert np.array_equal(getattr(again.need, name), getattr(outlook.need, name)), name


def test_touched_days_alone_are_as_good_as_all() -> None:
    """After an event within a day the need is, to the bit, what a fresh start computes."""
    clinic = busy(9)
    clinic.driver.step.outlook(NORTH)
    clinic.driver.feed("requirements", clinic.desk.stated("one-more", _later(clinic), _now(clinic)))
    touched = clinic.driver.step.outlook(NORTH).need
    clinic.driver.restart()
    afresh = clinic.driver.step.outlook(NORTH).need
    assert np.array_equal(touched.firm_mean, afresh.firm_mean)
    assert np.array_equal(touched.to_come_variance, afresh.to_come_variance)
    assert touched.totals is not None
    assert afresh.totals is not None
    assert np.array_equal(touched.totals.firm_variance, afresh.totals.firm_variance)


def test_entries_stay_small_and_of_one_format() -> None:
    clinic = busy(4)
    sizes = {name: len(clinic.learned.part(name).encode()) for name in ("using", "use", "other")}
    assert all(size < 4_000 for size in sizes.values()), sizes
    assert len(clinic.learned.using.days) <= 4
    with pytest.raises(ValueError, match="format 9"):
        Using.decode(b"[9]")


def test_what_is_told_late_counts_once() -> None:
    """A completion told ten days later is learned from then; a day that is settled already is not opened again."""
    clinic = Clinic(per_day=0)
    start = _now(clinic)
    clinic.driver.feed("requirements", clinic.desk.stated("late", start, start))
    clinic.run(10)
    assert clinic.learned.use.learnt(MAGNESIUM) is None
    told_of = [{"item": MAGNESIUM, "containers": "5"}]
    clinic.driver.feed("requirements", clinic.desk.used("late", _now(clinic), told_of))
    clinic.run(5)
    known = clinic.learned.use.learnt(MAGNESIUM)
    assert known is not None
    assert known.told == 1
    assert known.use == pytest.approx((5 + 20) / (2 + 20), abs=0.01)


def test_the_explanation_adds_up_and_says_what_was_learned() -> None:
    clinic = Clinic(told=more_magnesium(drawn(5))).run(30)
    clinic.driver.feed("requirements", clinic.desk.stated("next", _now(clinic), _now(clinic)))
    found = clinic.driver.step.explain(NORTH, MAGNESIUM)
    assert sum(booking.expected for booking in found.bookings) == pytest.approx(found.need.firm_mean)
    parts = sum(part.expected for part in found.to_come) + found.unexplained
    assert parts == pytest.approx(found.need.to_come_mean)
    figures = {figure.name: figure for figure in found.learned}
    known = clinic.learned.use.learnt(MAGNESIUM)
    assert known is not None
    assert known.told == 4 * 30
    assert figures["use per session"].value == pytest.approx(known.use)
    assert "learned from 120 sessions since Mon 16 Nov 2026; prior 1" in figures["use per session"].words
    others = {figure.name for figure in clinic.driver.step.explain(NORTH, CATHETER).learned}
    assert not others & {"use per session", "waste per use", "use nobody told", "spread of use"}

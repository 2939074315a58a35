"""The planner scores its own forecasts: factors, coverage, the simple method, drift; small, equal after a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from planner.forecast.outlook import Floats
from planner.forecast.quantiles import quantiles
from planner.learning import calibration, simple
from planner.learning.calibration import LEADS, STRIDES
from planner.learning.compact import TOLERANCE, decoded, encoded
from planner.learning.drift import Drift
from planner.learning.scores import SESSIONS, Scores

MONDAY = 740_020
"""An ordinal that is a Monday's."""
OPEN = np.ones(LEADS[-1], dtype=np.bool_)
DAYS = np.array(LEADS, np.float64)


@dataclass
class Site:
    """Days of a site whose need is drawn from a known distribution, and what its forecasts say."""

    names: tuple[str, ...] = ("group/drugs", "item/vial")
    mean: float = 20.0
    dispersion: float = 1.0
    """Variance ÷ mean of the claims, days independent."""
    scores: Scores = field(default_factory=Scores)
    day: int = MONDAY
    use: list[float] = field(default_factory=list)
    bounds: list[Floats] = field(default_factory=list)
    """Of each day the claimed quantiles .9 and .95 by lead."""
    drifts: list[Drift | None] = field(default_factory=list)

    def pass_days(self, days: int, draw: Callable[[int], float], *, lag: int = 0) -> None:
        for _ in range(days):
            total = np.outer(DAYS, np.full(len(self.names), self.mean))
            factor = self.scores.factors_by_day(self.names, 90)[0][np.array(LEADS) - 1]
            self.bounds.append(quantiles(DAYS * self.mean, DAYS * self.mean * self.dispersion * factor, (0.9, 0.95)))
            assert self.scores.note(self.day - 1, self.names, total, total * self.dispersion, OPEN)
            self.use.append(draw(self.day))
            if len(self.use) > lag:
                amount = self.use[-1 - lag]
                self.scores.settle(self.day - lag, dict.fromkeys(self.names, amount), is_open=True)
            standing = bool(self.drifts) and self.drifts[-1] is not None
            self.drifts.append(self.scores.drift(self.names[0], standing=standing))
            self.day += 1

    def coverage(self, lead: int, first: int, last: int) -> Floats:
        """Share of totals of origins first … last within the claimed quantiles .9 and .95."""
        length = LEADS[lead]
        running = np.concatenate(([0.0], np.cumsum(self.use)))
        within = [running[o + length] - running[o] <= self.bounds[o][:, lead] for o in range(first, last)]
        shares: Floats = np.mean(within, axis=0)
        return shares


def gamma_poisson(seed: int, mean: float, dispersion: float) -> Callable[[int], float]:
    """Counts with this mean and variance ÷ mean."""
    rng = np.random.default_rng(seed)
    if dispersion <= 1:
        return lambda _: float(rng.poisson(mean))
    return lambda _: float(rng.poisson(rng.gamma(mean / (dispersion - 1), dispersion - 1)))


# --- what is scored -----------------------------------------------------------------------------------------


def test_totals_are_scored_against_what_they_came_to() -> None:
    scores = Scores()
    names = (SESSIONS,)  # whose claims no factor changes
    use = [3.0, 0.0, 5.0, 2.0, 4.0, 1.0, 6.0, 2.0, 3.0]
    mean, spread = DAYS[:, None] * 2.0, DAYS[:, None] * 3.0
    for ahead, amount in enumerate(use):
        day = MONDAY + ahead
        assert scores.note(day - 1, names, mean, spread, OPEN)
        assert not scores.note(day - 1, names, mean, spread, OPEN), "an origin is noted once"
        scores.settle(day, {SESSIONS: amount}, is_open=True)
    decay = 0.5 ** (1 / calibration.HALF_LIFE_DAYS)
    weights = decay ** np.arange(len(use))[::-1]
    (one, three, seven) = scores.scores(SESSIONS)
    assert [one.lead, three.lead, seven.lead] == [1, 3, 7]
    assert one.n == pytest.approx(weights.sum(), rel=1e-5)
    assert one.realised == pytest.approx(float(weights @ use / weights.sum()), rel=1e-3)
    assert one.bias == pytest.approx(float(weights @ (np.array(use) - 2.0) / weights.sum()), rel=1e-3)
    levels = quantiles([2.0], [3.0])[:, 0]
    above = np.array(use)[:, None] - levels
    tau = np.array([0.5, 0.8, 0.9, 0.95, 0.99])
    loss = np.maximum(tau * above, (tau - 1) * above).mean(axis=1)
    assert one.pinball == pytest.approx(float(weights @ loss / weights.sum()), rel=1e-3)
    covered = (np.array(use)[:, None] <= levels[1:4]).astype(float)
    assert one.coverage == pytest.approx(tuple(weights @ covered / weights.sum()), rel=1e-5)
    # every second origin at three days: those whose ordinal is even
    origins = [o for o in range(len(use) - 2) if (MONDAY + o - 1) % 2 == 0]
    totals = np.array([sum(use[o : o + 3]) for o in origins])
    weights = decay ** (2 * np.arange(len(origins))[::-1])
    assert three.bias == pytest.approx(float(weights @ (totals - 6.0) / weights.sum()), rel=1e-3)


def test_a_total_is_scored_when_its_last_day_is_settled_and_days_settle_once() -> None:
    site = Site()
    site.pass_days(10, gamma_poisson(1, 20, 1), lag=3)
    assert site.scores.settled == MONDAY + 6
    before = site.scores.encode()
    site.scores.settle(MONDAY + 6, {"item/vial": 99.0}, is_open=True)
    site.scores.settle(MONDAY + 2, {"item/vial": 99.0}, is_open=True)
    assert site.scores.encode() == before
    assert [score.lead for score in site.scores.scores("item/vial")] == [1, 3, 7]


def test_days_that_nobody_closed_are_in_no_total() -> None:
    site = Site()
    site.pass_days(10, lambda _: 20.0)
    site.day += 5
    before = {score.lead: score.n for score in site.scores.scores("item/vial")}
    site.pass_days(2, lambda _: 20.0)
    after = {score.lead: score.n for score in site.scores.scores("item/vial")}
    assert after[1] > before[1]
    assert {lead: n for lead, n in after.items() if lead > 3} == {lead: n for lead, n in before.items() if lead > 3}
    assert max(score.bias for score in site.scores.scores("item/vial")) == pytest.approx(0, abs=0.02)


# --- spread -------------------------------------------------------------------------------------------------


def test_a_claim_that_is_right_keeps_its_spread() -> None:
    factors, covered = [], []
    for seed in range(6):
        site = Site()
        site.pass_days(200, gamma_poisson(seed, 20, 1))
        factors.append([site.scores.spread_factor("group/drugs", lead) for lead in LEADS])
        covered.append([site.coverage(lead, 40, 170) for lead in range(len(LEADS))])
    assert np.mean(factors, axis=0) == pytest.approx(np.ones(len(LEADS)), abs=0.45)
    shares = np.mean(covered, axis=0)
    assert shares[:3] == pytest.approx(np.array([[0.92, 0.96]] * 3), abs=0.04)
    assert shares[3:] == pytest.approx(np.array([[0.9, 0.95]] * 2), abs=0.08), "few independent totals of weeks"


def test_an_under_dispersed_claim_gets_a_factor_and_its_coverage_returns() -> None:
    early, late, factors = [], [], []
    for seed in range(6):
        site = Site()
        site.pass_days(220, gamma_poisson(seed, 20, 4))
        early.append(site.coverage(0, 0, 7))
        late.append([site.coverage(lead, 60, 190) for lead in range(len(LEADS))])
        factors.append([site.scores.spread_factor("item/vial", lead) for lead in LEADS])
    assert np.mean(early, axis=0)[0] < 0.85, "two standard deviations are four as the claim has it"
    assert np.mean(factors, axis=0).min() > 2.5
    shares = np.mean(late, axis=0)
    assert shares[:3, 0] == pytest.approx(np.full(3, 0.9), abs=0.04)
    assert shares[:3, 1] == pytest.approx(np.full(3, 0.95), abs=0.04)
    assert shares[3:, 0].min() > 0.8


def test_an_over_dispersed_claim_is_narrowed() -> None:
    site = Site(dispersion=6.0)
    site.pass_days(200, gamma_poisson(3, 20, 1))
    assert site.scores.spread_factor("item/vial", 1) < 0.5
    assert site.scores.spread_factor("item/vial", 28) < 0.6


def test_one_outlier_widens_little() -> None:
    calm, hit = Site(), Site()
    calm.pass_days(60, gamma_poisson(5, 20, 1))
    draw = gamma_poisson(5, 20, 1)
    hit.pass_days(59, draw)
    draw(0)
    hit.pass_days(1, lambda _: 4_000.0)
    for lead in LEADS:
        ratio = hit.scores.spread_factor("item/vial", lead) / calm.scores.spread_factor("item/vial", lead)
        assert 1 <= ratio < 1.8, (lead, "a third on the standard deviation, for what was 900 of them")


def test_coverage_returns_after_a_level_shift_that_the_forecast_does_not_follow() -> None:
    shares = []
    for seed in range(6):
        site = Site()
        site.pass_days(90, gamma_poisson(seed, 20, 1))
        site.pass_days(60, gamma_poisson(seed + 100, 26, 1))
        shares.append([site.coverage(0, 90, 97), site.coverage(0, 118, 149)])
    at_once, weeks_later = np.mean(shares, axis=0)
    assert at_once[1] < 0.85
    assert weeks_later[1] == pytest.approx(0.95, abs=0.05)


def test_a_rare_item_is_not_taken_for_an_outlier_nor_narrowed() -> None:
    """Used once in twenty days: what is right for a count must not be mistaken for a spread that is wrong."""
    factors = []
    for seed in range(8):
        site = Site(mean=0.05)
        site.pass_days(300, gamma_poisson(seed, 0.05, 1))
        factors.append(site.scores.spread_factor("item/vial", 1))
    assert np.mean(factors) == pytest.approx(1.0, abs=0.3)


def test_factors_between_leads_and_of_what_is_not_known() -> None:
    scores = Scores()
    assert scores.spread_factor("item/unheard-of", 10) == 1.0
    assert scores.factors_by_day(("item/unheard-of",), 90) == pytest.approx(np.ones((1, 90)))
    of_leads = np.array([[1.0], [2.0], [4.0], [4.0], [8.0]])
    by_day = calibration.by_day(of_leads, 90)[0]
    assert by_day[[0, 2, 6, 13, 27]] == pytest.approx(of_leads[:, 0])
    assert 2 < by_day[4] < 4
    assert by_day[60] == pytest.approx(8)
    assert calibration.at_lead(of_leads[:, 0], 5) == pytest.approx(by_day[4])
    with pytest.raises(ValueError, match="lead: 91; expected 1 to 90 days"):
        calibration.at_lead(of_leads[:, 0], 91)


def test_sessions_are_calibrated_where_they_are_forecast() -> None:
    site = Site(names=(SESSIONS, "item/vial"))
    site.pass_days(100, gamma_poisson(2, 20, 6))
    assert [score.factor for score in site.scores.scores(SESSIONS)] == [1.0] * len(LEADS)
    assert site.scores.spread_factor("item/vial", 1) > 2


# --- the simple method ----------------------------------------------------------------------------------------


def test_the_simple_method_knows_weekdays_and_leaves_closed_days_out() -> None:
    use = np.full((simple.WINDOW_DAYS, 1), 4.0)
    last = MONDAY + simple.WINDOW_DAYS - 1
    use[0::7] = 10.0
    use[7] = np.nan  # a Monday on which the site was closed
    means = simple.weekday_means(use, last)
    assert means is not None
    assert means[:, 0] == pytest.approx([10, 4, 4, 4, 4, 4, 4])
    is_open = np.array([True, True, False, True])
    assert simple.daily_means(means, last + 1, is_open)[:, 0] == pytest.approx([10, 4, 0, 4])
    use[13:] = np.nan
    assert simple.weekday_means(use, last) is None, "of less than two weeks it says nothing"


def test_an_item_whose_simple_method_is_better_uses_it_until_the_planner_is_good_again() -> None:
    site = Site(mean=23.0)
    draw = gamma_poisson(4, 20, 1)
    site.pass_days(40, draw)
    assert site.scores.method("vial") == "planner", "a month is too little to judge"
    site.pass_days(80, draw)
    assert site.scores.method("vial") == "simple"
    assert site.scores.method("other") == "planner"
    assert site.scores.simple == {"item/vial"}, "groups have no simple method"
    found = site.scores.simple_forecast(["vial"], site.day, np.ones(90, np.bool_), DAYS[:, None] * 20)
    assert found is not None
    mean, variance = found
    assert mean.shape == variance.shape == (1, 90)
    assert mean[0, :7].sum() == pytest.approx(140, rel=0.1)
    assert np.all(np.diff(variance) >= 0)
    assert 10 < variance[0, 0] < 45
    site.mean = 20.0
    site.pass_days(250, draw)
    assert site.scores.method("vial") == "planner"


def test_an_item_forecast_as_well_as_can_be_keeps_the_planner() -> None:
    for seed in range(4):
        site = Site()
        site.pass_days(150, gamma_poisson(seed, 20, 1))
        assert site.scores.method("vial") == "planner", seed


# --- drift ----------------------------------------------------------------------------------------------------


def test_a_level_shift_is_drift_and_it_is_over_when_the_forecast_has_followed() -> None:
    site = Site()
    site.pass_days(100, gamma_poisson(7, 20, 1))
    assert not any(site.drifts), "nothing has changed"
    site.pass_days(28, gamma_poisson(8, 28, 1))
    raised = next(day for day, drift in enumerate(site.drifts) if drift is not None)
    assert 100 <= raised < 114
    found = site.drifts[-1]
    assert found is not None
    assert 0.1 < found.recent_bias < 0.4
    site.mean = 28.0
    site.pass_days(120, gamma_poisson(9, 28, 1))
    assert site.drifts[-1] is None
    over = [drift is None for drift in site.drifts[100:]]
    assert over.index(True, raised - 100) == len(over) - over[::-1].index(False), "it is raised once"


def test_items_alone_do_not_drift_and_one_outlier_is_none() -> None:
    site = Site()
    site.pass_days(60, gamma_poisson(1, 20, 1))
    site.pass_days(1, lambda _: 2_000.0)
    assert site.scores.drift("group/drugs", standing=False) is None
    assert site.scores.drift("item/vial", standing=False) is None
    assert site.scores.drift("group/unheard-of", standing=True) is None


# --- the table entry ------------------------------------------------------------------------------------------


def many(items: int) -> tuple[str, ...]:
    """The series of a site with so many items, named as long as real ones."""
    named = [f"item/magnesium-sulfate-500mg-ml-2ml-{number:02d}-vial" for number in range(items)]
    return (*named, *(f"group/group-of-items-{number}" for number in range(10)), SESSIONS)


def pass_site(scores: Scores, names: tuple[str, ...], first: int, days: int, *, restart: bool) -> Scores:
    means = np.linspace(0.02, 400, len(names))
    for day in range(first, first + days):
        rng = np.random.default_rng(day)
        scores.note(day - 1, names, np.outer(DAYS, means), np.outer(DAYS, means), OPEN)
        use: Mapping[str, float] = dict(zip(names, rng.poisson(means).astype(float).tolist(), strict=True))
        if day - first >= 3:  # told as late as can be: the most forecasts wait
            scores.settle(day - 3, use, is_open=True)
        if restart:
            scores = Scores.decode(scores.encode())
    return scores


def test_a_restart_changes_nothing() -> None:
    names = many(5)
    through = pass_site(Scores(), names, MONDAY, 70, restart=False)
    again = pass_site(Scores(), names, MONDAY, 70, restart=True)
    assert again == through
    assert again.encode() == through.encode()
    assert again.factors() == pytest.approx(through.factors(), abs=0)
    with pytest.raises(ValueError, match="scores: format 7; expected 1"):
        Scores.decode(b'{"format":7}')


def test_sixty_six_items_take_less_than_60_kb() -> None:
    scores = pass_site(Scores(), many(66), MONDAY, 100, restart=False)
    assert len(scores.encode()) < 60_000


def test_series_that_are_over_are_forgotten() -> None:
    scores = pass_site(Scores(), many(3), MONDAY, 40, restart=False)
    left = ("item/magnesium-sulfate-500mg-ml-2ml-00-vial",)
    mean = DAYS[:, None] * 0.0 + 1.0
    for day in range(MONDAY + 40, MONDAY + 40 + 120):
        scores.note(day - 1, left, mean, mean, OPEN)
        scores.settle(day - 3, {}, is_open=True)
    assert scores.series == list(left)
    assert Scores.decode(scores.encode()) == scores


def test_quantities_in_two_bytes() -> None:
    some = np.array([0.0, 1.0, 2.0, 14.5, 300.0, 65_000.0, 9e7])
    assert decoded(encoded(some)) == pytest.approx(some, rel=TOLERANCE / 2, abs=TOLERANCE / 64)
    assert np.isnan(decoded(encoded(np.array([np.nan])))[0])
    assert np.round(decoded(encoded(np.arange(20.0))), 2).tolist() == list(range(20))


def test_strides_meet_every_weekday() -> None:
    assert all(stride % 7 for stride in STRIDES)

"""What sessions used: told, expected, or drawn with the moments that the lines state."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import orjson
import pytest

from planner.backtest.series import Weights, find_series
from planner.backtest.use import SessionUse, blocks_of
from planner.backtest.walk import Completed
from planner.catalogue.index import Catalogue
from planner.events.bookings import ItemUse, Parameters
from planner.expansion.expand import Expansion, expand
from planner.expansion.profile import profile_of
from planner.messages import RequirementLine
from tests.plan.clinic import CATHETER, KETOROLAC, MAGNESIUM, MONDAY, NORTH, VITAMIN, at, bundle

CATALOGUE = Catalogue(bundle())
NAMES = ("sessions", MAGNESIUM, KETOROLAC, CATHETER, VITAMIN, "drugs", "component:magnesium")


def expansion() -> Expansion:
    version = CATALOGUE.protocol_version("infusion", MONDAY)
    assert version is not None
    return expand(CATALOGUE, NORTH, "infusion", version, Parameters(), ())


def users(rng: np.random.Generator | None = None) -> SessionUse:
    series = [find_series(CATALOGUE, name) for name in NAMES]
    stated = orjson.dumps({"expansion_id": "x", "lines": orjson.Fragment(expansion().lines_json)})
    return SessionUse(CATALOGUE, Weights(CATALOGUE, series), lambda _: stated, rng)


def session(day: int, actual: tuple[ItemUse, ...] | None = None, hour: str = "09:00") -> Completed:
    return Completed(NORTH, MONDAY + timedelta(days=day), at(day, hour), "x", actual)


def test_what_is_not_told_is_expected() -> None:
    sessions, magnesium, ketorolac, catheter, vitamin, drugs, content = users().of(session(0))
    assert (sessions, magnesium, content) == (1.0, 2.0, 4.0)
    assert ketorolac == pytest.approx(0.3)
    assert catheter == pytest.approx(1.2)
    assert vitamin == 1.0, "a container is opened for its 2 mL"
    assert drugs == pytest.approx(2.0 + 0.3 + 1.0)


def test_what_is_told_wins() -> None:
    told = (ItemUse(item=MAGNESIUM, containers=3), ItemUse(item=KETOROLAC, containers=0))
    _, magnesium, ketorolac, catheter, *_ = users().of(session(0, told))
    assert (magnesium, ketorolac) == (3.0, 0.0)
    assert catheter == pytest.approx(1.2)


def test_a_multi_dose_container_serves_until_it_is_empty_or_too_old() -> None:
    use = users()
    opened = [float(use.of(session(day, hour=hour))[4]) for day, hour in [(0, "09:00"), (0, "15:00"), (1, "10:00")]]
    assert opened == [1.0, 0.0, 0.0], "30 mL, open for 48 hours"
    assert use.of(session(2, hour="09:00"))[4] == 1.0, "48 hours are over"
    much = (ItemUse(item=VITAMIN, volume_ml=59),)
    assert use.of(session(2, much, "10:00"))[4] == 2.0, "28 mL are left"


def test_draws_have_the_moments_that_the_lines_state() -> None:
    drawn = np.array(
        [users_of_one.of(session(0)) for users_of_one in [users(np.random.default_rng(1))] for _ in range(4000)]
    )
    moments = profile_of("x", expansion().lines, "infusion", 1, "").items
    for at_series, item in ((1, MAGNESIUM), (2, KETOROLAC), (3, CATHETER)):
        amounts = drawn[:, at_series]
        assert amounts.mean() == pytest.approx(float(moments[item].mean), abs=0.03)
        assert amounts.var() == pytest.approx(float(moments[item].variance), abs=0.03)
        assert np.array_equal(amounts, np.round(amounts)), "whole containers"
        assert amounts.max() <= float(moments[item].maximum)


def line(**fields: str) -> RequirementLine:
    return RequirementLine.model_validate(
        {"line": "session.catheter", "component": "catheter", "item": CATHETER} | fields
    )


def test_three_amounts_of_one_to_three_venipunctures_are_exact() -> None:
    # first stick .8: P(1, 2, 3) = .8, .16, .04
    (block,) = blocks_of([line(mean="1.24", variance="0.2624", maximum="3", certain="1")])
    (chances,) = block.lines
    assert chances.amounts.tolist() == [1.0, 2.0, 3.0]
    assert np.diff(chances.cumulative, prepend=0) == pytest.approx([0.8, 0.16, 0.04])


def test_a_block_is_given_or_not_as_a_whole() -> None:
    given = {"probability": "0.3", "certain": "0"}
    (block,) = blocks_of(
        [
            line(line="prn", mean="0.6", variance="0.84", maximum="2", **given),
            line(line="prn.swab", mean="0.36", variance="0.3504", maximum="2", **given),
        ]
    )
    assert block.probability == 0.3
    assert block.lines[0].amounts.tolist() == [2.0]
    # given, 1.2 with the second moment (.3504 + .1296) ÷ .3 = 1.6: one, and a second with .2
    assert block.lines[1].amounts.tolist() == [1.0, 2.0]
    assert block.lines[1].cumulative == pytest.approx([0.8, 1.0])

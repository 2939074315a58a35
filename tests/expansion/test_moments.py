"""Means, variances and bounds against brute force: every way a session can go, enumerated."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalogue.index import Catalogue
from planner.events.bookings import Parameters
from planner.expansion.expand import expand
from planner.expansion.moments import Taken, as_decimal, attempts
from planner.expansion.profile import profile_of
from tests.expansion import sample

DAY = date(2024, 5, 6)

# --- what a session takes, told again in the plainest way: no moments, only cases ---

Case = tuple[Fraction, dict[str, int]]
"""Probability of a case, and containers taken by item."""


def item_of(supply: dict[str, Any]) -> str:
    return "saline-100ml" if supply["component"] == "saline" else str(supply["component"])


def supply_cases(supplies: list[dict[str, Any]], p: Fraction) -> Iterator[Case]:
    """Every way the supplies of one block can go."""
    for sticks, chance in ((1, p), (2, (1 - p) * p), (3, (1 - p) * (1 - p))):
        flips = []
        for supply in supplies:
            for name in ("extra_probability", "extra_per_restick"):
                if name in supply and (name == "extra_probability" or sticks > 1):
                    flips.append((item_of(supply), Fraction(supply[name])))
        for results in itertools.product((0, 1), repeat=len(flips)):
            probability = chance
            taken: dict[str, int] = defaultdict(int)
            for supply in supplies:
                taken[item_of(supply)] += supply["quantity"] * (sticks if supply.get("per_attempt") else 1)
            for (item, extra), result in zip(flips, results, strict=True):
                probability *= extra if result else 1 - extra
                taken[item] += result
            yield probability, taken


def line_cases(line: dict[str, Any], supplies: list[dict[str, Any]], p: Fraction) -> Iterator[Case]:
    """Every way one line can go: 2 mL vials of 500 mg/mL, and bags of saline, each of whole containers."""
    given_with = Fraction(line.get("probability", "1"))
    yield 1 - given_with, {}
    milligrams = Decimal(line["dose"]["fixed"].split()[0])
    vials = -(-milligrams // 1000) if milligrams % 1000 == 0 else milligrams // 1000 + 1
    for probability, taken in supply_cases(supplies, p):
        total = defaultdict(int, taken)
        total["magnesium-vial-2ml"] += int(vials)
        if "diluent" in line:
            total["saline-100ml"] += 2 if line["diluent"]["volume"] == "101 mL" else 1
        yield given_with * probability, total


def enumerate_session(blocks: list[list[Case]]) -> dict[str, Taken]:
    cases: dict[tuple[tuple[str, int], ...], Fraction] = defaultdict(Fraction)
    for ways in itertools.product(*blocks):
        probability = Fraction(1)
        total: dict[str, int] = defaultdict(int)
        for chance, taken in ways:
            probability *= chance
            for item, count in taken.items():
                total[item] += count
        if probability:
            cases[tuple(sorted(total.items()))] += probability
    items = {item for case in cases for item, _ in case}
    result = {}
    for item in items:
        pairs = [(Fraction(dict(case).get(item, 0)), chance) for case, chance in cases.items()]
        mean = sum((n * c for n, c in pairs), Fraction(0))
        variance = sum(((n - mean) ** 2 * c for n, c in pairs), Fraction(0))
        result[item] = Taken(mean, variance, max(n for n, _ in pairs), Fraction(0))
    return result


PROBABILITIES = st.sampled_from(["0", "0.07", "0.3", "0.5", "0.86", "1"])


@st.composite
def supplies(draw: st.DrawFn) -> list[dict[str, Any]]:
    chosen = []
    for _ in range(draw(st.integers(0, 2))):
        supply: dict[str, Any] = {
            # a bag of saline as a supply shares its item with the diluent of the same line
            "component": draw(st.sampled_from(["catheter", "alcohol-prep", "saline"])),
            "quantity": draw(st.integers(0, 2)),
            "per_attempt": draw(st.booleans()),
        }
        if draw(st.booleans()):
            supply["extra_probability"] = draw(PROBABILITIES)
        if draw(st.booleans()):
            supply["extra_per_restick"] = draw(PROBABILITIES)
        chosen.append(supply)
    return chosen


@st.composite
def lines(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for number in range(draw(st.integers(1, 2))):
        line: dict[str, Any] = {
            "id": f"line-{number}",
            "component": "magnesium",
            "dose": {"fixed": f"{draw(st.sampled_from(['1', '999.9', '1000', '1000.1', '2500', '4000']))} mg"},
            "kits": [f"kit-{number}"],
        }
        if draw(st.booleans()):
            line["probability"] = draw(PROBABILITIES)
        if draw(st.booleans()):
            line["diluent"] = {"component": "saline", "volume": draw(st.sampled_from(["50 mL", "100 mL", "101 mL"]))}
        made.append(line)
    return made


@settings(max_examples=60, deadline=None)
@given(
    lines(),
    st.lists(supplies(), min_size=2, max_size=2),
    supplies(),
    st.sampled_from(["0", "0.73", "0.86", "1"]),
)
def test_profile_equals_enumeration(
    made: list[dict[str, Any]], of_lines: list[list[dict[str, Any]]], of_session: list[dict[str, Any]], stick: str
) -> None:
    """Lines of one block hang together (PRN, venipunctures), blocks do not: the sums by item know both."""
    edited = sample.content()
    edited["line_kits"] = {}
    sample.entity(edited, "components", "saline")["filled_by"] = [{"item": "saline-100ml"}]
    edited["kits"] += [{"id": f"kit-{n}", "name": "x", "supplies": s} for n, s in enumerate(of_lines)]
    # nested, so that the supplies of a session come through a kit within a kit
    edited["kits"] += [
        {"id": "inner", "name": "x", "supplies": of_session},
        {"id": "outer", "name": "x", "kits": ["inner"]},
    ]
    sample.entity(edited, "sites", "north")["first_stick_probability"] = stick
    version = sample.entity(edited, "protocols", "magnesium")["versions"][0]
    version["lines"], version["session_kits"] = made, ["outer"]
    catalogue = Catalogue(sample.unchecked(edited))
    in_force = catalogue.protocol_version("magnesium", DAY)
    assert in_force is not None

    expansion = expand(catalogue, "north", "magnesium", in_force, Parameters(), ())
    profile = profile_of(expansion.expansion_id, expansion.lines, "magnesium", 1, catalogue.version)

    p = Fraction(stick)
    blocks = [list(line_cases(line, of_lines[n], p)) for n, line in enumerate(made)]
    expected = enumerate_session([*blocks, list(supply_cases(of_session, p))])
    for item, taken in expected.items():
        if taken.maximum == 0:
            assert item not in profile.items or profile.items[item].maximum == 0
            continue
        moments = profile.items[item]
        assert (Fraction(moments.mean), Fraction(moments.variance), Fraction(moments.maximum)) == taken[:3], item
        assert moments.certain <= moments.maximum
    assert {item for item, m in profile.items.items() if m.maximum} == {i for i, t in expected.items() if t.maximum}


def test_catheters_by_first_stick() -> None:
    """The facts' figures: 1.34 catheters at 73 %, 1.16 at 86 %."""
    for p, mean in (("0.73", "1.3429"), ("0.86", "1.1596")):
        chances = attempts(Fraction(p))
        assert sum(chance for _, chance in chances) == 1
        assert sum(n * chance for n, chance in chances) == Fraction(mean)
    assert attempts(Fraction(1)) == [(1, Fraction(1))]
    assert attempts(Fraction(0)) == [(3, Fraction(1))]


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**7))
def test_as_decimal_is_exact_where_a_decimal_can_be(value: Fraction) -> None:
    decimal = as_decimal(value)
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest == 1:
        assert Fraction(decimal) == value
    else:
        assert abs(Fraction(decimal) - value) <= Fraction(1, 2 * 10**12)
    text = str(decimal)
    assert "E" not in text or value == 0 or abs(value) < Fraction(1, 10**5)
    assert not ("." in text and "E" not in text and text.endswith("0"))


@pytest.mark.parametrize(
    ("doses", "vials"),
    [(["600 mg"] * 3, 3), (["1800 mg"], 2), (["1000 mg", "1000 mg"], 2), (["1 mg", "1999 mg"], 3)],
)
def test_each_line_rounds_by_itself(doses: list[str], vials: int) -> None:
    edited = sample.content()
    version = sample.entity(edited, "protocols", "magnesium")["versions"][0]
    version["lines"] = [
        {"id": f"line-{n}", "component": "magnesium", "dose": {"fixed": dose}} for n, dose in enumerate(doses)
    ]
    catalogue = Catalogue(sample.bundle(edited))
    in_force = catalogue.protocol_version("magnesium", DAY)
    assert in_force is not None
    expansion = expand(catalogue, "north", "magnesium", in_force, Parameters(), ())
    profile = profile_of(expansion.expansion_id, expansion.lines, "magnesium", 1, catalogue.version)
    assert profile.items["magnesium-vial-2ml"].mean == vials

"""Forecast messages: readable as ``Forecast``, the same whatever else is published, and gone when nothing is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import planner.forecast.publish
from planner.catalogue.index import Catalogue
from planner.forecast.need import SiteNeed
from planner.forecast.outlook import Key, Outlook
from planner.forecast.projection import project
from planner.forecast.publish import KnownQuantiles, forecast_messages, keys_of
from planner.forecast.quantiles import quantiles
from planner.messages import HORIZON_DAYS, Forecast
from planner.site.state import SiteState
from planner.topics import composed_key
from tests.forecast.clinic import BULK, CATHETER, MONDAY, SITE, VIAL, at, book, catalogue, profile, receive
from tests.forecast.stated import StatedModel

CATALOGUE = catalogue(per_day="6.5")
NOW = at(MONDAY)
SESSION = profile("session", {VIAL: ("2", "0"), BULK: ("5", "0"), CATHETER: ("1.34", "0.29")})


def state_with_bookings() -> SiteState:
    state = SiteState(SITE)
    for day in range(0, HORIZON_DAYS, 2):
        book(state, MONDAY + timedelta(days=day), SESSION, 3)
    receive(state, VIAL, "A", 40, date(2027, 6, 1))
    return state


def outlook_of(state: SiteState, catalogue: Catalogue = CATALOGUE) -> Outlook:
    return project(state, catalogue, SiteNeed(state, catalogue, StatedModel(catalogue, SITE)).refresh(MONDAY), NOW)


def test_messages_are_forecasts() -> None:
    state = state_with_bookings()
    outlook = outlook_of(state)
    messages = forecast_messages(state, CATALOGUE, outlook, NOW)
    found = {}
    for message in messages:
        assert message.topic == "forecasts"
        assert message.value is not None
        forecast = Forecast.model_validate_json(message.value)
        assert message.key == composed_key(SITE, forecast.kind, forecast.id)
        assert {len(values) for values in forecast.quantiles.values()} == {HORIZON_DAYS}
        assert len(forecast.mean) == len(forecast.to_come_variance) == HORIZON_DAYS
        found[forecast.kind, forecast.id] = forecast
    totals = outlook.need.totals
    assert totals is not None
    assert set(found) == {("item", item) for item in outlook.need.items} | set(totals.keys)
    assert sorted(found) == list(found)

    vial = found["item", VIAL]
    at_row = outlook.need.items.index(VIAL)
    assert (vial.unit, vial.on_hand, vial.first_day) == ("containers", 40, MONDAY)
    assert vial.mean == pytest.approx(outlook.need.mean[at_row], abs=5.1e-4)
    assert vial.risk == pytest.approx(outlook.risk[at_row], abs=5.1e-6)
    assert vial.usable == pytest.approx(outlook.usable[at_row], abs=5.1e-4)
    assert vial.coverage_days is not None
    assert outlook.risk[at_row, vial.coverage_days] > 0.05 >= outlook.risk[at_row, : vial.coverage_days].max()
    # lead time 2, allowance 1, Monday to Friday
    latest = MONDAY + timedelta(days=vial.coverage_days - 3)
    assert vial.last_safe_order_date is not None
    assert 0 <= (latest - vial.last_safe_order_date).days <= 3
    assert vial.last_safe_order_date.weekday() < 5

    component = found["component", "magnesium"]
    assert component.unit == "mg"
    assert component.mean == pytest.approx([1000 * mean for mean in vial.mean], abs=1)
    assert {quantile % 1000 for quantile in component.quantiles["0.95"]} == {0}
    assert component.quantiles["0.95"] == [1000 * quantile for quantile in vial.quantiles["0.95"]]
    assert component.usable is None
    assert found["group", "vitamin"].unit == "containers"


def test_a_selection_of_keys_gives_the_same_bytes() -> None:
    state = state_with_bookings()
    outlook = outlook_of(state)
    every = {message.key: message.value for message in forecast_messages(state, CATALOGUE, outlook, NOW)}
    keys = keys_of(CATALOGUE, [VIAL, BULK])
    assert keys == {
        ("item", VIAL),
        ("group", "magnesium"),
        ("component", "magnesium"),
        ("item", BULK),
        ("group", "vitamin"),
        ("component", "vitamin-c"),
    }
    some = forecast_messages(state, CATALOGUE, outlook, NOW, keys)
    assert len(some) == len(keys)
    for message in some:
        assert message.value == every[message.key]


def test_what_was_told_before_is_told_anew_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bookings of one day after the other: with what is known, only what they change is worked out."""
    plain = catalogue()
    state = SiteState(SITE)
    need = SiteNeed(state, plain, StatedModel(plain, SITE))
    known = KnownQuantiles()
    cells: list[int] = []

    def counted(mean: Any, variance: Any, *rest: Any) -> Any:
        cells.append(np.size(mean))
        return quantiles(mean, variance, *rest)

    for ahead in (0, 3, 3, 50, 0):
        need.touch(book(state, MONDAY + timedelta(days=ahead), SESSION))
        outlook = project(state, plain, need.refresh(MONDAY), NOW)
        afresh = forecast_messages(state, plain, outlook, NOW)
        with monkeypatch.context() as patch:
            patch.setattr(planner.forecast.publish, "quantiles", counted)
            assert forecast_messages(state, plain, outlook, NOW, known=known) == afresh
            some = keys_of(plain, [VIAL])
            assert forecast_messages(state, plain, outlook, NOW, some, known=known) == [
                message for message in afresh if tuple(message.key.decode().split("\x1f")[1:]) in some
            ]
    keys = len(afresh)
    assert 90 <= cells[0] < 90 * keys, "of a component that one item fills, the item's"
    assert max(cells[2::2]) <= keys, "of one day only"
    assert not any(cells[1::2]), "nothing that was told a moment ago"


def test_what_is_no_longer_mentioned_gives_a_tombstone() -> None:
    plain = catalogue()
    state = SiteState(SITE)
    need = SiteNeed(state, plain, StatedModel(plain, SITE))
    need.touch(book(state, MONDAY, SESSION))
    before = project(state, plain, need.refresh(MONDAY), NOW)
    published = {m.key: m.value for m in forecast_messages(state, plain, before, NOW)}
    need.touch(book(state, MONDAY, SESSION, -1))
    after = project(state, plain, need.refresh(MONDAY), NOW)
    for message in forecast_messages(state, plain, after, NOW, keys_of(plain, SESSION.items)):
        assert message.value is None
        del published[message.key]
    (sessions,) = forecast_messages(state, plain, after, NOW)
    assert set(published) == {sessions.key}
    assert not any(orjson.loads(sessions.value or b"")["mean"])


def test_an_item_gone_from_the_catalogue_has_a_key_of_its_own() -> None:
    assert keys_of(CATALOGUE, ["gone"]) == {("item", "gone")}


def test_figures_are_rounded_and_never_negative_zero() -> None:
    state = state_with_bookings()
    outlook = outlook_of(state)
    short_by_rounding = replace(outlook, supply=outlook.cumulative_mean - 1e-7)
    for message in forecast_messages(state, CATALOGUE, short_by_rounding, NOW):
        assert message.value is not None
        assert b"-0.0" not in message.value
        body = orjson.loads(message.value)
        for name in ("mean", "variance", "firm_mean", "usable"):
            assert all(figure == round(figure, 3) for figure in body.get(name) or [])
        assert all(figure == round(figure, 5) for figure in body.get("risk") or [])


@given(
    needs=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 200)), min_size=1, max_size=3),
    days=st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=2, max_size=6),
)
def test_keys_that_are_alike_have_the_quantiles_each_would_have_alone(
    needs: list[tuple[float, float]], days: list[list[int]]
) -> None:
    """Of a few needs, so that whole keys agree, or some of their days; and after one key has changed."""
    known = KnownQuantiles()
    keys: list[Key] = [("item", str(number)) for number in range(len(days))]
    for _ in range(2):
        cells = np.array([[needs[day % len(needs)] for day in key] for key in days])
        mean, variance = cells[..., 0], cells[..., 1]
        told = known.of(keys, mean, variance)
        for number in range(len(keys)):
            np.testing.assert_array_equal(told[:, number], quantiles(mean[number], variance[number]))
        days = [days[-1], *days[1:]]

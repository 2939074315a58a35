"""Whatever comes, in whatever chunks: the state is the fold of the log, and what is published is the state's plan."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.plan_step import PlanStep
from planner.site.state import SiteState
from planner.step import Message, Record
from tests.driver import START_MS, MemoryEntries, encode, key_of
from tests.plan.clinic import (
    CATHETER,
    KETAMINE,
    KETOROLAC,
    MAGNESIUM,
    NORTH,
    SOUTH,
    VITAMIN,
    Desk,
    at,
    bundle,
    tick,
)

Told = tuple[str, Any]
"""Topic and event."""

ITEMS = (MAGNESIUM, KETAMINE, KETOROLAC, CATHETER, VITAMIN)


class History:
    """Draws a history of two clinics, event by event, from a seed."""

    def __init__(self, seed: int, length: int) -> None:
        self.random = random.Random(seed)
        self.now = at(0)
        self.desks = {site: Desk(site) for site in (NORTH, SOUTH)}
        self.told: list[Told] = [("clock", tick(self.now))]
        for _ in range(length):
            self.told.append(self.next())

    @property
    def without_actions(self) -> list[Told]:
        return [entry for entry in self.told if entry[0] != "alert-actions"]

    def next(self) -> Told:
        chance = self.random
        desk = self.desks[chance.choice((NORTH, NORTH, SOUTH))]
        kinds = (self._booking,) * 8 + (self._stock,) * 6 + (self._order,) * 2 + (self._time,) + (self._action,)
        return chance.choice(kinds)(desk)

    def _booking(self, desk: Desk) -> Told:
        chance, booking = self.random, f"b{self.random.randrange(9)}"
        what = chance.random()
        if what < 0.6 or booking not in desk.revisions:
            start = self.now + timedelta(days=chance.choice((-1, 0, 0, 1, 2, 5, 9, 100)), hours=chance.randrange(6))
            weight = chance.choice((None, "50", "80"))
            return "requirements", desk.stated(
                booking,
                start,
                self.now,
                protocol="infusion" if weight is None else "ketamine",
                weight_kg=weight,
                status=chance.choice(("booked", "booked", "arrived")),
                series=chance.random() < 0.3,
                revision=chance.choice((None, None, None, 1)),
                **self._how_booked(),
            )
        if what < 0.8:
            return "requirements", desk.withdrawn(booking, self.now, chance.choice(("cancelled", "missed", "moved")))
        actual = chance.choice(
            (None, None, [{"item": MAGNESIUM, "containers": "3"}, {"item": VITAMIN, "volume_ml": "7"}])
        )
        return "requirements", desk.used(booking, self.now, actual)

    def _how_booked(self) -> dict[str, Any]:
        """What earlier versions of ``expand`` do not tell."""
        chance = self.random
        if chance.random() < 0.2:
            return {}
        return {
            "booked_on": (self.now - timedelta(days=chance.choice((0, 0, 1, 5, 20, 60)))).date(),
            "source": chance.choice(("web", "desk", "a+b")),
            "series_id": chance.choice((None, "s1", "s2", "s3")),
        }

    def _stock(self, desk: Desk) -> Told:  # noqa: PLR0911 (one for each kind of event)
        chance, item, lot = self.random, self.random.choice(ITEMS), self.random.choice(("L1", "L2"))
        expiry = {"L1": "2028-01-01", "L2": chance.choice(("2026-11-19", "2026-12-24"))}[lot]
        some = chance.randrange(1, 12)
        named = chance.choice((None, lot))
        maybe = {} if named is None else {"lot": named}
        match chance.randrange(8):
            case 0 | 1:
                return "stock", desk.event("stock.received", self.now, item=item, lot=lot, expiry=expiry, quantity=some)
            case 2:
                lots = [{"lot": name, "quantity": chance.randrange(9)} for name in chance.sample(("L1", "L2"), 1)]
                return "stock", desk.event("stock.counted", self.now, item=item, lots=lots)
            case 3:
                return "stock", desk.event("stock.dispensed", self.now, item=item, quantity=some, **maybe)
            case 4:
                volume = str(chance.choice((1, 7.5, 40)))
                return "stock", desk.event("stock.dispensed", self.now, item=VITAMIN, volume_ml=volume, **maybe)
            case 5:
                reason = chance.choice(("broken", "recalled", "open-expired"))
                return "stock", desk.event(
                    "stock.wasted", self.now, item=item, quantity=1, reason=reason, witness="w", **maybe
                )
            case 6:
                other = SOUTH if desk.site == NORTH else NORTH
                return "stock", desk.event(
                    "stock.transferred-out", self.now, item=item, quantity=1, to_site=other, **maybe
                )
            case _:
                released = chance.random() < 0.5
                return "stock", desk.event("stock.quarantined", self.now, item=item, lot=lot, released=released)

    def _order(self, desk: Desk) -> Told:
        chance, order = self.random, f"o{self.random.randrange(4)}"
        line = {"item": chance.choice(ITEMS), "quantity": chance.choice((5, 25))}
        match chance.randrange(4):
            case 0 | 1:
                return "orders", desk.event("order.placed", self.now, order_id=order, supplier="acme", lines=[line])
            case 2:
                promised = (self.now + timedelta(days=chance.randrange(4))).date()
                return "orders", desk.event("order.confirmed", self.now, order_id=order, promised=promised)
            case _:
                lines = [{**line, "lot": "L1", "expiry": "2028-01-01"}]
                return "orders", desk.event("order.delivered", self.now, order_id=order, lines=lines)

    def _time(self, desk: Desk) -> Told:
        self.now += timedelta(hours=self.random.choice((1, 7, 20, 30, 24 * 40)))
        return "clock", tick(self.now)

    def _action(self, desk: Desk) -> Told:
        kind = self.random.choice(("reorder", "stock-out"))
        alert = f"{desk.site}/{self.random.choice(ITEMS)}/{kind}/{self.random.choice((1, 1, 2))}"
        what = self.random.choice(("alert.acknowledged", "alert.ordered", "alert.closed", "alert.snoozed"))
        more = {"until": (self.now + timedelta(days=2)).date()} if what == "alert.snoozed" else {}
        return "alert-actions", desk.event(what, self.now, alert_id=alert, by="pharmacist", **more)


class World:
    """A plan step with its table, and the last that was published of each key."""

    def __init__(self, clock: Any = "wall") -> None:
        self.step = PlanStep(0, bundle(), clock)
        self.table = MemoryEntries()
        self.step.restore(self.table)
        self.last: dict[tuple[str, bytes | None], bytes] = {}
        self.outcomes: list[dict[str, Any]] = []
        self.offsets: dict[str, int] = {}

    def records(self, told: Iterable[Told]) -> list[Record]:
        records = []
        for topic, event in told:
            offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
            value = encode(event)
            records.append(Record(topic, 0, offset, START_MS, key_of(topic, value, 0), value))
        return records

    def fold(self, records: Sequence[Record], *, caught_up: bool = True) -> list[Message]:
        published = []
        for page in self.step.fold(records, caught_up=caught_up):
            published += page.messages
            self.table.apply(page.writes)
        self.publish(published)
        return published

    def publish(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.topic == "outcomes":
                self.outcomes.append(orjson.loads(message.value or b""))
            elif message.value is None:
                self.last.pop((message.topic, message.key), None)
            else:
                self.last[message.topic, message.key] = message.value

    def fold_all(self, told: Sequence[Told], seed: int | None = None) -> World:
        """One event at a time; with a seed in chunks of one topic each, with or without more behind them."""
        chance = random.Random(seed)
        records = self.records(told)
        while records:
            end = 1
            if seed is not None:
                longest = chance.choice((1, 3, 20))
                while end < min(longest, len(records)) and records[end].topic == records[0].topic:
                    end += 1
            self.fold(records[:end], caught_up=seed is None or chance.random() < 0.3)
            records = records[end:]
            if seed is None or chance.random() < 0.3:
                self.publish(self.step.due())
        self.fold([])
        self.publish(self.step.due())
        return self

    @property
    def facts(self) -> dict[str, SiteState]:
        """The states without what was decided on the way (alerts have hysteresis and a history)."""
        return {s: replace(state, alerts={}, proposals={}, standing=None) for s, state in self.step.sites.items()}

    def forecasts(self) -> dict[bytes | None, dict[str, Any]]:
        found = {key: orjson.loads(value) for (topic, key), value in self.last.items() if topic == "forecasts"}
        for body in found.values():
            del body["as_of"]
        return found


histories = st.builds(History, st.integers(0, 2**32), st.integers(1, 70))
modest = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(histories, st.integers(0, 2**32))
@modest
def test_chunks_change_nothing(history: History, seed: int) -> None:
    # whether there is an alert to act on is a matter of when it was looked at
    told = history.without_actions
    singly, chunked = World().fold_all(told), World().fold_all(told, seed)
    assert singly.facts == chunked.facts
    assert singly.forecasts() == chunked.forecasts()
    ends = ("status", "reason", "detail")
    assert [[o.get(end) for end in ends] for o in singly.outcomes] == [
        [o.get(end) for end in ends] for o in chunked.outcomes
    ]


@given(histories, st.integers(0, 2**32), st.sampled_from(["wall", "event"]))
@modest
def test_the_table_is_the_state_and_what_is_published_is_its_plan(history: History, seed: int, clock: str) -> None:
    world = World(clock).fold_all(history.told, seed)
    afresh = World(clock)
    afresh.step.restore(world.table)
    assert afresh.step.sites == world.step.sites
    assert afresh.step.now == world.step.now
    afresh.step.review_all()
    assert not afresh.fold([]), "a plan made afresh decides otherwise"
    afresh.publish(afresh.step.due())
    assert afresh.forecasts() == world.forecasts()
    for site, state in world.step.sites.items():
        ours, theirs = world.step.outlook(site), afresh.step.outlook(site)
        assert ours.need.items == theirs.need.items
        assert np.array_equal(ours.supply, theirs.supply)
        assert np.array_equal(ours.risk, theirs.risk)
        for alert in state.alerts.values():
            published = world.last["alerts", alert.alert_id.encode()]
            assert orjson.loads(published)["revision"] == alert.revision
    current = {alert.alert_id for state in world.step.sites.values() for alert in state.alerts.values()}
    for (topic, _), value in world.last.items():
        body = orjson.loads(value)
        if topic == "alerts" and body["alert_id"] not in current:
            assert body["state"] == "resolved", "an earlier episode that nothing will ever resolve"


@given(histories, st.integers(0, 2**32))
@modest
def test_what_comes_again_changes_nothing(history: History, seed: int) -> None:
    once = World().fold_all(history.told)
    ends = iter(once.outcomes)
    answered = {"stock", "orders", "alert-actions"}
    chance = random.Random(seed)
    told: list[Told] = []
    applied: list[tuple[datetime, Told]] = []
    now = at(0)
    repeated = 0
    for topic, event in history.told:
        told.append((topic, event))
        if topic == "clock":
            now = event["now"]
        if topic not in answered or next(ends)["status"] == "applied":
            applied.append((now, (topic, event)))
        # what was applied some weeks ago may have been forgotten
        recent = [entry for when, entry in applied if now - when < timedelta(days=30)]
        if recent and chance.random() < 0.4:
            told.append(chance.choice(recent))
            repeated += told[-1][0] in answered
    again = World().fold_all(told)
    assert again.facts == once.facts
    assert again.forecasts() == once.forecasts()
    assert sum(o["status"] == "duplicate" for o in again.outcomes) == repeated


@given(histories, st.integers(0, 2**32))
@modest
def test_bookings_may_come_in_any_order(history: History, seed: int) -> None:
    """Between two other events, statements and withdrawals of different bookings commute."""
    chance = random.Random(seed)
    shuffled: list[Told] = []
    run: list[Told] = []

    def end_run() -> None:
        bodies = [orjson.loads(encode(event)) for _, event in run]
        order = sorted(range(len(run)), key=lambda i: chance.random())
        by_booking: dict[tuple[str, str], list[int]] = {}
        for i in range(len(run)):
            by_booking.setdefault((bodies[i]["site"], bodies[i]["booking_id"]), []).append(i)
        for i in order:
            shuffled.append(run[by_booking[bodies[i]["site"], bodies[i]["booking_id"]].pop(0)])
        run.clear()

    for topic, event in history.without_actions:
        if topic == "requirements" and b"requirement.used" not in encode(event):
            run.append((topic, event))
        else:
            end_run()
            shuffled.append((topic, event))
    end_run()
    first, second = World().fold_all(history.without_actions), World().fold_all(shuffled)
    assert first.facts == second.facts
    assert first.forecasts() == second.forecasts()


@given(histories)
@modest
def test_derived_counts_are_those_of_the_bookings(history: History) -> None:
    from planner.site.bookings import rebuild  # noqa: PLC0415

    for state in World().fold_all(history.told).step.sites.values():
        before = replace(state, standing=None)
        counted = {d: dict(c) for d, c in state.demand.items()}, {d: set(i) for d, i in state.by_day.items()}
        uses, unsettled = dict(state.profile_uses), state.unsettled
        rebuild(before)
        assert counted == (before.demand, before.by_day)
        assert (uses, unsettled) == (before.profile_uses, before.unsettled)
        assert set(state.profiles) == set(uses)


def test_histories_reach_what_they_should() -> None:
    """The histories above are worth drawing: they are not refused throughout, and they raise and resolve alerts."""
    statuses: set[str] = set()
    states: set[str] = set()
    for seed in range(30):
        world = World().fold_all(History(seed, 70).told)
        statuses |= {o["status"] for o in world.outcomes}
        states |= {a.state.value for s in world.step.sites.values() for a in s.alerts.values()}
        if statuses == {"applied", "refused"} and len(states) >= 4:
            break
    assert statuses == {"applied", "refused"}
    assert {"open", "resolved", "ordered"} <= states


@pytest.mark.parametrize("topic", ["stock", "requirements", "clock"])
def test_an_empty_history_has_no_sites(topic: str) -> None:
    world = World()
    world.fold(world.records([(topic, b"{broken")]))
    assert world.step.sites == {}

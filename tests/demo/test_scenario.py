"""The demo's season and the world around it: what must hold whatever the seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from config.load import DEFAULT_CATALOGUE, load_catalogue
from planner.catalogue.index import Catalogue
from planner.events import ALERT_ACTIONS, BOOKING_EVENTS, ORDER_EVENTS, STOCK_EVENTS
from planner.messages import Proposal, ProposalLine
from streams.cli.routing import TOPIC_OF
from streams.demo.scenario import SITES, Event, Season, season
from streams.demo.world import ALLOCATED_COMPONENT, World

ADAPTERS = {"bookings": BOOKING_EVENTS, "stock": STOCK_EVENTS, "orders": ORDER_EVENTS, "alert-actions": ALERT_ACTIONS}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    assert bundle is not None
    return Catalogue(bundle)


def parse(event: Event) -> object:
    """The event as the planner reads it; raises where it could not."""
    topic = TOPIC_OF[event["type"].partition(".")[0]]
    return ADAPTERS[topic].validate_json(orjson.dumps(event))


def instant(event: Event) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


@given(seed=st.integers(0, 10**9))
@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_each_booking_tells_a_story_that_can_be(catalogue: Catalogue, seed: int) -> None:
    played = season(catalogue, seed)
    told: defaultdict[str, list[Event]] = defaultdict(list)
    for day in sorted(played.events):
        instants = [instant(event) for event in played.events[day]]
        assert instants == sorted(instants)
        for event in played.events[day]:
            parse(event)
            told[event["booking_id"]].append(event)
    ends = {visit.booking_id: visit for visits in played.visits.values() for visit in visits}
    for booking, events in told.items():
        assert [event["version"] for event in events] == list(range(1, len(events) + 1)), booking
        kinds = [event["type"] for event in events]
        assert kinds[0] == "booking.booked"
        assert kinds.count("booking.booked") == 1
        if kinds[-1] in {"booking.cancelled", "booking.missed"}:
            assert booking not in ends
        if booking in ends:
            assert ends[booking].next_version == len(events) + 1
            assert ends[booking].ends > instant(events[-1])


def test_the_season_has_all_that_it_promises(catalogue: Catalogue) -> None:
    played = season(catalogue, 7)
    kinds = Counter(event["type"] for events in played.events.values() for event in events)
    assert {"booked", "rescheduled", "amended", "cancelled", "arrived", "missed"} == {
        kind.removeprefix("booking.") for kind in kinds
    }
    booked = [e for events in played.events.values() for e in events if e["type"] == "booking.booked"]
    assert {event["site"] for event in booked} == set(SITES)
    starts: defaultdict[str, list[datetime]] = defaultdict(list)
    for event in booked:
        if "series_id" in event:
            starts[event["series_id"] + event["protocol"]].append(datetime.fromisoformat(event["start"]))
    steps = Counter((b - a).days for dates in starts.values() for a, b in pairwise(dates))
    assert any(days in steps for days in (27, 28, 29)), "maintenance every 28 days"
    assert 1 in steps or 0 in steps, "an episode of several days"
    walk_ins = [e for e in booked if datetime.fromisoformat(e["start"]).date() == instant(e).date()]
    assert walk_ins


def test_the_same_seed_is_the_same_season(catalogue: Catalogue) -> None:
    assert season(catalogue, 11).events == season(catalogue, 11).events
    assert season(catalogue, 11).events != season(catalogue, 12).events


def play(catalogue: Catalogue, seed: int) -> tuple[World, list[Event]]:
    """A season of a world in which nobody plans: every week the same proposal."""
    played: Season = season(catalogue, seed, weeks=7)
    world = World(catalogue, played)
    events = world.opening()
    items = {"fluid-maker": "sodium-chloride-0.9-100ml-bag", "controlled": "ketamine-10mg-ml-20ml-multidose-vial"}
    for number in range(played.days):
        day = played.first_day + timedelta(days=number)
        events += world.day(day)
        noon = datetime.combine(day, time(15, 30), UTC)
        proposals = [
            Proposal(
                proposal_id=f"north/{supplier}", revision=1, site="north", supplier="fluid-maker",
                controlled=supplier == "controlled", as_of=noon, order_by=day, arrives=day, covers_until=day,
                lines=(ProposalLine(item=items[supplier], quantity=960, packs=10, needed=900, need_quantile=900,
                                    supply=0, on_order=0),), catalogue_version=catalogue.version,
            )
            for supplier in ("fluid-maker", "controlled")
        ]  # fmt: skip
        events += world.pharmacy(noon, proposals, [])
    return world, events


@pytest.mark.parametrize("seed", [3, 7, 5110627])
def test_what_the_world_says_can_be_read_and_adds_up(catalogue: Catalogue, seed: int) -> None:
    world, events = play(catalogue, seed)
    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)
    ordered: dict[str, int] = {}
    confirmed: dict[str, int] = {}
    for event in events:
        parse(event)
        if event["type"] == "order.placed":
            ordered[event["order_id"]] = sum(line["quantity"] for line in event["lines"])
        elif event["type"] == "order.confirmed":
            confirmed[event["order_id"]] = sum(line["quantity"] for line in event["lines"])
            assert confirmed[event["order_id"]] <= ordered[event["order_id"]]
        elif event["type"] == "order.delivered":
            assert sum(line["quantity"] for line in event["lines"]) <= confirmed[event["order_id"]]
    assert world.story.orders == len(ordered) > 0
    assert any(confirmed[order] < ordered[order] for order in confirmed), f"{ALLOCATED_COMPONENT} is on allocation"
    recalled = [event for event in events if event["type"] == "stock.quarantined"]
    assert recalled or not world.story.recalled_containers
    assert sum(event["type"] == "booking.completed" for event in events) == world.story.completed > 0


def test_a_person_orders_controlled_items_later(catalogue: Catalogue) -> None:
    world, _ = play(catalogue, 3)
    assert 0 < world.story.controlled_orders < world.story.orders

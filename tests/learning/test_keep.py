"""Which segments are lost more often: learned from books whose truth is known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from planner.learning.booked import TO_GO_FROM, WEEK, Booked
from planner.learning.keep import GAIN_WANTED, LARGEST, PRIOR_LOSSES, Keep, Losses
from planner.learning.part import Part
from planner.messages import HORIZON_DAYS
from planner.site.segment import compose, parse

MONDAY = 740_000 - (740_000 - 1) % WEEK
HAZARD = np.array([0.03, 0.02, 0.02, 0.01])
AHEAD = 21

Risk = Callable[[str, int], float]
"""True relative risk of a segment and weekday."""


def alike(segment: str, weekday: int) -> float:
    return 1.0


def segment_of(protocol: str = "infusion", source: str = "web", *, series: bool = False, lead: int = 20) -> str:
    return compose(protocol, series=series, lead_days=lead, source=source)


class Book:
    """A site whose bookings are lost at random, at hazards that differ by segment as said."""

    def __init__(self, seed: int, segments: list[str], *, per_day: int = 8, lost: Risk = alike, missed: Risk = alike):
        self.random = random.Random(seed)
        self.segments, self.per_day = segments, per_day
        self.lost, self.missed = lost, missed
        self.hazard, self.miss = HAZARD, 0.06
        self.told = {"lost", "missed"}
        self.keep, self.losses = Keep(), Losses()
        self.today = MONDAY
        self.demand: dict[int, Counter[tuple[str, str]]] = {}
        for day in range(self.today, self.today + AHEAD):
            self._book(day)

    def _book(self, day: int) -> None:
        self.demand[day] = Counter((self.random.choice(self.segments), "p") for _ in range(self.per_day))

    def run(self, days: int) -> Book:
        for _ in range(days):
            self.day()
        return self

    def day(self) -> None:
        chance = self.random
        for day, counts in self.demand.items():
            weekday = (day - 1) % WEEK
            for (segment, profile), n in list(counts.items()):
                hazard = self.hazard[min(day - self.today, len(self.hazard) - 1)] * self.lost(segment, weekday)
                lost = sum(chance.random() < hazard for _ in range(n))
                counts[segment, profile] -= lost
                missed = 0
                if day == self.today:
                    missed = sum(
                        chance.random() < self.miss * self.missed(segment, weekday) for _ in range(counts[segment, "p"])
                    )
                for kind, number in (("lost", lost), ("missed", missed)):
                    for _ in range(number if kind in self.told else 0):
                        self.losses.observe_loss(segment, day, kind, self.today)  # type: ignore[arg-type]
        self.demand = {day: +counts for day, counts in self.demand.items() if day > self.today}
        self._book(self.today + AHEAD)
        self.keep.close_day(self.losses, Booked.of(self.demand, self.today + 1), HAZARD)
        self.today += 1

    def ratio(self, one: str, other: str, weekday: int = 2) -> float:
        return self.keep.loss_factor(one, weekday) / self.keep.loss_factor(other, weekday)


WEB, DESK = segment_of(), segment_of("vitamins")
MANY = [segment_of(p, s, series=r) for p in ("a", "b", "c") for s in ("web", "desk") for r in (True, False)]


def test_before_anything_is_learned_all_are_alike() -> None:
    keep = Keep()
    assert keep.loss_factor(WEB, 0) == keep.miss_factor(WEB, 6) == 1.0
    assert keep.loss_factors(WEB).shape == (WEEK, HORIZON_DAYS)
    assert keep.miss_factors(WEB).shape == (WEEK,)


@pytest.mark.parametrize("seed", range(3))
def test_a_segment_that_cancels_twice_as_often_gets_twice_the_factor(seed: int) -> None:
    rare = [WEB] * 5 + [DESK]
    book = Book(seed, rare, per_day=18, lost=lambda s, _: 2.0 if s == DESK else 1.0).run(400)
    assert book.ratio(DESK, WEB) == pytest.approx(2.0, rel=0.2)
    assert book.keep.loss_factor(DESK, 2) == pytest.approx(2 / (7 / 6), rel=0.2)
    assert not book.keep.helps("missed")
    assert book.keep.miss_factor(DESK, 2) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_what_two_factors_share_is_not_counted_twice(seed: int) -> None:
    """Protocol, source and series always go together: their risks multiply to the one that is there."""
    one, other = segment_of("a", "web", series=True), segment_of("b", "desk")
    book = Book(seed, [one, other], per_day=16, lost=lambda s, _: 2.0 if s == one else 1.0).run(400)
    assert book.ratio(one, other) == pytest.approx(2.0, rel=0.2)


def test_two_independent_factors_multiply() -> None:
    def risk(segment: str, weekday: int) -> float:
        traits = parse(segment)
        return (2.0 if traits.protocol == "a" else 1.0) * (0.5 if traits.source == "desk" else 1.0)

    book = Book(1, MANY, per_day=24, lost=risk).run(400)
    plain = segment_of("b", "web")
    assert book.ratio(segment_of("a", "web"), plain) == pytest.approx(2.0, rel=0.2)
    assert book.ratio(segment_of("b", "desk"), plain) == pytest.approx(0.5, rel=0.2)
    assert book.ratio(segment_of("a", "desk"), plain) == pytest.approx(1.0, rel=0.25)


def test_weekdays_differ() -> None:
    book = Book(2, MANY, per_day=16, lost=lambda _, weekday: 2.5 if weekday == 4 else 1.0).run(400)
    factors = book.keep.loss_factors(MANY[0])[:, 2]
    assert factors[4] / factors[:4].mean() == pytest.approx(2.5, rel=0.25)


def test_without_a_difference_factors_are_nearly_always_one_and_never_far_from_it() -> None:
    on = days = 0
    deviations = []
    for seed in range(10):
        book = Book(100 + seed, MANY)
        for _ in range(200):
            book.day()
            on += book.keep.helps("lost") + book.keep.helps("missed")
            days += 2
        deviations += [float(np.abs(np.log(book.keep.loss_factors(s))).mean()) for s in MANY]
    assert on / days < 0.05
    assert np.mean(deviations) < 0.02
    # what they would be if they were believed
    risks = book.keep.kinds["lost"]
    off = [abs(np.log(risks.product((s, weekday, 0)))) for s in MANY for weekday in range(WEEK)]
    assert 0.01 < np.mean(off) < 0.2


def test_factors_go_off_again_when_the_difference_is_gone() -> None:
    book = Book(3, [WEB, DESK], per_day=16, lost=lambda s, _: 3.0 if s == DESK else 1.0).run(200)
    assert book.keep.helps("lost")
    assert book.ratio(DESK, WEB) > 2
    book.lost = lambda s, _: 3.0 if s == WEB else 1.0
    book.run(30)
    assert book.ratio(DESK, WEB) == 1.0  # wrong for a while, and it shows
    book.run(400)
    assert book.ratio(WEB, DESK) == pytest.approx(3.0, rel=0.25)


@pytest.mark.parametrize("seed", range(3))
def test_where_only_misses_are_known_misses_alone_are_learned(seed: int) -> None:
    book = Book(seed, [WEB, DESK], per_day=20, missed=lambda s, _: 3.0 if s == DESK else 1.0)
    book.told = {"missed"}
    book.run(300)
    assert not book.keep.helps("lost")
    assert book.keep.loss_factor(DESK, 2) == 1.0
    assert book.keep.miss_factor(DESK, 2) / book.keep.miss_factor(WEB, 2) == pytest.approx(3.0, rel=0.25)


def test_misses_differ_by_weekday() -> None:
    book = Book(5, [WEB], per_day=60, missed=lambda _, weekday: 3.0 if weekday == 0 else 1.0).run(400)
    factors = book.keep.miss_factors(WEB)
    assert factors[0] / factors[1:].mean() == pytest.approx(3.0, rel=0.25)


def test_the_level_of_the_site_does_not_matter() -> None:
    """All are lost three times as often as the site's hazards say: that is the book's to learn, not a segment's."""
    book = Book(6, MANY, lost=lambda _, __: 3.0).run(200)
    assert max(book.keep.loss_factor(s, 2) for s in MANY) < 1.3
    assert min(book.keep.loss_factor(s, 2) for s in MANY) > 0.75


def test_factors_are_bounded_and_average_to_one_over_those_at_risk() -> None:
    book = Book(7, [WEB] * 15 + [DESK], per_day=48, lost=lambda s, _: 25.0 if s == DESK else 1.0).run(300)
    assert book.keep.loss_factor(DESK, 2) == LARGEST
    far = {day: counts for day, counts in book.demand.items() if day >= book.today + 14}
    cells = Counter((s, (day - 1) % WEEK) for day, counts in far.items() for (s, _) in counts.elements())
    product = book.keep.kinds["lost"].product
    group = TO_GO_FROM.index(14)
    mean = sum(n * product((segment, weekday, group)) for (segment, weekday), n in cells.items()) / cells.total()
    assert mean == pytest.approx(1.0)


def test_bookings_are_compared_with_those_that_are_as_far_ahead() -> None:
    """Those of one source are booked long before and lost often. Far ahead there is nobody else: the site's hazard is
    theirs, and they are like the others."""
    early, late = segment_of(source="early", lead=20), segment_of(source="late", lead=6)
    keep, losses, chance = Keep(), Losses(), random.Random(3)
    on_book: list[tuple[int, str]] = []
    hazard = np.array([0.02] * 7 + [0.03] * 14)
    for today in range(MONDAY, MONDAY + 300):
        lost = [chance.random() < (0.03 if segment == early else 0.01) for _, segment in on_book]
        for (day, segment), gone in zip(on_book, lost, strict=True):
            if gone:
                losses.observe_loss(segment, day, "lost", today)
        on_book = [b for b, gone in zip(on_book, lost, strict=True) if b[0] > today and not gone]
        on_book += [(today + 20, early)] * 8 + [(today + 6, late)] * 8
        demand: dict[int, Counter[tuple[str, str]]] = {}
        for day, segment in on_book:
            demand.setdefault(day, Counter())[segment, "p"] += 1
        keep.close_day(losses, Booked.of(demand, today + 1), hazard)
    near, far = (keep.loss_factors(early)[:, to_go].mean() for to_go in (4, 15))
    assert near == pytest.approx(1.5, rel=0.15)
    assert far == pytest.approx(1.0, abs=0.02)
    assert keep.loss_factor(late, 0, 4) == pytest.approx(0.5, rel=0.25)


def test_a_new_segment_has_the_factor_of_what_is_known_of_it() -> None:
    book = Book(8, [WEB, DESK], per_day=20, lost=lambda s, _: 3.0 if s == DESK else 1.0).run(250)
    fresh = segment_of("vitamins", "telephone", series=True, lead=3)
    assert book.keep.loss_factor(fresh, 2) == pytest.approx(book.keep.loss_factor(DESK, 2))
    stranger = segment_of("never-seen", "telephone")
    assert 0.7 < book.keep.loss_factor(stranger, 2) < 1.0


def test_an_entry_is_the_part() -> None:
    book = Book(9, MANY, lost=lambda s, _: 2.0 if "+series" in s else 1.0).run(120)
    book.losses.observe_loss(WEB, book.today + 3, "lost", book.today)
    book.losses.observe_loss(WEB, book.today, "missed", book.today)
    parts: list[Part] = [book.keep, book.losses]
    for part in parts:
        again = type(part).decode(part.encode())
        assert again == part
        assert again.encode() == part.encode()
    restored = Keep.decode(book.keep.encode())
    assert [restored.loss_factor(s, 3) for s in MANY] == [book.keep.loss_factor(s, 3) for s in MANY]
    # and it goes on alike, whatever the order of the counts
    shuffled = {day: dict(reversed(c.items())) for day, c in reversed(book.demand.items())}
    restored.close_day(Losses.decode(book.losses.encode()), Booked.of(shuffled, book.today + 1), HAZARD)
    book.keep.close_day(book.losses, Booked.of(book.demand, book.today + 1), HAZARD)
    assert restored == book.keep
    assert restored.encode() == book.keep.encode()
    assert book.losses == Losses()


def test_the_entry_stays_small() -> None:
    keep, losses = Keep(), Losses()
    for day in range(MONDAY, MONDAY + 40):
        demand: dict[int, dict[tuple[str, str], int]] = {
            day + 1 + n: {(segment_of(f"p{k}", f"person-{day}-{k}", lead=n), "p"): 3 for k in range(60)}
            for n in range(9)
        }
        for n in range(30):
            losses.observe_loss(segment_of(f"p{n}", f"person-{day}-{n}"), day, "lost", day)
        keep.close_day(losses, Booked.of(demand, day + 1), HAZARD)
    assert len(keep.encode()) < 16_000


def test_losses_before_the_first_evening_teach_nothing() -> None:
    keep, losses = Keep(), Losses()
    for _ in range(500):
        losses.observe_loss(WEB, MONDAY, "lost", MONDAY)
    demand: dict[int, Any] = {MONDAY + 1: {(WEB, "p"): 1, (DESK, "p"): 1}}
    keep.close_day(losses, Booked.of(demand, MONDAY + 1), HAZARD)
    assert keep.kinds["lost"].product((WEB, 0, 0)) == keep.kinds["lost"].product((DESK, 0, 0)) == 1.0
    assert losses == Losses()


def test_a_difference_shrinks_with_little_evidence() -> None:
    keep, losses = Keep(), Losses()
    demand: dict[int, Any] = {MONDAY + 9: {(WEB, "p"): 50, (DESK, "p"): 50}}
    keep.close_day(losses, Booked.of(demand, MONDAY + 1), HAZARD)
    for _ in range(4):
        losses.observe_loss(DESK, MONDAY + 9, "lost", MONDAY)
    keep.close_day(losses, Booked.of(demand, MONDAY + 2), HAZARD)
    risks = keep.kinds["lost"].risks[0]
    assert risks["vitamins"] == pytest.approx((4 + PRIOR_LOSSES) / (2 + PRIOR_LOSSES))
    assert not keep.helps("lost")
    assert GAIN_WANTED > 0


@pytest.mark.parametrize("kind", [Keep, Losses])
def test_an_entry_of_another_format_is_named(kind: type[Keep | Losses]) -> None:
    data = b'{"format":7}' if kind is Keep else b"[7]"
    with pytest.raises(ValueError, match="found format 7; expected 1"):
        kind.decode(data)


def test_each_day_keeps_the_total_that_the_site_expects() -> None:
    book = Book(12, MANY, per_day=16, lost=lambda s, w: (3.0 if "+series" in s else 1.0) + (w == 4)).run(250)
    survives, missed = np.cumprod(1 - np.full(HORIZON_DAYS, 0.02)), np.full(HORIZON_DAYS, 0.06)
    weekday = (book.today - 1) % WEEK

    def total(ahead: int) -> float:
        counts = book.demand[book.today + ahead]
        kept = [n * book.keep.probability(s, weekday, survives, missed)[ahead] for (s, _), n in counts.items()]
        return float(sum(kept))

    wanted = [counts.total() * 0.94 * survives[day - book.today] for day, counts in sorted(book.demand.items())]
    before = [total(ahead) for ahead in range(AHEAD)]
    book.keep.balance_day(Booked.of(book.demand, book.today), survives, missed)
    after = [total(ahead) for ahead in range(AHEAD)]
    assert before != pytest.approx(wanted, rel=1e-3)
    assert after == pytest.approx(wanted, rel=1e-5)
    series, new = (book.keep.probability(segment_of("a", series=r), weekday, survives, missed) for r in (True, False))
    assert (series[1:AHEAD] < new[1:AHEAD]).all()
    assert Keep.decode(book.keep.encode()) == book.keep
    # the same figures while factors are not believed
    fresh = Keep()
    fresh.balance_day(Booked.of(book.demand, book.today), survives, missed)
    assert fresh.probability(WEB, weekday, survives, missed).tolist() == pytest.approx((survives * 0.94).tolist())
    assert fresh.balance.tolist() == [1.0] * HORIZON_DAYS

"""Synthetic booking books of known truth: a specification and a seed give the events and what is true of them.

spec = BookSpec(...)
book = generate(spec, seed=1)
book.events                          # as on the bookings topic, in order of occurred_at
book.truth["north"].expected_demand  # sessions that take place by day, expected
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator, SeedSequence, default_rng

from planner.catalogue.index import Catalogue
from planner.events.bookings import BookingEvent
from planner.simulation.book_events import Telling, Told, merged
from planner.simulation.book_parties import draw_parties, draw_shocks
from planner.simulation.book_rates import Calendar, segment_rates, warm_up_days
from planner.simulation.book_spec import (
    BookedSite,
    BookSpec,
    HazardFrom,
    LeadTime,
    LevelShift,
    Normal,
    ProtocolShare,
    Segment,
    Series,
)
from planner.simulation.book_truth import Truth

__all__ = [
    "Book",
    "BookSpec",
    "BookedSite",
    "HazardFrom",
    "LeadTime",
    "LevelShift",
    "Normal",
    "ProtocolShare",
    "Segment",
    "Series",
    "Truth",
    "draw_truth",
    "generate",
]


BOOKINGS_MOST = 5_000_000
"""Of one site. Sessions booked long ahead at a high hazard of cancellation need bookings without end."""


@dataclass(frozen=True, slots=True)
class Book:
    """A synthetic book."""

    spec: BookSpec
    seed: int
    events: tuple[BookingEvent, ...]
    """In order of ``occurred_at``; ids are pseudonymous and depend on specification, seed and site alone. The ends of
    all sessions are told, also those told late; nothing is booked for days after the last session day, so the book
    runs dry towards it.
    """
    truth: dict[str, Truth]
    """By site."""


def generate(spec: BookSpec, seed: int, catalogue: Catalogue | None = None) -> Book:
    """Draw a book. The same arguments give the same book.

    ``catalogue`` says what sessions use; needed with ``spec.actual_use`` alone.

    Raises:
        ValueError: ``spec.actual_use`` without a catalogue; or as ``draw_truth``.
        Refused: with ``spec.actual_use``, the catalogue cannot expand a booking.
        KeyError: with ``spec.actual_use``, the catalogue lacks a site or a protocol of the book.
    """
    truth: dict[str, Truth] = {}
    tellings: list[list[Told]] = []
    for site, drawing, telling in _generators(spec, seed):
        truth[site.site] = draw_truth(spec, site, drawing)
        telling_of = Telling(spec, site, truth[site.site].parties, seed=seed, rng=telling, catalogue=catalogue)
        tellings.append(telling_of.tell())
    return Book(spec, seed, tuple(merged(tellings)), truth)


def draw_truth(spec: BookSpec, site: BookedSite, rng: Generator) -> Truth:
    """One site's rates and parties, without telling them.

    Raises:
        ValueError: the hazard is such that more than ``BOOKINGS_MOST`` bookings would be made for those that are kept.
    """
    calendar = Calendar(spec, warm_up_days(spec))
    rates = tuple(segment_rates(spec, segment, calendar, site.factor) for segment in spec.segments)
    bookings = sum(float(of_segment.bookings.sum()) for of_segment in rates)
    if not bookings <= BOOKINGS_MOST:
        raise ValueError(f"hazard: found {bookings:.3g} bookings for the sessions wanted; expected {BOOKINGS_MOST:,}")
    shocks = draw_shocks(spec, rng)
    return Truth(spec, calendar, rates, shocks, draw_parties(spec, calendar, rates, shocks, rng))


def _generators(spec: BookSpec, seed: int) -> list[tuple[BookedSite, Generator, Generator]]:
    """Per site one generator for what happens and one for how it is told, so that another telling (arrivals, moves,
    use) leaves the demand as it is.
    """
    children = SeedSequence(seed).spawn(2 * len(spec.sites))
    return [
        (site, default_rng(children[2 * number]), default_rng(children[2 * number + 1]))
        for number, site in enumerate(spec.sites)
    ]

"""The sessions of series at a site, gathered from its bookings as a day ends."""

from __future__ import annotations

from datetime import UTC, date, datetime

from planner.catalogue.index import Catalogue
from planner.learning.prior import prior_of
from planner.learning.rhythm import Pattern, pattern_of
from planner.learning.series import Sessions
from planner.site.segment import parse
from planner.site.state import BookingEntry, SiteState


def close_series(state: SiteState, catalogue: Catalogue) -> None:
    """The site's day ``state.today`` is over: the part ``series`` learns from it. The catalogue has the site."""
    learned, today = state.learned, date.fromordinal(state.today)

    def pattern(protocol: str) -> Pattern | None:
        version = catalogue.protocol_version(protocol, today)
        return None if version is None else pattern_of(version.repeat)

    learned.series.close_day(
        state.today,
        sessions_of(state, catalogue),
        pattern,
        prior_of(catalogue, state.site).week,
        catalogue.sites[state.site].closed_on,
    )
    learned.continued.first.clear()


def sessions_of(state: SiteState, catalogue: Catalogue) -> Sessions:
    """The sessions of series as they stand at the end of ``state.today``."""
    today = state.today
    held: dict[str, str] = {}
    ahead: dict[str, tuple[int, str]] = {}
    next_day: dict[str, str] = {}
    if not state.in_series:
        return Sessions(held, ahead, next_day)
    for day, ids in state.by_day.items():
        if day < today:
            continue
        for booking_id in ids:
            entry = state.bookings[booking_id]
            key = entry.series
            if key is None:
                continue
            if day == today:
                _keep_last(held, key, entry)
                continue
            if day == today + 1:
                _keep_last(next_day, key, entry)
            here = (day, parse(entry.segment).protocol)
            ahead[key] = max(ahead.get(key, here), here)
    for booking_id in state.resting.get(today, ()):
        entry = state.bookings[booking_id]
        if entry.series is not None and entry.status == "used" and _day_of(entry, state, catalogue) == today:
            _keep_last(held, entry.series, entry)
    return Sessions(held, ahead, next_day)


def _keep_last(protocols: dict[str, str], key: str, entry: BookingEntry) -> None:
    """Of two sessions on one day, the same whichever is looked at first."""
    protocol = parse(entry.segment).protocol
    protocols[key] = max(protocols.get(key, protocol), protocol)


def _day_of(entry: BookingEntry, state: SiteState, catalogue: Catalogue) -> int:
    """The day of a session that is over: what is told late rests on the day it was told."""
    return catalogue.site_day(state.site, datetime.fromtimestamp(entry.start_s, UTC)).toordinal()

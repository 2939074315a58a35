"""How requirements change a site's bookings: O(1) each, exact and reversible.

A booking is counted in ``demand``, ``arrived`` and ``by_day`` while it is live (booked or arrived) and its day is no
more than ``SETTLE_DAYS`` past. Every other one *rests*: used and withdrawn ones as tombstones, so that an older
revision that comes again changes nothing, and live ones that nobody has settled, which are reported. The clock
forgets tombstones ``KEEP_DAYS`` after their day (or after the day they ended, if that is later) and unsettled ones
after ``UNSETTLED_KEEP_DAYS``, so the state is bounded.
"""

from __future__ import annotations

from datetime import date
from typing import Literal, TypeVar

from planner.learning.observe import Reason, observe
from planner.messages import RequirementStated, RequirementUsed, RequirementWithdrawn
from planner.site.segment import compose, series_key
from planner.site.state import LIVE, SETTLE_DAYS, BookingEntry, Profile, SiteState
from planner.site.touched import Touched

K = TypeVar("K")

KEEP_DAYS = 35
"""Days for which what is over (bookings, orders, empty lots, ids of events) is remembered."""
UNSETTLED_KEEP_DAYS = 366


def state_requirement(
    state: SiteState, message: RequirementStated, profile: Profile, touched: Touched, start_s: int
) -> bool:
    """A booking needs a session of ``profile``. False: an old revision, nothing changed."""
    before = state.bookings.get(message.booking_id)
    if before is not None and message.revision <= before.revision:
        return False
    day = message.day.toordinal()
    entry = BookingEntry(
        revision=message.revision,
        day=day,
        start_s=start_s,
        segment=compose(
            message.protocol,
            series=message.series or message.series_id is not None,
            lead_days=None if message.booked_on is None else day - message.booked_on.toordinal(),
            source=message.source,
        ),
        profile=profile.id,
        status=message.status,
        series=None if message.series_id is None else series_key(message.series_id),
    )
    if profile.id not in state.profiles:
        state.profiles[profile.id] = profile
        touched.profiles.add(profile.id)
        _touch_booked_today(state, profile, touched, message.event_id)
    _replace(state, message.booking_id, before, entry, touched=touched, cause=message.event_id)
    return True


def withdraw_requirement(state: SiteState, message: RequirementWithdrawn, touched: Touched) -> bool:
    """The site needs nothing more for a booking. False: an old revision, nothing changed."""
    return _end(state, message, "withdrawn", touched) is not None


def use_requirement(state: SiteState, message: RequirementUsed, touched: Touched) -> tuple[bool, Profile | None]:
    """A session took place.

    Returns:
        Whether it counts as use now (False: an old revision, or used already: stock falls once for a session,
        and a correction of it is told as a stock event), and what it was expected to use, if the booking is known.
    """
    before = state.bookings.get(message.booking_id)
    profile = state.profiles.get(before.profile) if before is not None else None
    was_used = before is not None and before.status == "used"
    ended = _end(state, message, "used", touched)
    return ended is not None and not was_used, profile


def _end(
    state: SiteState,
    message: RequirementWithdrawn | RequirementUsed,
    status: Literal["used", "withdrawn"],
    touched: Touched,
) -> BookingEntry | None:
    before = state.bookings.get(message.booking_id)
    if before is not None and message.revision <= before.revision:
        return None
    if before is None:
        # never stated here, or forgotten: remembered all the same, in case an older revision comes again
        entry = BookingEntry(message.revision, state.today, 0, "", "", status)
    else:
        day = max(before.day, state.today)
        entry = before._replace(revision=message.revision, day=day, status=status)
    reason = message.reason if isinstance(message, RequirementWithdrawn) else None
    _replace(state, message.booking_id, before, entry, touched=touched, cause=message.event_id, reason=reason)
    return entry


def _replace(
    state: SiteState,
    booking_id: str,
    before: BookingEntry | None,
    entry: BookingEntry,
    *,
    touched: Touched,
    cause: str,
    reason: Reason | None = None,
) -> None:
    observe(state, before, entry, reason, touched)
    old_profile = state.profiles.get(before.profile) if before is not None else None
    state.bookings[booking_id] = entry
    touched.bookings.add(booking_id)
    _use_profile(state, entry.profile, 1)
    if before is not None:
        if _is_counted(state, before):
            touched.days.add(before.day)
            if old_profile is not None:
                touched.session(old_profile, cause)
        _place(state, booking_id, before, -1)
        _use_profile(state, before.profile, -1, touched, cause)
    _place(state, booking_id, entry, 1)
    if _is_counted(state, entry):
        touched.days.add(entry.day)
        touched.session(state.profiles[entry.profile], cause)


def _is_counted(state: SiteState, entry: BookingEntry) -> bool:
    return entry.status in LIVE and entry.day >= state.today - SETTLE_DAYS


def _place(state: SiteState, booking_id: str, entry: BookingEntry, sign: int) -> None:
    """Put a booking where it belongs (``sign`` 1) or take it from there (−1)."""
    if entry.series is not None:
        state.in_series += sign
    if not _is_counted(state, entry):
        _member(state.resting, entry.day, booking_id, sign)
        if entry.status in LIVE:
            state.unsettled += sign
        return
    _member(state.by_day, entry.day, booking_id, sign)
    _count(state.demand, entry.day, (entry.segment, entry.profile), sign)
    if entry.status == "arrived":
        _count(state.arrived, entry.day, entry.profile, sign)


def _member(index: dict[int, set[str]], day: int, booking_id: str, sign: int) -> None:
    members = index[day]
    if sign > 0:
        members.add(booking_id)
        return
    members.remove(booking_id)
    if not members:
        del index[day]


def _count(counts: dict[int, dict[K, int]], day: int, key: K, sign: int) -> None:
    of_day = counts[day]
    left = of_day.get(key, 0) + sign
    if left:
        of_day[key] = left
        return
    del of_day[key]
    if not of_day:
        del counts[day]


def _use_profile(
    state: SiteState, profile: str, sign: int, touched: Touched | None = None, cause: str | None = None
) -> None:
    if not profile:
        return
    left = state.profile_uses.get(profile, 0) + sign
    if left:
        state.profile_uses[profile] = left
        return
    del state.profile_uses[profile]
    gone = state.profiles.pop(profile)
    if touched is not None:
        touched.profiles.add(profile)
        if cause is not None:
            _touch_booked_today(state, gone, touched, cause)


def _touch_booked_today(state: SiteState, profile: Profile, touched: Touched, cause: str) -> None:
    """A profile comes or goes: what was booked with it today is taken off what is to come only while it is known."""
    learned = state.learned
    days = {day for day, booked in learned.running.new.items() if profile.id in booked}
    days |= {session.day for session in learned.continued.first.values() if session.profile == profile.id}
    if days:
        touched.days |= days
        touched.session(profile, cause)


def pass_to(state: SiteState, today: int, touched: Touched) -> int:
    """The site's day is now ``today`` (ordinal; later than before): days leave the counts, old bookings go.

    Returns:
        Number of unsettled bookings that were forgotten without anyone having told how they ended.
    """
    leaving = [day for day in state.by_day if day < today - SETTLE_DAYS]
    for day in leaving:
        for booking_id in state.by_day.pop(day):
            state.resting[day].add(booking_id)
            state.unsettled += 1
        del state.demand[day]
        state.arrived.pop(day, None)
        touched.days.add(day)
    state.today = today
    touched.site = True
    forgotten = 0
    for day in [day for day in state.resting if day < today - KEEP_DAYS]:
        for booking_id in sorted(state.resting[day]):
            entry = state.bookings[booking_id]
            if entry.status in LIVE:
                if day >= today - UNSETTLED_KEEP_DAYS:
                    continue
                forgotten += 1
            _place(state, booking_id, entry, -1)
            del state.bookings[booking_id]
            touched.bookings.add(booking_id)
            _use_profile(state, entry.profile, -1, touched)
    return forgotten


def rebuild(state: SiteState) -> None:
    """Build everything that is derived from ``bookings`` and ``today``: after a restore."""
    for derived in (state.demand, state.arrived, state.by_day, state.resting, state.profile_uses):
        derived.clear()
    state.unsettled = state.in_series = 0
    for booking_id, entry in state.bookings.items():
        _place(state, booking_id, entry, 1)
        _use_profile(state, entry.profile, 1)


def unsettled_bookings(state: SiteState) -> list[tuple[date, str]]:
    """Day and id of every booking that is past and of which nobody has told how it ended."""
    return sorted(
        (date.fromordinal(day), booking_id)
        for day, ids in state.resting.items()
        for booking_id in ids
        if state.bookings[booking_id].status in LIVE
    )

"""Need, taken apart into the sessions that make it: what each booking and each protocol contributes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item
from planner.explain.model import Contribution, ToComePart
from planner.forecast.coming import Coming
from planner.forecast.model import DemandModel
from planner.forecast.outlook import Floats, Outlook
from planner.forecast.rows import Rows
from planner.reorder.sessions import live_bookings
from planner.site.state import BookingEntry, SiteState


class Demand:
    """The need of one item over the first ``days`` days of an outlook, by session."""

    def __init__(
        self, state: SiteState, catalogue: Catalogue, outlook: Outlook, model: DemandModel, *, item: Item, row: int
    ) -> None:
        self._state = state
        self._catalogue = catalogue
        self._model = model
        self._item = item
        self._first = outlook.need.first_day
        self._days = outlook.need.firm_mean.shape[1]
        self._keep: dict[str, Floats] = {}
        self._booked = self._sessions()
        self._coming = self._to_come()
        self._factor = self._containers_per_unit(outlook.need.firm_mean[row])
        other = outlook.need.other_mean
        to_come = outlook.need.to_come_mean[row]
        self._other = np.zeros(self._days) if other is None else np.minimum(other[row], to_come)
        self._share_to_come = self._containers_to_come(to_come - self._other)

    def contributions(self, days: int) -> tuple[Contribution, ...]:
        """Booked sessions of the first ``days`` days, by start; their ``expected`` add up to the firm mean."""
        return tuple(
            self._contribution(booking_id, entry, probability)
            for booking_id, entry, probability in self._booked
            if entry.day - self._first.toordinal() < days
        )

    def to_come(self, days: int) -> tuple[ToComePart, ...]:
        """Sessions not yet booked, by protocol; their ``expected`` and ``unexplained`` add up to the to-come mean."""
        return tuple(
            ToComePart(
                protocol=protocol,
                sessions=float(sessions[:days].sum()),
                expected=float((sessions * mean * self._share_to_come)[:days].sum()),
            )
            for protocol, (sessions, mean) in self._coming.items()
            if mean[:days].any()
        )

    def unexplained(self, days: int) -> float:
        """Containers that no booking will explain, on the first ``days`` days."""
        return float(self._other[:days].sum())

    # --- booked -------------------------------------------------------------------------------------------

    def _sessions(self) -> list[tuple[str, BookingEntry, float]]:
        first = self._first.toordinal()
        ids = live_bookings(self._state, range(first, first + self._days))
        using = [(b, entry) for b, entry in ids if self._item.id in self._state.profiles[entry.profile].items]
        scale = self._shared_arrivals()
        return [(b, entry, self._probability(entry, scale)) for b, entry in using]

    def _probability(self, entry: BookingEntry, scale: dict[tuple[int, str], float]) -> float:
        if entry.status == "arrived":
            return 1.0
        return self._kept(entry.segment, entry.day) * scale.get((entry.day, entry.profile), 1.0)

    def _kept(self, segment: str, day: int) -> float:
        keep = self._keep.get(segment)
        if keep is None:
            keep = self._keep[segment] = self._model.keep_probability(segment, self._first, self._days)
        return float(keep[day - self._first.toordinal()])

    def _shared_arrivals(self) -> dict[tuple[int, str], float]:
        """(day, profile) → factor on the probability of those who have not arrived.

        The need counts arrivals by profile and shares them among its segments in proportion. Where segments of
        different probability share a profile, that differs a little from who has really arrived; the factor makes
        the contributions those that the need is made of.
        """
        factors: dict[tuple[int, str], float] = {}
        first = self._first.toordinal()
        for day, arrived in self._state.arrived.items():
            if not first <= day < first + self._days:
                continue
            waiting: Counter[tuple[str, str]] = Counter(
                (entry.segment, entry.profile)
                for _, entry in live_bookings(self._state, (day,))
                if entry.status != "arrived"
            )
            for profile, count in arrived.items():
                of_profile = {s: n for (s, p), n in self._state.demand[day].items() if p == profile}
                share = 1 - count / sum(of_profile.values())
                counted = sum(n * share * self._kept(s, day) for s, n in of_profile.items())
                really = sum(waiting[s, profile] * self._kept(s, day) for s in of_profile)
                if really > 0:
                    factors[day, profile] = counted / really
        return factors

    def _contribution(self, booking_id: str, entry: BookingEntry, probability: float) -> Contribution:
        profile = self._state.profiles[entry.profile]
        moments = profile.items[self._item.id]
        mean = float(moments.mean)
        return Contribution(
            booking_id=booking_id,
            day=date.fromordinal(entry.day),
            start=datetime.fromtimestamp(entry.start_s, UTC),
            status=entry.status,
            protocol=profile.protocol,
            protocol_version=profile.protocol_version,
            catalogue_version=profile.catalogue_version,
            mean=mean,
            maximum=float(moments.maximum),
            probability_kept=probability,
            expected=probability * mean * float(self._factor[entry.day - self._first.toordinal()]),
        )

    # --- not yet booked -----------------------------------------------------------------------------------

    def _to_come(self) -> dict[str, tuple[Floats, Floats]]:
        """protocol → sessions to come by day, and the mean use of one by day (in ``counted_in``)."""
        sessions: dict[str, Floats] = {}
        use: dict[str, Floats] = {}
        streams = self._model.streams(self._first, self._days)
        coming = Coming(self._state, self._catalogue, Rows(self._catalogue))
        coming.begin(streams, self._first, self._days)
        for protocol, begins, ends, profile, counts in coming.by_protocol(streams):
            moments = profile.items.get(self._item.id)
            if moments is None:
                continue
            known = sessions.setdefault(protocol, np.zeros(self._days))
            known[begins:ends] += counts
            use.setdefault(protocol, np.zeros(self._days))[begins:ends] = float(moments.mean)
        return {protocol: (sessions[protocol], use[protocol]) for protocol in sorted(sessions)}

    def _containers_per_unit(self, firm: Floats) -> Floats:
        """Containers for each unit that sessions are expected to use, by day: what the site has learned of it; for a
        multi-dose item what a mL of the day takes, the rests discarded among them."""
        learned = self._state.learned
        if self._item.counted_in == "containers" and learned.scores.method(self._item.id) == "planner":
            return np.full(self._days, learned.use.mean_factor(self._item.id))
        volume = np.zeros(self._days)
        for _, entry, probability in self._booked:
            mean = float(self._state.profiles[entry.profile].items[self._item.id].mean)
            volume[entry.day - self._first.toordinal()] += probability * mean
        factor: Floats = np.divide(firm, volume, out=np.zeros(self._days), where=volume > 0)
        return factor

    def _containers_to_come(self, to_come: Floats) -> Floats:
        """Containers to come for each unit that the protocols were to bring: less than one where some of it was booked
        today."""
        volume = np.zeros(self._days)
        for sessions, use in self._coming.values():
            volume += sessions * use
        share: Floats = np.divide(to_come, volume, out=np.zeros(self._days), where=volume > 0)
        return share

"""Need, taken apart into the sessions that make it: what each booking and each protocol contributes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item
from planner.expansion.profile import typical
from planner.explain.model import Contribution, ToComePart
from planner.forecast.model import DemandModel
from planner.forecast.outlook import Floats, Outlook
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
        self._booked = self._sessions()
        self._coming = self._to_come()
        self._factor = self._containers_per_unit(outlook.need.mean[row])

    def contributions(self, days: int) -> tuple[Contribution, ...]:
        """Booked sessions of the first ``days`` days, by start; their ``expected`` add up to the firm mean."""
        return tuple(
            self._contribution(booking_id, entry, probability)
            for booking_id, entry, probability in self._booked
            if entry.day - self._first.toordinal() < days
        )

    def to_come(self, days: int) -> tuple[ToComePart, ...]:
        """Sessions not yet booked, by protocol; their ``expected`` add up to the to-come mean."""
        return tuple(
            ToComePart(
                protocol=protocol,
                sessions=float(sessions[:days].sum()),
                expected=float((sessions * mean * self._factor)[:days].sum()),
            )
            for protocol, (sessions, mean) in self._coming.items()
            if mean[:days].any()
        )

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
        to_go = np.array([float(day - self._first.toordinal())])
        return float(self._model.keep_probability(self._state.site, segment, to_go)[0])

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
        site = self._catalogue.sites[self._state.site]
        coming: dict[str, tuple[Floats, Floats]] = {}
        for protocol in sorted({entry.protocol for entry in site.expected_sessions}):
            sessions = self._model.to_come(site.id, protocol, self._first, self._days).mean
            means: dict[int, float] = {}
            use = np.zeros(self._days)
            for index in range(self._days):
                day = self._first + timedelta(days=index)
                version = self._catalogue.protocol_version(protocol, day)
                if version is None:
                    continue
                if version.version not in means:
                    profile = typical(self._catalogue, site.id, protocol, day)
                    moments = None if profile is None else profile.items.get(self._item.id)
                    means[version.version] = 0.0 if moments is None else float(moments.mean)
                use[index] = means[version.version]
            if use.any():
                coming[protocol] = (sessions, use)
        return coming

    def _containers_per_unit(self, need: Floats) -> Floats:
        """Containers for each unit counted, by day: 1, but for a multi-dose item what a mL of the day takes, the
        rests discarded among them."""
        if self._item.counted_in == "containers":
            return np.ones(self._days)
        volume = np.zeros(self._days)
        for _, entry, probability in self._booked:
            mean = float(self._state.profiles[entry.profile].items[self._item.id].mean)
            volume[entry.day - self._first.toordinal()] += probability * mean
        for sessions, use in self._coming.values():
            volume += sessions * use
        factor: Floats = np.divide(need, volume, out=np.zeros(self._days), where=volume > 0)
        return factor

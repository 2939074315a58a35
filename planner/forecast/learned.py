"""The demand model that a site's own log teaches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from planner.catalogue.index import Catalogue
from planner.forecast.model import CommonError, Pool, Stream
from planner.forecast.outlook import Floats
from planner.learning.curve import BAND_OF, BANDS
from planner.learning.mix import Path
from planner.site.state import SiteState


class LearnedModel:
    """What one site has learned, as a ``DemandModel``. Holds nothing itself.

    What was learned by the morning does not change through the day; what was booked since is taken off what was
    expected of the day, on the days and for the items it was for.
    """

    def __init__(self, state: SiteState, catalogue: Catalogue) -> None:
        self._state = state
        self._catalogue = catalogue

    def keep_probability(self, segment: str, first_day: date, days: int) -> Floats:
        """See ``DemandModel``: the site's hazards and misses, and what the segment has beside them."""
        path = self._path(first_day)
        return self._state.learned.keep.probability(segment, first_day.weekday(), path.survives, path.missed)[:days]

    def streams(self, first_day: date, days: int) -> tuple[Stream, ...]:
        """See ``DemandModel``: the curve by band of days to go, today's bookings apart from later ones; and what each
        protocol's series imply. Sessions of the curve come as in a Poisson process; what they vary beyond that is told
        by ``common_error``."""
        path, learned = self._path(first_day), self._state.learned
        mixes = learned.book.shares(self._catalogue, self._state.site, first_day.toordinal())
        streams: list[Stream] = []
        for band in range(BANDS):
            if mixes[band]:
                later, today = path.later[band, :days], np.where(band == BAND_OF, path.today, 0.0)[:days]
                streams += (Stream(mixes[band], later, later), Stream(mixes[band], today, today, "new"))
        for protocol in learned.series.protocols():
            implied = learned.series.implied(protocol, first_day, days)
            streams.append(Stream({protocol: 1.0}, implied.mean, implied.variance, "series"))
        return tuple(streams)

    def booked_today(self, first_day: date, ahead: int) -> Mapping[Pool, Mapping[str, float]]:
        """See ``DemandModel``."""
        day, learned = first_day.toordinal() + ahead, self._state.learned
        keep = float(self._path(first_day).keep[ahead])
        booked: dict[Pool, Mapping[str, int]] = {
            "new": learned.running.new.get(day, {}),
            "series": learned.continued.on(day),
        }
        return {pool: {name: n * keep for name, n in found.items()} for pool, found in booked.items() if found}

    def common_error(self, first_day: date, days: int) -> CommonError | None:
        """See ``DemandModel``."""
        total, daily = self._state.learned.book.common_error(self._catalogue, self._state.site, first_day.toordinal())
        return CommonError(total[:days], daily[:days])

    def _path(self, first_day: date) -> Path:
        return self._state.learned.book.path(self._catalogue, self._state.site, first_day.toordinal())

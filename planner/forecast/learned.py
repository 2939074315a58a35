"""The demand model that a site's own log teaches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from planner.catalogue.index import Catalogue
from planner.forecast.model import CommonError, Stream
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

    def keep_probability(self, site: str, segment: str, first_day: date, days: int) -> Floats:
        """See ``DemandModel``."""
        return self._path(first_day).keep[:days].copy()

    def streams(self, site: str, first_day: date, days: int) -> tuple[Stream, ...]:
        """See ``DemandModel``: one stream for each band of days to go; sessions come as in a Poisson process, and what
        they vary beyond that is told by ``dispersion``."""
        path = self._path(first_day)
        mixes = self._state.learned.book.shares(self._catalogue, self._state.site, first_day.toordinal())
        streams: list[Stream] = []
        for band in range(BANDS):
            if mixes[band]:
                later = path.later[band, :days]
                streams.append(Stream(mixes[band], later, later, np.where(band == BAND_OF, path.today, 0.0)[:days]))
        return tuple(streams)

    def booked_today(self, first_day: date, ahead: int) -> Mapping[str, float]:
        """See ``DemandModel``."""
        booked = self._state.learned.running.new.get(first_day.toordinal() + ahead)
        if not booked:
            return {}
        keep = float(self._path(first_day).keep[ahead])
        return {profile: number * keep for profile, number in booked.items()}

    def common_error(self, first_day: date, days: int) -> CommonError | None:
        """See ``DemandModel``."""
        total, daily = self._state.learned.book.common_error(self._catalogue, self._state.site, first_day.toordinal())
        return CommonError(total[:days], daily[:days])

    def _path(self, first_day: date) -> Path:
        return self._state.learned.book.path(self._catalogue, self._state.site, first_day.toordinal())

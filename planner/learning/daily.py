"""What the end of a site's day teaches: each part learns from the day that is over, in a fixed order."""

from __future__ import annotations

from planner.catalogue.index import Catalogue
from planner.site.state import SiteState
from planner.site.touched import Touched


def close_day(state: SiteState, catalogue: Catalogue, touched: Touched) -> None:
    """The site's day ``state.today`` is over: nothing more happens on it. Called once per day, in turn.

    What became of its sessions may still be told for ``SETTLE_DAYS``.
    """

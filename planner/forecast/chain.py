"""What all sites of a chain will need together, from their own forecasts.

A plan is a fold of one site's log, and knows of no other site (decision 10): so the sum is made where forecasts are
read. Means add up. Variances add up too, the sites' errors being taken as independent: what would move all clinics at
once (a new guideline, a holiday that no catalogue names) is in none of their logs, and a chain that fears it must widen
the figures itself. Stock at one site serves no patient at another: the sum has what is on hand, and no risk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats
from planner.forecast.quantiles import quantiles
from planner.forecast.rows import content_of
from planner.messages import QUANTILES, Forecast

ALL_SITES: Final = "*"
"""Stands for the sum of all sites; no site can be called so."""
_SUMMED: Final = ("mean", "variance", "firm_mean", "firm_variance", "to_come_mean", "to_come_variance")
_DECIMALS: Final = 6


def of_chain(forecasts: Sequence[Forecast], catalogue: Catalogue) -> list[Forecast]:
    """One forecast, of the site ``ALL_SITES``, for each kind and id of the sites' ``forecasts``, in that order.

    Sites whose day begins earlier are cut to the days that all have. ``as_of`` is that of the stalest one, the
    catalogue's version that of the freshest.

    Args:
        catalogue: tells the amount of a component's smallest container, of which its quantiles are multiples.
    """
    of_key: dict[tuple[str, str, str], list[Forecast]] = {}
    for forecast in forecasts:
        of_key.setdefault((forecast.kind, forecast.id, forecast.unit), []).append(forecast)
    return [_sum(of_key[key], _scale(catalogue, key[0], key[1])) for key in sorted(of_key)]


def _scale(catalogue: Catalogue, kind: str, name: str) -> float:
    if kind != "component" or name not in catalogue.components:
        return 1.0
    return min(content_of(catalogue, name).amounts.values(), default=1.0)


def _sum(sites: list[Forecast], scale: float) -> Forecast:
    first_day = max(one.first_day for one in sites)
    begins = [(first_day - one.first_day).days for one in sites]
    days = min(len(one.mean) - begin for one, begin in zip(sites, begins, strict=True))

    def total(figure: str) -> Floats:
        of_sites = [getattr(one, figure)[begin : begin + days] for one, begin in zip(sites, begins, strict=True)]
        result: Floats = np.sum(of_sites, axis=0)
        return result

    sums = {figure: total(figure) for figure in _SUMMED}
    levels = quantiles(sums["mean"] / scale, sums["variance"] / scale**2) * scale
    held = [one.on_hand for one in sites if one.on_hand is not None]
    freshest = max(sites, key=lambda one: one.as_of)
    return Forecast.model_construct(
        site=ALL_SITES,
        kind=freshest.kind,
        id=freshest.id,
        unit=freshest.unit,
        as_of=min(one.as_of for one in sites),
        first_day=first_day,
        catalogue_version=freshest.catalogue_version,
        **{figure: np.round(values, _DECIMALS).tolist() for figure, values in sums.items()},
        quantiles={str(level): np.round(of, _DECIMALS).tolist() for level, of in zip(QUANTILES, levels, strict=True)},
        on_hand=sum(held) if held else None,
    )

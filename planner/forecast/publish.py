"""Forecast messages: the JSON of ``planner.messages.Forecast``, written straight from the outlook's arrays.

Figures of need and stock are rounded to ``DECIMALS``, probabilities to ``RISK_DECIMALS``. A key that the outlook
does not hold (its last booking was withdrawn and nothing else mentions it) gives a tombstone, so that what a reader
sees is what planning afresh would publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import orjson

from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats, Key, Need, Outlook
from planner.forecast.projection import last_safe_order_date, on_hand, risk_day, stock_out_day
from planner.forecast.quantiles import quantiles
from planner.messages import QUANTILES
from planner.site.state import SiteState
from planner.step import Message
from planner.topics import composed_key

DECIMALS = 3
RISK_DECIMALS = 5
TOPIC = "forecasts"


def keys_of(catalogue: Catalogue, items: Iterable[str]) -> set[Key]:
    """What a change of these items' need or stock can change: the items, their groups and their components.

    Items that the catalogue no longer knows have themselves only.
    """
    keys: set[Key] = set()
    for item_id in items:
        keys.add(("item", item_id))
        item = catalogue.items.get(item_id)
        if item is not None:
            keys.add(("group", item.group))
            keys.add(("component", item.component))
    return keys


def forecast_messages(
    state: SiteState,
    catalogue: Catalogue,
    outlook: Outlook,
    now: datetime,
    keys: Iterable[Key] | None = None,
    *,
    known: KnownQuantiles | None = None,
) -> list[Message]:
    """Messages of ``keys``, in order of key; of everything the outlook holds if None.

    Args:
        now: aware; ``as_of`` of the messages.
        known: of the same site; None: every quantile is worked out.
    """
    rows = _Rows(outlook.need)
    wanted = sorted(rows.position if keys is None else set(keys))
    held = [key for key in wanted if key in rows.position]
    moments = rows.moments([rows.position[key] for key in held])
    scale = np.array([rows.scale(key) for key in held])
    mean, variance = moments[0] + moments[2], moments[1] + moments[3]
    wide = scale[:, None]
    levels = (known or KnownQuantiles()).of(held, mean / wide, variance / (wide * wide)) * wide
    figures = {
        "mean": _rounded(mean),
        "variance": _rounded(variance),
        "firm_mean": _rounded(moments[0]),
        "firm_variance": _rounded(moments[1]),
        "to_come_mean": _rounded(moments[2]),
        "to_come_variance": _rounded(moments[3]),
    }
    levels = _rounded(levels)
    names = [str(level) for level in QUANTILES]
    stock = _StockFigures(state, catalogue, outlook, now)
    bodies: dict[Key, bytes] = {}
    for at, key in enumerate(held):
        kind, name = key
        body: dict[str, Any] = {
            "schema_version": 1,
            "site": state.site,
            "kind": kind,
            "id": name,
            "unit": rows.unit(key),
            "as_of": now,
            "first_day": outlook.need.first_day,
            "catalogue_version": catalogue.version,
        }
        for figure, values in figures.items():
            body[figure] = values[at]
        body["quantiles"] = {level: levels[i, at] for i, level in enumerate(names)}
        if kind == "item":
            body.update(stock.of(name, rows.position[key]))
        bodies[key] = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return [Message(TOPIC, composed_key(state.site, *key), bodies.get(key)) for key in wanted]


class KnownQuantiles:
    """The quantiles that were told last, by key: an event changes one day of ninety, and what has the same mean and
    variance has the same quantiles. They are most of the work of a publication. Many keys are alike: a component that
    one item fills, what every session takes one of."""

    def __init__(self) -> None:
        self._told: dict[Key, tuple[Floats, Floats, Floats]] = {}

    def of(self, keys: Sequence[Key], mean: Floats, variance: Floats) -> Floats:
        """Quantiles in containers; shape (quantiles, keys, days), ``mean`` and ``variance``: (keys, days)."""
        levels = np.zeros((len(QUANTILES), *mean.shape))
        changed = np.ones(mean.shape, np.bool_)
        alike: dict[tuple[bytes, bytes], int] = {}
        first = [alike.setdefault((mean[at].tobytes(), variance[at].tobytes()), at) for at in range(len(keys))]
        for at, key in enumerate(keys):
            if first[at] != at:
                changed[at] = False
            elif key in self._told:
                before_mean, before_variance, before = self._told[key]
                np.not_equal(before_mean, mean[at], out=changed[at])
                changed[at] |= before_variance != variance[at]
                levels[:, at] = before
        levels[:, changed] = quantiles(mean[changed], variance[changed])
        for at, key in enumerate(keys):
            if first[at] == at:
                # copies: a part of an array holds the whole of it
                self._told[key] = mean[at].copy(), variance[at].copy(), levels[:, at].copy()
            else:
                self._told[key] = self._told[keys[first[at]]]
                levels[:, at] = levels[:, first[at]]
        return levels


class _Rows:
    """Items and totals of a need as one run of rows."""

    def __init__(self, need: Need) -> None:
        self._need = need
        keys: list[Key] = [("item", item) for item in need.items]
        if need.totals is not None:
            keys += need.totals.keys
        self.position = {key: row for row, key in enumerate(keys)}

    def moments(self, rows: list[int]) -> Floats:
        """Shape (4, rows, days): firm mean and variance, to-come mean and variance."""
        need, totals = self._need, self._need.totals
        parts = [need.firm_mean, need.firm_variance, need.to_come_mean, need.to_come_variance]
        if totals is None:
            return np.stack([part[rows] for part in parts])
        more = [totals.firm_mean, totals.firm_variance, totals.to_come_mean, totals.to_come_variance]
        return np.stack([np.concatenate((part, rest))[rows] for part, rest in zip(parts, more, strict=True)])

    def scale(self, key: Key) -> float:
        """The amount in one container, in the key's unit."""
        totals = self._need.totals
        if key[0] == "item" or totals is None:
            return 1.0
        return float(totals.scale[self.position[key] - len(self._need.items)])

    def unit(self, key: Key) -> str:
        totals = self._need.totals
        if key[0] == "item" or totals is None:
            return "containers"
        return totals.units[self.position[key] - len(self._need.items)]


class _StockFigures:
    """The figures that only items have."""

    def __init__(self, state: SiteState, catalogue: Catalogue, outlook: Outlook, now: datetime) -> None:
        self._state = state
        self._catalogue = catalogue
        self._outlook = outlook
        self._now = now
        self._level = catalogue.policy_of(state.site).service_level
        self._usable = _rounded(outlook.usable)
        self._risk = _rounded(outlook.risk, RISK_DECIMALS)

    def of(self, item_id: str, row: int) -> dict[str, Any]:
        outlook, catalogue, site = self._outlook, self._catalogue, self._state.site
        level = catalogue.items[item_id].service_level
        passes = risk_day(outlook, row, 1.0 - float(self._level if level is None else level))
        order_by: date | None = None
        if passes is not None:
            needed_on = date.fromordinal(outlook.need.first_day.toordinal() + passes)
            order_by = last_safe_order_date(catalogue, site, item_id, needed_on, outlook.punctuality)
        return {
            "on_hand": round(on_hand(self._state, catalogue, item_id, self._now), DECIMALS),
            "usable": self._usable[row],
            "risk": self._risk[row],
            "coverage_days": passes,
            "stock_out_day": stock_out_day(outlook, row),
            "last_safe_order_date": order_by,
        }


def _rounded(values: Floats, decimals: int = DECIMALS) -> Floats:
    """Rounded, contiguous, and without the negative zero that rounding makes of a small negative number."""
    result: Floats = np.round(values, decimals) + 0.0
    return result

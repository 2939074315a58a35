"""What completed sessions really used, in whole containers as far as it is told.

Of each item what the completion tells; else what the session was expected to use, or, drawn from the lines stated
for it, what it may have used: a PRN block is given or not, as a whole; a supply is taken in whole pieces, with the
mean and variance that its line states. Multi-dose containers are opened when a dose finds none open with something
left, and are then open for ``open_hours``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from math import floor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from planner.backtest.series import Weights
from planner.backtest.walk import Completed
from planner.base import Model
from planner.catalogue.index import Catalogue
from planner.expansion.profile import profile_of
from planner.forecast.outlook import Floats
from planner.messages import RequirementLine
from planner.site.consumption import told_amount

_ROUNDING = 1e-9


class _Lines(Model):
    lines: tuple[RequirementLine, ...]


_LINES: TypeAdapter[_Lines] = TypeAdapter(_Lines)


class Chances(NamedTuple):
    """Amounts that a line may take once its block is given, rising, with their cumulative probabilities."""

    item: str
    amounts: npt.NDArray[np.float64]
    cumulative: npt.NDArray[np.float64]


class Block(NamedTuple):
    """Lines that are all given, with ``probability``, or none of them."""

    probability: float
    lines: tuple[Chances, ...]


class _Expected(NamedTuple):
    mean: dict[str, float]
    """Item → containers (mL, multi-dose)."""
    blocks: tuple[Block, ...]


class SessionUse:
    """What sessions used, one after the other as they are told.

    Args:
        lines: JSON of stated lines by their id.
        rng: what is not told is drawn with it; None: it is what was expected.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        weights: Weights,
        lines: Callable[[str], bytes],
        rng: np.random.Generator | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._weights = weights
        self._lines = lines
        self._rng = rng
        self._known: dict[str, _Expected] = {}
        self._open: dict[tuple[str, str], _OpenContainer] = {}

    def of(self, session: Completed) -> Floats:
        """The session's part in each series; shape (series,)."""
        expected = self._known.get(session.lines_id)
        if expected is None:
            expected = self._known[session.lines_id] = self._expected(self._lines(session.lines_id))
        used = dict(expected.mean) if self._rng is None else self._drawn(expected.blocks)
        for told in session.actual_use or ():
            item = self._catalogue.items.get(told.item)
            amount = None if item is None else told_amount(item, told)
            if amount is not None:
                used[told.item] = float(amount)
        for item_id in used:
            if self._catalogue.items[item_id].counted_in == "mL":
                used[item_id] = self._opened(session, item_id, used[item_id])
        return self._weights.of_use(used)

    def _expected(self, stated: bytes) -> _Expected:
        lines = [line for line in _LINES.validate_json(stated).lines if self._matters(line)]
        moments = profile_of("", lines, "", 0, "").items
        return _Expected({item: float(each.mean) for item, each in moments.items()}, blocks_of(lines))

    def _matters(self, line: RequirementLine) -> bool:
        return line.item is not None and self._weights.of_container(line.item) is not None

    def _drawn(self, blocks: Iterable[Block]) -> dict[str, float]:
        if self._rng is None:
            raise ValueError("rng: absent; expected a generator to draw with")
        used: dict[str, float] = {}
        for block in blocks:
            given = block.probability >= 1 or self._rng.random() < block.probability
            for chances in block.lines:
                amount = 0.0
                if given:
                    sure = chances.amounts.size == 1
                    at = 0 if sure else int(np.searchsorted(chances.cumulative, self._rng.random(), side="right"))
                    amount = float(chances.amounts[at])
                used[chances.item] = used.get(chances.item, 0.0) + amount
        return used

    def _opened(self, session: Completed, item_id: str, volume_ml: float) -> float:
        """Containers opened for a session's dose of a multi-dose item."""
        item = self._catalogue.items[item_id]
        open_ = self._open.setdefault((session.site, item_id), _OpenContainer())
        return open_.take(session.start, volume_ml, float(item.content.value), float(item.open_hours or 0))


class _OpenContainer:
    """The container that is open, if any."""

    def __init__(self) -> None:
        self._rest_ml = 0.0
        self._until = datetime.min.replace(tzinfo=UTC)

    def take(self, at: datetime, volume_ml: float, size_ml: float, open_hours: float) -> int:
        """Containers opened to take ``volume_ml``; what was open too long has been thrown away."""
        if at >= self._until:
            self._rest_ml = 0.0
        opened = 0
        self._rest_ml -= volume_ml
        while self._rest_ml < -_ROUNDING:
            self._rest_ml += size_ml
            opened += 1
            self._until = at + timedelta(hours=open_hours)
        return opened


def blocks_of(lines: Iterable[RequirementLine]) -> tuple[Block, ...]:
    """The blocks of stated lines (the part of ``line`` before its first dot); lines without an item are left out."""
    blocks: dict[str, list[RequirementLine]] = {}
    for line in lines:
        if line.item is not None:
            blocks.setdefault(line.line.partition(".")[0], []).append(line)
    return tuple(
        Block(float(block[0].probability), tuple(_chances(line) for line in block)) for block in blocks.values()
    )


def _chances(line: RequirementLine) -> Chances:
    """The amounts of a line that is given: three at most, with the mean and variance that the line states.

    With probability p of being given, the amount given has the mean μ/p and the second moment (σ² + μ²)/p.
    """
    item = line.item or ""
    p = float(line.probability)
    if p == 0 or line.maximum == 0:
        return Chances(item, np.zeros(1), np.ones(1))
    mean = float(line.mean) / p
    second = (float(line.variance) + float(line.mean) ** 2) / p
    if second - mean * mean < _ROUNDING:
        return Chances(item, np.array([mean]), np.ones(1))
    low = float(line.certain) if p == 1 else float(floor(mean + _ROUNDING))
    amounts, probabilities = _whole(low, float(line.maximum), mean - low, second - 2 * low * mean + low * low)
    cumulative = np.cumsum(probabilities)
    cumulative[-1] = 1.0  # but for rounding
    return Chances(item, amounts, cumulative)


def _whole(low: float, high: float, mean: float, second: float) -> tuple[Floats, Floats]:
    """Amounts low, one between and high, whole steps apart, with these first two moments above ``low``.

    Exact for two amounts, and for those of one to three venipunctures. Where no whole amount between gives
    probabilities, low and high alone keep the mean.
    """
    width = high - low
    for between in sorted(range(1, round(width)), key=lambda a: abs(a - width / 2)):
        at_high = (second - between * mean) / (width * (width - between))
        at_between = (width * mean - second) / (between * (width - between))
        if at_high >= -_ROUNDING and at_between >= -_ROUNDING and at_high + at_between <= 1 + _ROUNDING:
            chances = np.clip([1 - at_between - at_high, at_between, at_high], 0.0, 1.0)
            return np.array([low, low + between, high]), chances
    return np.array([low, high]), np.array([1 - mean / width, mean / width])

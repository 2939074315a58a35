"""What is being told of the use of a site's running days: small, since its entry is written with every chunk.

A session that was used as expected is one count of its profile. Only what a completion tells item by item, what was
dispensed, wasted or counted has entries of its own. A day is the session's; of what no session is named for, that of
the event. What is told of a day that is settled already counts for the first one that is not.

Amounts of sessions and dispenses are in what the item is counted in (containers, or mL of a multi-dose item), of all
others in containers.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import orjson

from planner.catalogue.model import ContainerUse, Item

if TYPE_CHECKING:  # the state holds what is learned
    from planner.site.state import Moments, SiteState
    from planner.site.touched import Touched

_FORMAT: Final = 1
_WAIT_DAYS: Final = 3
"""Before the first day is settled nothing is known of days longer ago than this."""
NOT_A_PROCESS: Final = frozenset({"expired", "recalled"})
"""Reasons of waste that say nothing about how sessions are prepared."""


@dataclass(slots=True)
class DayUse:
    """What is known of a day."""

    sessions: dict[str, int] = field(default_factory=dict)
    """Profile → sessions that took place."""
    told: dict[str, list[float]] = field(default_factory=dict)
    """Item → of the sessions whose use of it was told, and that were expected to use it: their number, Σ a, Σ e, Σ v,
    Σ a², Σ a e, Σ e² (a told; e and v the expected mean and variance)."""
    dispensed: dict[str, float] = field(default_factory=dict)
    """Item → dispensed; at sites that take stock by it."""
    other: dict[str, float] = field(default_factory=dict)
    """Item → containers used without any booking that asks for them."""
    wasted: dict[str, list[float]] = field(default_factory=dict)
    """Item → containers, and Σ of their squares by event."""
    opened: dict[str, float] = field(default_factory=dict)
    """Multi-dose item → containers opened."""
    found: dict[str, float] = field(default_factory=dict)
    """Item → containers that counts of the day did not find (negative: found more), as far as another count came
    since: what is told later moves only the last one."""
    tolerance: dict[str, float] = field(default_factory=dict)
    """Item → of those, how many are let pass."""


@dataclass(slots=True)
class Using:
    """The part ``using`` of what a site has learned. Days are ordinals."""

    settled: int = 0
    """The last day that is settled and learned from; 0: none yet."""
    days: dict[int, DayUse] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    """Item → day of its last count, until that is learned from."""
    dispensed_by: dict[str, str] = field(default_factory=dict)
    """Multi-dose item → ``volume``, or ``containers`` if any was dispensed whole: then nobody tells the volume that
    sessions use."""

    def of(self, day: int, today: int) -> DayUse:
        """The record of a day, or of the nearest one that still is one."""
        if not self.settled:
            self.settled = today - _WAIT_DAYS - 1
        return self.days.setdefault(min(max(day, self.settled + 1), today), DayUse())

    def take(self, day: int) -> DayUse:
        """The record of a day that is settled; it is forgotten."""
        self.settled = day
        return self.days.pop(day, None) or DayUse()

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        days: dict[str, Any] = {str(day): astuple(self.days[day]) for day in sorted(self.days)}
        return orjson.dumps([_FORMAT, self.settled, days, self.counted, self.dispensed_by])

    @classmethod
    def decode(cls, data: bytes) -> Using:
        """See ``planner.learning.part.Part``."""
        found, *body = orjson.loads(data)
        if found != _FORMAT:
            raise ValueError(f"using entry: found format {found!r}; expected {_FORMAT}")
        settled, days, counted, dispensed_by = body
        return cls(settled, {int(day): DayUse(*told) for day, told in days.items()}, counted, dispensed_by)


# --- as events happen: each O(1), or O(items told) ---------------------------------------------------------------


def session(state: SiteState, day: int, profile: str, touched: Touched) -> None:
    """A session of ``profile`` took place on ``day`` (ordinal)."""
    if state.today:
        _add(_day(state, day, touched).sessions, profile, 1)


def told(  # noqa: PLR0917 (a site, a day, and what is told of it)
    state: SiteState, day: int, item: Item, amount: Decimal, expected: Moments | None, touched: Touched
) -> None:
    """A session of ``day`` is told to have used ``amount`` of an item; ``expected``: None, it was not to use any."""
    if not state.today:
        return
    record = _day(state, day, touched)
    if expected is None or not expected.maximum:
        _add(record.other, item.id, float(amount) / content(item))
        return
    a, e, v = float(amount), float(expected.mean), float(expected.variance)
    sums = record.told.setdefault(item.id, [0.0] * 7)
    for at, value in enumerate((1.0, a, e, v, a * a, a * e, e * e)):
        sums[at] += value


def dispensed(
    state: SiteState, day: int, item: Item, amount: Decimal, *, by_volume: bool, for_sessions: bool, touched: Touched
) -> None:
    """``amount`` (mL of a multi-dose item) was dispensed; ``for_sessions``: the site tells use by its dispenses."""
    if not state.today or amount <= 0:
        return
    record = _day(state, day, touched)
    if not for_sessions:
        _add(record.other, item.id, float(amount) / content(item))
        return
    if item.use is ContainerUse.MULTI_DOSE:
        dispensed_by = state.learned.using.dispensed_by
        dispensed_by[item.id] = "volume" if by_volume and dispensed_by.get(item.id) != "containers" else "containers"
    _add(record.dispensed, item.id, float(amount))


def opened(state: SiteState, day: int, item: Item, containers: int, touched: Touched) -> None:
    """Containers of a multi-dose item left the shelf to be opened."""
    if state.today and containers:
        _add(_day(state, day, touched).opened, item.id, float(containers))


def wasted(state: SiteState, day: int, item: Item, containers: int, touched: Touched) -> None:
    """Containers were lost in the process."""
    if state.today:
        sums = _day(state, day, touched).wasted.setdefault(item.id, [0.0, 0.0])
        sums[0] += containers
        sums[1] += containers * containers


def counted(state: SiteState, day: int, item: str, before: tuple[float, float] | None, touched: Touched) -> None:
    """An item was counted; ``before``: what the count before this one did not find (negative: found more), and what
    of that is let pass."""
    if not state.today:
        return
    using = state.learned.using
    last = using.counted.get(item)
    if last is not None and before is not None:
        record = _day(state, last, touched)
        _add(record.found, item, before[0])
        record.tolerance[item] = before[1]
    _day(state, day, touched)
    using.counted[item] = min(max(day, using.settled + 1), state.today)


def content_of(item: Item) -> Decimal:
    """What a container holds, in what the item is counted in."""
    return item.content.value if item.use is ContainerUse.MULTI_DOSE else Decimal(1)


def content(item: Item) -> float:
    """As ``content_of``, for sums."""
    return float(content_of(item))


def _day(state: SiteState, day: int, touched: Touched) -> DayUse:
    touched.learned.add("using")
    return state.learned.using.of(day, state.today)


def _add(amounts: dict[str, Any], name: str, amount: float) -> None:
    amounts[name] = amounts.get(name, 0) + amount

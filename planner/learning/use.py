"""How much a session really uses of each item, and what is wasted beside it, against what the protocol says.

Of the sessions of settled days, each expected to use an item with mean e and variance v (in what the item is counted
in; v holds what is only probable: PRN, second sticks), sums are kept, halved every ``HALF_LIFE_DAYS``:

- *told*: the use a was told (``actual_use``); at sites that tell use by dispenses, the dispenses of a day against the
  day's sessions, as one observation;
- *presumed*: nobody told, and the books took what was expected. Counts correct it: what they do not find (or find too
  much), as far as sessions can explain it, is ``found`` against the presumed use ``checked`` since the count before.

With d = Σ(e² + v) ÷ Σe the size of one use, and W = ``PRIOR_USES`` · d (a gamma prior of mean 1 of that weight):

    c = (checked + found + W) ÷ (checked + W)                   how far the presumed use is off
    r = (Σ told a + c (Σ presumed e + W)) ÷ (Σ e + W)           use ÷ expected use
    w = Σ wasted ÷ (Σ e + W)                                    lost in the process ÷ expected use
    mean of a session = (r + w) e

Dispersion: Q = Σ told (a − r e)² + Σ presumed ((c − r)² e² + c v) against B = r Σ v, what it would be if what is only
probable came more or less often, in the same sizes. Above it, the excess δ = (Q − B) ÷ (Σ e + W) is a variance per
expected unit (a fixed dose has v = 0, so that no factor on v could tell of it); below it, a factor
g = ((Q/B) Σe + W) ÷ (Σe + W). Waste comes in events of their own sizes, as a compound Poisson process,
ω = Σ (amount wasted)² ÷ (Σ e + W):

    variance of a session = g r v + (δ + ω) e

Factors are rounded to ``DIGITS`` digits, so that they change only when there is something to say. Each item has its
own: a supply does not inherit what is wasted of the drug it is for. The rest of an opened multi-dose container is no
waste here: ``planner.forecast.multidose`` has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from planner.forecast.outlook import Floats
from planner.learning.packed import pack, rounded, unpack

if TYPE_CHECKING:  # the state holds what is learned
    from planner.site.state import Profile

HALF_LIFE_DAYS: Final = 90.0
PRIOR_USES: Final = 10.0
"""Uses that went as the protocol says, in each item's favour: the weight of the prior. What is given now and then
(Poisson: variance 1 for each use) is so weighed as if sites' ratios had a standard deviation of 1/√10 = .32."""
SMALLEST, LARGEST = 0.05, 10.0
"""Of the factor on the mean, whatever is told."""
DIGITS: Final = 3
CORRECTED_MOST: Final = 0.5
"""Share of the presumed use by which sessions may have used more; what a count misses beyond it is other use."""
_DECAY: Final = 0.5 ** (1 / HALF_LIFE_DAYS)
_FORGOTTEN: Final = 1e-3
_REMEMBERED_MOST: Final = 2_048
_FORMAT: Final = 1

TOLD, A, E_TOLD, V_TOLD, AA, AE, EE_TOLD, E_PRESUMED, V_PRESUMED, EE_PRESUMED, SQUARES, WASTE, WASTE_SQUARES = range(13)
CHECKED, FOUND = 13, 14
_COLUMNS: Final = 15


class Factors(NamedTuple):
    """What sessions use, against what their protocols say. Arrays by item.

    A session with mean e and variance v uses ``mean`` × e, with variance ``variance`` × v + ``added`` × e.
    """

    mean: Floats
    variance: Floats
    added: Floats


class Learnt(NamedTuple):
    """What is known of one item, for people."""

    told: int
    """Sessions whose use was told (days, where it is told by dispenses), since ``since``."""
    since: date
    use: float
    """r: use ÷ expected use."""
    waste: float
    """w: wasted ÷ expected use."""
    presumed: float
    """c: what counts make of use that nobody told."""
    factors: tuple[float, float, float]
    """On the mean, on the variance, and the variance added per expected unit."""


class Expected(NamedTuple):
    """Of some sessions together, by item: Σe, Σv and Σe²; shape (items,) each."""

    e: Floats
    v: Floats
    ee: Floats


class Use:
    """The part ``use`` of what a site has learned."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self._at: dict[str, int] = {}
        self._sums: Floats = np.zeros((_COLUMNS, 0))
        self._told: list[int] = []
        self._since: list[int] = []
        self._unchecked: dict[str, float] = {}
        """Item → presumed use since its last count."""
        self._rows: dict[str, tuple[npt.NDArray[np.intp], Floats]] = {}  # caches
        self._factors: Factors | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Use) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    # --- what is asked of it ------------------------------------------------------------------------------------

    def mean_factor(self, item: str) -> float:
        """Containers (mL) that leave the shelf for one that a session is expected to use, waste among them."""
        return float(self.use_factors([item]).mean[0])

    def variance_factor(self, item: str) -> float:
        """Factor on the variance of a session's use; beside it stands ``Factors.added``."""
        return float(self.use_factors([item]).variance[0])

    def use_factors(self, items: Sequence[str]) -> Factors:
        """Factors aligned with ``items``; of those of which nothing is known 1, 1 and 0."""
        known = self._all()
        at = [self._at.get(item, -1) for item in items]
        return Factors(*(values[at] for values in known))

    def changed(self) -> dict[str, tuple[float, float, float]]:
        """Items whose factors are not 1, 1 and 0 → those."""
        known = self._all()
        differs = (known.mean != 1.0) | (known.variance != 1.0) | (known.added != 0.0)
        return {
            self.items[at]: (float(known.mean[at]), float(known.variance[at]), float(known.added[at]))
            for at in np.flatnonzero(differs).tolist()
        }

    def uses(self, item: str) -> bool:
        """Whether sessions are expected to use an item, or were lately."""
        at = self._at.get(item)
        return at is not None and bool(self._sums[[E_TOLD, E_PRESUMED], at].any())

    def presumed(self, item: str) -> float:
        """c: real use for one unit of use that nobody told."""
        at = self._at.get(item)
        return 1.0 if at is None else float(_ratios(self._sums[:, [at]])[1][0])

    def learnt(self, item: str) -> Learnt | None:
        """What is known of an item; None: nothing that sessions use."""
        if not self.uses(item):
            return None
        at = self._at[item]
        _, c, r, w = _ratios(self._sums[:, [at]])
        factors = float(self._all().mean[at]), float(self._all().variance[at]), float(self._all().added[at])
        since = date.fromordinal(self._since[at])
        return Learnt(self._told[at], since, float(r[0]), float(w[0]), float(c[0]), factors)

    def _all(self) -> Factors:
        """Of all items, and last of one that is not known."""
        if self._factors is None:
            mean, variance, added = _factors(self._sums)
            self._factors = Factors(np.append(mean, 1.0), np.append(variance, 1.0), np.append(added, 0.0))
        return self._factors

    # --- learning -----------------------------------------------------------------------------------------------

    def age(self) -> None:
        """A day has passed; items that nothing has used for long are forgotten."""
        self._sums = rounded(self._sums * _DECAY)
        kept = self._sums.max(axis=0, initial=0.0) > _FORGOTTEN
        if not kept.all():
            self._sums = self._sums[:, kept]
            stay = np.flatnonzero(kept).tolist()
            self.items = [self.items[at] for at in stay]
            self._told = [self._told[at] for at in stay]
            self._since = [self._since[at] for at in stay]
            self._at = {item: number for number, item in enumerate(self.items)}
            self._rows.clear()
        self._factors = None

    def expect(self, sessions: Mapping[str, float], profiles: Mapping[str, Profile], day: int) -> Expected:
        """What so many sessions by profile are expected to use; profiles that are not known are left out.

        Their items are known from then on, since ``day`` (ordinal).
        """
        rows = [(self._row(profiles[name], day), number) for name, number in sessions.items() if name in profiles]
        width = len(self.items)
        if not rows:
            return Expected(*np.zeros((3, width)))
        at = np.concatenate([row[0] for row, _ in rows])
        weight = np.repeat([number for _, number in rows], [row[0].size for row, _ in rows])
        values = np.concatenate([row[1] for row, _ in rows], axis=1)
        e, v, ee = (np.bincount(at, weight * values[kind], width).astype(np.float64, copy=False) for kind in range(3))
        return Expected(e, v, ee)

    def _row(self, profile: Profile, day: int) -> tuple[npt.NDArray[np.intp], Floats]:
        row = self._rows.get(profile.id)
        if row is None:
            if len(self._rows) >= _REMEMBERED_MOST:
                self._rows.clear()
            some = {item: moments for item, moments in profile.items.items() if moments.mean}
            mean = np.array([float(moments.mean) for moments in some.values()])
            variance = np.array([float(moments.variance) for moments in some.values()])
            at = np.array([self._column(item, day) for item in some], dtype=np.intp)
            row = self._rows[profile.id] = at, np.stack((mean, variance, mean * mean))
        return row

    def _column(self, item: str, day: int) -> int:
        at = self._at.get(item)
        if at is None:
            at = self._at[item] = len(self.items)
            self.items.append(item)
            self._told.append(0)
            self._since.append(day)
            self._sums = np.pad(self._sums, ((0, 0), (0, 1)))
            self._factors = None
        return at

    def learn(self, expected: Expected, told: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Sessions of a day are settled.

        Args:
            expected: of all of them.
            told: item → of those whose use of it was told: number, Σ a, Σ e, Σ v, Σ a², Σ a e, Σ e².

        Returns:
            Item → presumed use of those of which nobody told.
        """
        sums = np.zeros((_COLUMNS, len(self.items)))
        for item, values in told.items():
            at = self._at.get(item)
            if at is not None:
                sums[TOLD : EE_TOLD + 1, at] = values
                self._told[at] += round(values[0])
        rest = [expected.e - sums[E_TOLD], expected.v - sums[V_TOLD], expected.ee - sums[EE_TOLD]]
        # but for rounding: all was told
        some = rest[0] > 1e-9 * expected.e
        sums[[E_PRESUMED, V_PRESUMED, EE_PRESUMED]] = [np.where(some, np.maximum(values, 0.0), 0.0) for values in rest]
        sums[SQUARES] = expected.ee + expected.v
        self._add(sums)
        found = {self.items[at]: float(sums[E_PRESUMED, at]) for at in np.flatnonzero(some).tolist()}
        for item, amount in found.items():
            self._unchecked[item] = round(self._unchecked.get(item, 0.0) + amount, 6)
        return found

    def learn_days(self, expected: Expected, amounts: Mapping[str, float], unclear: Iterable[str]) -> None:
        """The dispenses of a day against its sessions; ``unclear``: items of which they do not tell what was used."""
        sums = np.zeros((_COLUMNS, len(self.items)))
        a = np.zeros(len(self.items))
        for item, amount in amounts.items():
            if item in self._at:
                a[self._at[item]] = amount
        e, v = expected.e.copy(), expected.v.copy()
        for item in unclear:
            if item in self._at:
                at = self._at[item]
                a[at] = e[at] = v[at] = 0.0
        a[e <= 0] = 0.0
        sums[[TOLD, A, E_TOLD, V_TOLD, AA, AE, EE_TOLD]] = [e > 0, a, e, v, a * a, a * e, e * e]
        sums[SQUARES] = np.where(e > 0, expected.ee + expected.v, 0.0)
        for at in np.flatnonzero(e > 0).tolist():
            self._told[at] += 1
        self._add(sums)

    def learn_waste(self, item: str, amount: float, squares: float) -> None:
        """Lost in the process, of an item that sessions use; ``squares``: Σ of the squared amounts by event."""
        sums = np.zeros((_COLUMNS, len(self.items)))
        sums[[WASTE, WASTE_SQUARES], self._at[item]] = amount, squares
        self._add(sums)

    def learn_count(self, item: str, missing: float) -> float:
        """A count did not find so much of an item (negative: found more).

        Returns:
            What of it sessions do not explain.
        """
        presumed = self._unchecked.pop(item, 0.0)
        at = self._at.get(item)
        if at is None or presumed <= 0:
            return missing
        explained = min(max(missing, -presumed), CORRECTED_MOST * presumed)
        sums = np.zeros((_COLUMNS, len(self.items)))
        sums[[CHECKED, FOUND], at] = presumed, explained
        self._add(sums)
        return missing - explained

    def first_count(self, item: str) -> None:
        """An item was counted for the first time: what was presumed before cannot be checked."""
        self._unchecked.pop(item, None)

    def _add(self, sums: Floats) -> None:
        self._sums = rounded(self._sums + sums)
        self._factors = None

    # --- entries ------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        return orjson.dumps([_FORMAT, self.items, self._told, self._since, pack(self._sums), self._unchecked])

    @classmethod
    def decode(cls, data: bytes) -> Use:
        """See ``planner.learning.part.Part``."""
        found, *body = orjson.loads(data)
        if found != _FORMAT:
            raise ValueError(f"use entry: found format {found!r}; expected {_FORMAT}")
        use = cls()
        use.items, use._told, use._since, sums, use._unchecked = body
        use._at = {item: number for number, item in enumerate(use.items)}
        use._sums = unpack(sums, (_COLUMNS, len(use.items)))
        return use


def _ratios(sums: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Weight of the prior, c, r and w; shape (items,) each."""
    e = sums[E_TOLD] + sums[E_PRESUMED]
    some = e > 0
    weight = np.where(some, PRIOR_USES * sums[SQUARES] / np.where(some, e, 1.0), 1.0)
    c = np.maximum((sums[CHECKED] + sums[FOUND] + weight) / (sums[CHECKED] + weight), 0.0)
    r = (sums[A] + c * (sums[E_PRESUMED] + weight)) / (e + weight)
    return weight, c, r, sums[WASTE] / (e + weight)


def _factors(sums: Floats) -> tuple[Floats, Floats, Floats]:
    weight, c, r, w = _ratios(sums)
    e = sums[E_TOLD] + sums[E_PRESUMED]
    base = r * (sums[V_TOLD] + sums[V_PRESUMED])
    seen = sums[AA] - 2 * r * sums[AE] + r * r * sums[EE_TOLD]
    seen += (c - r) ** 2 * sums[EE_PRESUMED] + c * sums[V_PRESUMED]
    less = (seen < base) & (base > 0)
    share = np.divide(np.maximum(seen, 0.0), base, out=np.ones_like(base), where=less)
    g = np.where(less, (share * e + weight) / (e + weight), 1.0)
    excess = np.where(less, 0.0, np.maximum(seen - base, 0.0)) + sums[WASTE_SQUARES]
    size = weight / PRIOR_USES
    added = size * _round(excess / (e + weight) / size)
    return _round(np.clip(r + w, SMALLEST, LARGEST)), _round(r * g), added


def _round(values: Floats) -> Floats:
    result: Floats = np.round(values, DIGITS)
    return result

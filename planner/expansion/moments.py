"""Exact moment algebra of what one session takes of an item.

Nothing here is a binary float. Two facts carry it all: quantities that are independent add means and variances, and
a quantity taken only with probability p has mean p·m and second moment p·(v + m²).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import NamedTuple

ROUNDED_TO_DECIMALS = 12
"""Decimals of a quantity that no decimal number expresses (50 mg of 30 mg/mL are 1.666… mL). Others are exact."""

MOST_ATTEMPTS = 3
"""Venipunctures of a session at most; afterwards somebody else, or another way, is found."""


class Taken(NamedTuple):
    """What a session takes of an item, in containers or mL: exact moments and bounds.

    ``maximum``: the most that has a probability above 0. ``certain``: what is taken when no PRN line is given, the
    first stick succeeds and no extra is needed.
    """

    mean: Fraction
    variance: Fraction
    maximum: Fraction
    certain: Fraction

    @classmethod
    def exactly(cls, amount: Fraction) -> Taken:
        return cls(amount, Fraction(0), amount, amount)

    def with_probability(self, probability: Fraction) -> Taken:
        """The same, taken only with ``probability`` and otherwise not at all."""
        if probability == 1:
            return self
        mean = probability * self.mean
        return Taken(
            mean,
            probability * (self.variance + self.mean**2) - mean**2,
            self.maximum if probability > 0 else Fraction(0),
            Fraction(0),
        )


NOTHING = Taken(Fraction(0), Fraction(0), Fraction(0), Fraction(0))


def sum_independent(parts: Iterable[Taken]) -> Taken:
    """The sum of independent quantities."""
    total = NOTHING
    for part in parts:
        total = Taken(*(a + b for a, b in zip(total, part, strict=True)))
    return total


def attempts(first_stick_probability: Fraction) -> list[tuple[int, Fraction]]:
    """Number of venipunctures with its probability: each succeeds with ``p``, and the third is the last.

    P(1) = p, P(2) = (1 − p)·p, P(3) = (1 − p)²; numbers that cannot happen are left out. Expected 1.3429 at
    p = .73 and 1.1596 at p = .86 (facts: 1.34 and 1.16).
    """
    p = first_stick_probability
    chances = [(1, p), (2, (1 - p) * p), (MOST_ATTEMPTS, (1 - p) ** 2)]
    return [(number, chance) for number, chance in chances if chance > 0]


def as_decimal(value: Fraction) -> Decimal:
    """``value`` exactly where a decimal number can express it, else half-even to ``ROUNDED_TO_DECIMALS``.

    Equal values give equal text: trailing zeros are dropped.
    """
    twos = fives = 0
    rest = value.denominator
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    decimals = max(twos, fives) if rest == 1 else ROUNDED_TO_DECIMALS
    scaled = round(value * 10**decimals)
    while decimals > 0 and scaled % 10 == 0:
        scaled, decimals = scaled // 10, decimals - 1
    with localcontext() as context:
        context.prec = max(len(str(abs(scaled))), 1)
        return Decimal(scaled).scaleb(-decimals)

"""Portions: the containers that sessions take of an item at once.

Where every session that takes an item takes three, or six, the third of each three is worth nothing without the other
two: the use over any days is a multiple of the *portion*, the greatest common divisor of all that sessions take, and
the risk of running out falls only where the supply reaches another whole portion.

Of a session's use mean m, certain amount c and maximum M are known, and its variance. A variance is at most
(M − m)(m − c), and it is that just when the use is either c or M (R. Bhatia, C. Davis, "A better bound on the
variance", *Amer. Math. Monthly* 107 (2000) 353–357): so only then is it known that nothing in between is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from planner.site.state import Moments, Profile


def portion_of(use: Moments) -> int:
    """The greatest number of containers of which a session takes a multiple; 1 where its use is not known so well, 0
    where it takes none."""
    low, high = use.certain, use.maximum
    if low != high and use.variance != (high - use.mean) * (use.mean - low):
        return 1
    if low != low.to_integral_value() or high != high.to_integral_value():
        return 1
    return math.gcd(int(low), int(high))


def portion(item: str, profiles: Iterable[Profile], so_far: int = 0) -> int:
    """The portion of an item over some sessions and those that gave ``so_far``; 0: none of them takes it."""
    for profile in profiles:
        if so_far == 1:
            break
        use = profile.items.get(item)
        if use is not None:
            so_far = math.gcd(so_far, portion_of(use))
    return so_far

"""What of a booking the probability that it takes place may depend on, as one short text shared by many bookings.

``<protocol>+<new or series>+<lead>+<source>``: ``infusion+series+14-41+web``. A protocol has no ``+`` in it; the source
comes last, so it may. Nothing in it says who the patient is.
"""

from __future__ import annotations

import sys
from base64 import urlsafe_b64encode
from bisect import bisect_right
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

UNKNOWN: Final = "unknown"
"""A source or lead that nobody told."""

LEAD_CLASSES: Final = ("0", "1-3", "4-13", "14-41", "42-")
_LEAD_FROM: Final = (0, 1, 4, 14, 42)
"""First number of days of each class."""

_SERIES: Final = "series"
_NEW: Final = "new"


class Traits(NamedTuple):
    """A segment, taken apart."""

    protocol: str
    series: bool
    """One of a patient's series, not a single session."""
    lead: str
    """One of ``LEAD_CLASSES``, or ``UNKNOWN``."""
    source: str
    """Who booked it, or ``UNKNOWN``."""


def lead_class(days: int | None) -> str:
    """The class of a booking made so many days before its day; one entered after it counts as made on the day."""
    return UNKNOWN if days is None else LEAD_CLASSES[max(bisect_right(_LEAD_FROM, days) - 1, 0)]


def compose(protocol: str, *, series: bool, lead_days: int | None, source: str | None) -> str:
    """The segment's text, interned: equal segments are one object.

    Args:
        protocol: a slug.
        series: see ``Traits``.
        lead_days: from the day it was booked to the day of its session; None: not known.
        source: who booked it; None: not known.
    """
    kind = _SERIES if series else _NEW
    return sys.intern(f"{protocol}+{kind}+{lead_class(lead_days)}+{source or UNKNOWN}")


@lru_cache(maxsize=4_096)
def parse(segment: str) -> Traits:
    """The traits of a segment's text. What it does not say (entries of earlier versions say less) is unknown."""
    protocol, kind, lead, source = [*segment.split("+", 3), "", "", ""][:4]
    return Traits(protocol, kind == _SERIES, lead or UNKNOWN, source or UNKNOWN)


def series_key(series_id: str) -> str:
    """Eight characters that stand for a series: ids may be long, and what is kept of a thousand is to stay small.

    48 bits of BLAKE2b: with 1,500 series, two share a key once in 250 million sites.
    """
    return sys.intern(urlsafe_b64encode(blake2b(series_id.encode(), digest_size=6).digest()).decode())

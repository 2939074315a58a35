"""Quantities packed in two bytes each, where there are many of them and a small error does no harm.

A quantity x ≥ 0 becomes round(K·ln(1 + x/unit)), a whole number below 2¹⁶: within .02 % of x + unit, up to 10⁸. What a
step keeps in memory is already packed, so that a restored state is equal to the bit.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

import numpy as np
import numpy.typing as npt

from planner.forecast.outlook import Floats

Codes = npt.NDArray[np.uint16]

ABSENT: Final = 0xFFFF
"""The code of what is not known; it becomes nan again."""
TOLERANCE: Final = 4e-4
"""Relative error of a sum of quantities that were packed, at most."""
_UNIT: Final = 1 / 64
_STEPS: Final = 2_880.0
"""K: codes per factor e; 10⁸ becomes 65 073."""


def encoded(quantities: Floats) -> Codes:
    """Codes of the same shape; nan becomes ``ABSENT``, what is above 10⁸ is taken as that, below 0 as 0."""
    codes = np.rint(_STEPS * np.log1p(np.clip(quantities, 0.0, 1e8) / _UNIT))
    return np.where(np.isnan(codes), ABSENT, codes).astype(np.uint16)


def decoded(codes: Codes) -> Floats:
    """The quantities, nan for ``ABSENT``."""
    quantities: Floats = np.expm1(codes * (1 / _STEPS)) * _UNIT
    quantities[codes == ABSENT] = np.nan
    return quantities


def text_of(codes: Codes) -> str:
    """Codes as text for JSON."""
    return b64encode(np.ascontiguousarray(codes, "<u2").tobytes()).decode()


def codes_from(text: str, shape: tuple[int, ...]) -> Codes:
    """What ``text_of`` wrote.

    Raises:
        ValueError: it is not of this shape.
    """
    return np.frombuffer(b64decode(text, validate=True), "<u2").reshape(shape).astype(np.uint16)

"""Arrays in a table entry: 32-bit floats as base64 text.

What is learned is rounded to 32 bits whenever it changes (``rounded``), so that what an entry holds is what the step
goes on with: a restart changes nothing.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import numpy as np

from planner.forecast.outlook import Floats


def rounded(values: Floats) -> Floats:
    """``values`` as they come back from an entry; same shape."""
    return values.astype(np.float32).astype(np.float64)


def pack(values: Floats) -> str:
    """Text of an array of any shape (which the reader must know)."""
    return b64encode(values.astype("<f4").tobytes()).decode()


def unpack(text: str, shape: tuple[int, ...]) -> Floats:
    """The array that ``pack`` wrote.

    Raises:
        ValueError: its size is not that of ``shape``.
    """
    return np.frombuffer(b64decode(text, validate=True), "<f4").astype(np.float64).reshape(shape)

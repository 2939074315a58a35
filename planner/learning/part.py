"""One learned thing of a site, kept as one table entry."""

from __future__ import annotations

from typing import Protocol, Self


class Part(Protocol):
    """Something that a site learns. ``decode(encode())`` is equal to the part, to the bit."""

    def encode(self) -> bytes:
        """JSON, small: all parts of a site together stay below 200 KB."""
        ...

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read an entry that ``encode`` wrote.

        Raises:
            ValueError: the entry is of a format that this version does not know.
        """
        ...

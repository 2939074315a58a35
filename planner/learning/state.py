"""All that a site has learned: its parts by name. Each is a table entry ``learned``, site, name."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from planner.learning.book import Book
from planner.learning.keep import Keep, Losses
from planner.learning.lateness import Lateness
from planner.learning.other import Other
from planner.learning.part import Part
from planner.learning.running import Running
from planner.learning.scores import Scores
from planner.learning.series import Continued, Series
from planner.learning.use import Use
from planner.learning.using import Using


@dataclass(slots=True)
class Learned:
    """A part per field; the field's name is the entry's."""

    book: Book = field(default_factory=Book)
    running: Running = field(default_factory=Running)
    keep: Keep = field(default_factory=Keep)
    losses: Losses = field(default_factory=Losses)
    series: Series = field(default_factory=Series)
    continued: Continued = field(default_factory=Continued)
    lateness: Lateness = field(default_factory=Lateness)
    scores: Scores = field(default_factory=Scores)
    using: Using = field(default_factory=Using)
    use: Use = field(default_factory=Use)
    other: Other = field(default_factory=Other)

    def part(self, name: str) -> Part:
        """The part called ``name``.

        Raises:
            KeyError: there is no such part.
        """
        if name not in PARTS:
            raise KeyError(name)
        found: Part = getattr(self, name)
        return found

    def restore(self, name: str, data: bytes) -> None:
        """Put a part back from its entry; one that this version does not know is passed over."""
        kind = PARTS.get(name)
        if kind is not None:
            setattr(self, name, kind.decode(data))


PARTS: Final[dict[str, type[Part]]] = {part.name: part.default_factory for part in fields(Learned)}  # type: ignore[misc]
"""Name → class of each part."""

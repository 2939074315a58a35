"""The bookings of one partition as a step reads and changes them: the table behind, the current page before it."""

from __future__ import annotations

from planner.booking.requirements import lines_key
from planner.booking.row import BookingRow, booking_key
from planner.expansion.memo import Stated
from planner.step import Effects, Entries

LINES_KNOWN_MOST = 65_536
"""Ids of stated lines remembered as being in the table; beyond, they are forgotten and looked up again."""


class Ledger:
    """Rows by booking. Holds only the rows that the current page touched; each is written once, with the page."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.page = Effects()
        self._touched: dict[bytes, BookingRow] = {}
        self._lines_known: set[str] = set()

    def get(self, booking_id: str) -> BookingRow | None:
        """The booking's row, to be read; a change of it needs ``put``."""
        key = booking_key(booking_id)
        row = self._touched.get(key)
        if row is not None:
            return row
        value = self.entries.get(key)
        return None if value is None else BookingRow.decode(value)

    def put(self, booking_id: str, row: BookingRow) -> None:
        self._touched[booking_key(booking_id)] = row

    def lines(self, lines_id: str) -> bytes:
        """Lines stated before, as the JSON object kept for all bookings that share them.

        Raises:
            LookupError: the table has lost them: a broken invariant, never an input's fault.
        """
        key = lines_key(lines_id)
        lines = self.page.writes.get(key) or self.entries.get(key)
        if lines is None:
            raise LookupError(f"stated lines {lines_id!r} are not in the table")
        return lines

    def keep_lines(self, stated: Stated) -> None:
        """Write lines that are stated for the first time."""
        if stated.lines_id in self._lines_known:
            return
        key = lines_key(stated.lines_id)
        if key not in self.page.writes and self.entries.get(key) is None:
            self.page.writes[key] = stated.lines
        if len(self._lines_known) >= LINES_KNOWN_MOST:
            self._lines_known.clear()
        self._lines_known.add(stated.lines_id)

    @property
    def touched(self) -> int:
        """Bookings that the current page changes."""
        return len(self._touched)

    def turn_page(self, *, more: bool) -> Effects:
        """The current page, complete; the next one begins empty once the engine has made this one durable."""
        page = self.page
        for key, row in self._touched.items():
            page.writes[key] = row.encode()
        page.more = more
        self.page = Effects()
        self._touched = {}
        return page

"""The bookings of one partition as a step reads and changes them: the table behind, the current page before it.

Rows, and lines that no row needs any more, are forgotten, so that the table does not grow for ever
(``planner.booking.retention``).
"""

from __future__ import annotations

from planner.booking import retention
from planner.booking.requirements import lines_key
from planner.booking.retention import LINES_UNTIL_PREFIX, ends_key, ends_prefix, lines_until_key
from planner.booking.row import BookingRow, booking_key
from planner.expansion.memo import Stated
from planner.step import Effects, Entries

LINES_KNOWN_MOST = 65_536
"""Ids of stated lines remembered as being in the table; beyond, they are forgotten and looked up again."""

_HELD = b"1"


class Ledger:
    """Rows by booking. Holds only the rows that the current page touched; each is written once, with the page.

    ``today``: ordinal of the partition's day (UTC) as told by ``pass_to``; 0: none was told yet.
    """

    def __init__(self, entries: Entries, today: int = 0) -> None:
        self.entries = entries
        self.page = Effects()
        self.today = today
        self._page_began = today
        self._touched: dict[bytes, BookingRow | None] = {}
        self._lines_known: dict[str, int] = {}  # id → through which day they are kept

    def get(self, booking_id: str) -> BookingRow | None:
        """The booking's row, to be read; a change of it needs ``put``."""
        key = booking_key(booking_id)
        if key in self._touched:
            return self._touched[key]
        value = self.entries.get(key)
        return None if value is None else BookingRow.decode(value)

    def put(self, booking_id: str, row: BookingRow) -> None:
        """Keep a row as an event has left it, once for each event, and its lines for as long as it is kept."""
        self._touched[booking_key(booking_id)] = row
        self._keep_until(booking_id, row, retention.due(row.day, self.today))

    def lines(self, lines_id: str) -> bytes:
        """Lines stated before, as the JSON object kept for all bookings that share them.

        Raises:
            LookupError: the table has lost them: a broken invariant, never an input's fault.
        """
        lines = self._entry(lines_key(lines_id))
        if lines is None:
            raise LookupError(f"stated lines {lines_id!r} are not in the table")
        return lines

    def keep_lines(self, stated: Stated) -> None:
        """Write lines that are stated for the first time; the row that has them is ``put`` with the same event."""
        if stated.lines_id in self._lines_known:
            return
        key = lines_key(stated.lines_id)
        if self._entry(key) is None:
            self.page.writes[key] = stated.lines

    @property
    def touched(self) -> int:
        """Bookings that the current page changes."""
        return len(self._touched)

    def turn_page(self, *, more: bool) -> Effects:
        """The current page, complete; the next one begins empty once the engine has made this one durable."""
        page = self.page
        for key, row in self._touched.items():
            page.writes[key] = None if row is None else row.encode()
        page.more = more
        self.page = Effects()
        self._touched = {}
        self._page_began = self.today
        return page

    # --- what is forgotten --------------------------------------------------------------------------------

    def pass_to(self, today: int) -> int:
        """The partition's day is ``today`` (ordinal; not before the last one): rows that are due go, and lines.

        Returns:
            Number of bookings forgotten.
        """
        before, self.today = self.today, today
        if not before:
            self._page_began = today
            return 0
        forgotten = 0
        # a clock that jumps farther has passed every day that a row may be due on
        for day in range(before, min(today, before + retention.DUE_WITHIN_DAYS)):
            for booking_id in self._due_on(day):
                forgotten += self._forget(booking_id)
        if today // retention.LINES_STEP_DAYS != before // retention.LINES_STEP_DAYS:
            self._forget_lines()
        return forgotten

    def _due_on(self, day: int) -> list[str]:
        prefix = ends_prefix(day)
        writes = self.page.writes
        keys = {key for key, _ in self.entries.scan(prefix)}
        if day >= self._page_began + retention.ENDED_KEEP_DAYS:  # only then may this page itself have put one there
            keys.update(key for key in writes if key.startswith(prefix))
        return sorted(key[len(prefix) :].decode() for key in keys if writes.get(key, _HELD) is not None)

    def _forget(self, booking_id: str) -> bool:
        row = self.get(booking_id)
        if row is None:
            raise LookupError(f"booking {booking_id!r} is due to be forgotten and is not in the table")
        later = retention.due_unsettled(row)
        if later >= self.today:
            self._touched[booking_key(booking_id)] = row
            self._keep_until(booking_id, row, later)
            return False
        self._touched[booking_key(booking_id)] = None
        self.page.writes[ends_key(row.due, booking_id)] = None
        return True

    def _keep_until(self, booking_id: str, row: BookingRow, due: int) -> None:
        if due != row.due:
            if row.due:
                self.page.writes[ends_key(row.due, booking_id)] = None
            self.page.writes[ends_key(due, booking_id)] = _HELD
            row.due = due
        if row.lines_id and self._lines_known.get(row.lines_id, 0) < due:
            self._keep_lines_until(row.lines_id, due)

    def _keep_lines_until(self, lines_id: str, due: int) -> None:
        key = lines_until_key(lines_id)
        known = self._entry(key)
        until = 0 if known is None else int(known)
        if until < due:
            until = retention.rounded_up(due)
            self.page.writes[key] = b"%d" % until
        if len(self._lines_known) >= LINES_KNOWN_MOST:
            self._lines_known.clear()
        self._lines_known[lines_id] = until

    def _forget_lines(self) -> None:
        writes = self.page.writes
        kept = {key: value for key, value in self.entries.scan(LINES_UNTIL_PREFIX) if key not in writes}
        new = ((key, value) for key, value in writes.items() if key.startswith(LINES_UNTIL_PREFIX))
        kept |= {key: value for key, value in new if value is not None}
        for key, value in kept.items():
            if int(value) < self.today:
                lines_id = key[len(LINES_UNTIL_PREFIX) :].decode()
                writes[key] = writes[lines_key(lines_id)] = None
                self._lines_known.pop(lines_id, None)

    def _entry(self, key: bytes) -> bytes | None:
        """An entry as the current page leaves it."""
        writes = self.page.writes
        return writes[key] if key in writes else self.entries.get(key)

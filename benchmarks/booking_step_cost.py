"""What the booking step costs per event, beside what pydantic takes to decode it.

    python -m benchmarks.booking_step_cost

One process, no log: encoded records in, effects out, on magnesium bookings of the default catalogue. The best of
several rounds, because other work on the machine only ever adds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

import orjson

from config.load import DEFAULT_CATALOGUE, load_catalogue
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.events.bookings import BOOKING_EVENTS
from planner.messages import REQUIREMENTS
from planner.records import decode
from planner.step import Message, Record

EVENTS = 20_000
CHUNK = 500
ROUNDS = 5
LOGGED_AT_MS = int(datetime(2026, 5, 1, 8, tzinfo=UTC).timestamp() * 1000)
"""When the events happened, and were appended: one from the future would be refused."""


class Table:
    """Entries in memory."""

    def __init__(self, entries: dict[bytes, bytes]) -> None:
        self.entries = entries

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return ((key, self.entries[key]) for key in sorted(self.entries) if key.startswith(prefix))


def records(kind: str, version: int, site: str) -> list[Record]:
    """One event of ``kind`` for each booking."""
    made = []
    for number in range(EVENTS):
        event: dict[str, object] = {
            "schema_version": 1,
            "type": f"booking.{kind}",
            "event_id": f"e{version}-{number:07}",
            "occurred_at": "2026-05-01T08:00:00Z",
            "source": "benchmark",
            "booking_id": f"b{number:07}",
            "version": version,
        }
        if kind == "booked":
            event |= {"site": site, "protocol": "magnesium", "start": f"2026-06-{number % 28 + 1:02}T10:00:00Z"}
        if kind == "rescheduled":
            event |= {"start": f"2026-07-{number % 28 + 1:02}T10:00:00Z"}
        made.append(Record("bookings", 0, number, LOGGED_AT_MS, f"b{number:07}".encode(), orjson.dumps(event)))
    return made


def best(run: Callable[[], object]) -> float:
    """Microseconds of processor time per event, of the fastest round."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        run()
        fastest = min(fastest, time.process_time() - begun)
    return fastest / EVENTS * 1e6


def read_all(log: list[Record]) -> None:
    for record in log:
        decode(BOOKING_EVENTS, record)


def fold(
    bundle: Bundle, table: dict[bytes, bytes], log: list[Record], *, keep: bool = True
) -> tuple[dict[bytes, bytes], list[Message]]:
    """A fresh step over a copy of a table; ``keep`` the messages, or let them go as an engine would."""
    entries = dict(table)
    step = BookingStep(0, 4, bundle)
    step.restore(Table(entries))
    messages: list[Message] = []
    for begin in range(0, len(log), CHUNK):
        for page in step.fold(log[begin : begin + CHUNK]):
            for key, value in page.writes.items():
                if value is None:
                    entries.pop(key, None)
                else:
                    entries[key] = value
            if keep:
                messages += page.messages
    return entries, messages


def main() -> int:
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    if bundle is None:
        print("the default catalogue is faulty: run `planner check`", file=sys.stderr)
        return 1
    site = bundle.sites[0].id
    booked = records("booked", 1, site)
    table, messages = fold(bundle, {}, booked)
    print(f"{'event':<12} {'decode µs':>10} {'step µs':>10} {'ratio':>6} {'bytes in':>9} {'bytes out':>10}")
    for kind, version, before in (
        ("booked", 1, {}),
        ("rescheduled", 2, table),
        ("arrived", 2, table),
        ("completed", 2, table),
        ("cancelled", 2, table),
    ):
        log = records(kind, version, site)
        decoding = best(partial(read_all, log))
        folding = best(partial(fold, bundle, before, log, keep=False))
        copying = best(partial(dict, before))
        _, out = fold(bundle, before, log)
        size_in = sum(len(record.value or b"") for record in log) / EVENTS
        size_out = sum(len(message.value or b"") for message in out) / EVENTS
        step = folding - copying
        print(f"{kind:<12} {decoding:>10.1f} {step:>10.1f} {step / decoding:>6.1f} {size_in:>9.0f} {size_out:>10.0f}")
    stated = [m.value for m in messages if m.topic == "requirements" and m.value is not None]
    reading = best(lambda: [REQUIREMENTS.validate_json(value) for value in stated])
    print(f"reading a requirement whole takes {reading:.1f} µs; table bytes per booking: ", end="")
    print(f"{sum(len(key) + len(value) for key, value in table.items()) / EVENTS:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Reads a booking system's export and a mapping from files; ``planner.importing`` decides what the rows say."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from config.load import read_document
from planner.catalogue.faults import Document
from planner.importing.mapping import Mapping
from planner.importing.rows import ImportedEvent, RowError, RowReader

FIELD_CHARACTERS_MAX = 131_072
"""The longest cell that is read (csv's own limit)."""


class ExportError(ValueError):
    """The export or the mapping as a whole cannot be read; the message says which, where and what was expected."""


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that gave no event. ``line``: of the file, the header being line 1."""

    line: int
    reason: str


@dataclass(slots=True)
class Import:
    """What an export says: events in the order in which they happened, and the rows that say nothing."""

    events: list[ImportedEvent] = field(default_factory=list)
    unreadable: list[UnreadableRow] = field(default_factory=list)
    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


def load_mapping(path: Path) -> Mapping:
    """The mapping in a YAML file.

    Raises:
        ExportError: names file, line, field, value and what was expected, for every fault.
    """
    document, faults = read_document(path, str(path))
    if document is None or faults:
        raise ExportError("\n".join(str(fault) for fault in faults))
    try:
        return Mapping.model_validate(document.content)
    except ValidationError as error:
        found = [_located(document, fault) for fault in error.errors(include_url=False)]
        raise ExportError("\n".join(found)) from error


def _located(document: Document, fault: Any) -> str:
    path = tuple(fault["loc"])
    name = ".".join(str(part) for part in path) or "mapping"
    value = fault["input"]
    found = "" if isinstance(value, dict | list) else f"found {value!r}; "
    return f"{document.file}:{document.line_of(path)}: {name}: {found}{fault['msg']}"


def read_export(path: Path, mapping: Mapping, *, on_progress: Callable[[int], None] = lambda _bytes: None) -> Import:
    """Read all rows, and sort their events by when they happened.

    Kept in memory: the encoded events, some 0.5 KB each. ``on_progress`` is told the bytes of the file read so far.

    Raises:
        ExportError: no such file, not gzip although it says so, or columns that the mapping needs are missing.
    """
    found = Import()
    reader = RowReader(mapping)
    first_line: dict[bytes, int] = {}
    try:
        with path.open("rb") as raw, _unpacked(path, raw) as unpacked:
            text = io.TextIOWrapper(unpacked, encoding=mapping.encoding, errors="surrogateescape", newline="")
            for line, row in _rows(text, mapping, reader):
                found.rows += 1
                if found.rows % 500 == 0:
                    on_progress(raw.tell())
                try:
                    if isinstance(row, str):
                        raise RowError(row)
                    events = reader.events(line, row)
                    earlier = first_line.setdefault(events[0].key, line)
                    if earlier != line:
                        raise RowError(f"{mapping.columns.booking_id}: found again; it is in line {earlier} already")
                except RowError as fault:
                    found.unreadable.append(UnreadableRow(line, str(fault)))
                    continue
                found.events.extend(events)
                found.kinds.update(event.kind for event in events)
            on_progress(raw.tell())
    except (OSError, EOFError, zlib.error, LookupError) as error:
        raise ExportError(f"{path}: cannot be read ({error})") from error
    except ValueError as error:  # the header
        raise ExportError(f"{path}:1: {error}") from error
    found.events.sort()
    return found


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    return gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw  # type: ignore[return-value]


def _rows(text: IO[str], mapping: Mapping, reader: RowReader) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Line number and row, or why it is no row."""
    lines = csv.reader(text, delimiter=mapping.delimiter, strict=True)
    header = next(lines, None)
    if header is None:
        raise ValueError("expected a header line; the file is empty")
    columns = [name.strip() for name in header]
    reader.check_header(columns)
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.line_num, f"not a line of a CSV file: {error}"
            continue
        if not cells:
            continue  # an empty line
        if len(cells) != len(columns):
            yield lines.line_num, f"found {len(cells)} cells; expected {len(columns)}"
        else:
            yield lines.line_num, dict(zip(columns, cells, strict=True))

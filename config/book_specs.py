"""The synthetic books that come with the planner, and reading a book's specification from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.load import read_document
from planner.catalogue.faults import Document
from planner.simulation.book_spec import BookSpec

BOOKS = Path(__file__).parent / "books"
"""Specifications ``NAME.yaml``."""


class BookSpecError(ValueError):
    """A specification cannot be read; the message says file, line, field, value and what was expected."""


def named_books() -> tuple[str, ...]:
    """Names of the books that come with the planner."""
    return tuple(sorted(path.stem for path in BOOKS.glob("*.yaml")))


def load_named_book(name: str) -> BookSpec:
    """A book that comes with the planner.

    Raises:
        BookSpecError: there is none of that name.
    """
    path = BOOKS / f"{name}.yaml"
    if name not in named_books():
        raise BookSpecError(f"book: found {name!r}; expected one of {', '.join(named_books())}")
    return load_book_spec(path)


def load_book_spec(path: Path) -> BookSpec:
    """The specification in a YAML file.

    Raises:
        BookSpecError: every fault, with its line.
    """
    document, faults = read_document(path, str(path))
    if document is None or faults:
        raise BookSpecError("\n".join(str(fault) for fault in faults))
    try:
        return BookSpec.model_validate(document.content)
    except ValidationError as error:
        found = [_located(document, fault) for fault in error.errors(include_url=False)]
        raise BookSpecError("\n".join(found)) from error


def _located(document: Document, fault: Any) -> str:
    place = tuple(fault["loc"])
    name = ".".join(str(part) for part in place) or "the book"
    value = fault["input"]
    found = "" if isinstance(value, dict | list) else f"found {value!r}; "
    return f"{document.file}:{document.line_of(place)}: {name}: {found}{fault['msg']}"

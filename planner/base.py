"""What every model of the domain shares: identifiers, exact quantities, aware instants.

Binary floats never hold a quantity: quantities are ``Decimal`` and reject NaN and infinities.
"""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

MAX_IDENTIFIER_LENGTH = 128


def _identifier(value: str) -> str:
    """Refuse what cannot be printed, compared or used in a key.

    Raises:
        ValueError: control, format, surrogate or unassigned characters, or outer white space.
    """
    if value.isascii() and value.isprintable() and value[0] != " " and value[-1] != " ":
        return value  # nearly every id there is: nothing below can concern it
    if value != value.strip():
        raise ValueError("expected no white space at either end")
    if value.isascii() and value.isprintable():  # nearly all of them, and this is on the way of every event
        return value
    for character in value:
        # Cc control, Cf format (bidi overrides, zero width), Cs surrogate, Cn unassigned, Zl/Zp separators
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}:
            raise ValueError(f"expected printable characters, found U+{ord(character):04X}")
    return unicodedata.normalize("NFC", value)


Identifier = Annotated[str, Field(min_length=1, max_length=MAX_IDENTIFIER_LENGTH), AfterValidator(_identifier)]
"""An id from outside (booking, lot, order, event): printable, NFC-normalised, 1–128 characters."""

ComposedIdentifier = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_identifier)]
"""An id of ours made of others by ``/``: ``site/item/kind/subject/episode`` of an alert, ``site/supplier``."""

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,95}$")]
"""An id of the catalogue's own: lower case, digits, dots and hyphens."""

Positive = Annotated[Decimal, Field(gt=0, le=Decimal("1e9"), allow_inf_nan=False, max_digits=18)]
NonNegative = Annotated[Decimal, Field(ge=0, le=Decimal("1e9"), allow_inf_nan=False, max_digits=18)]
Probability = Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False, max_digits=12)]
Containers = Annotated[int, Field(ge=0, le=10_000_000)]
"""A whole number of containers (vials, bags, pieces)."""
SomeContainers = Annotated[int, Field(gt=0, le=10_000_000)]

Instant = AwareDatetime
"""An instant: a date-time with a UTC offset. A naive one is a parse error."""


class Model(BaseModel):
    """Base of what travels in topics: immutable; fields it does not know are dropped (promise 6)."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class StrictModel(BaseModel):
    """Base of what a person edits: immutable; an unknown field is a fault, most likely a typing error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

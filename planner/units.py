"""Units of dose and content, and exact conversion between them.

Eight units are all that a catalogue of infusions needs, and the conversions that matter (mg to mL through a
product's own concentration, mg to mEq through a declared salt) are not those of a general units library: see
``docs/decisions/0003-own-units.md``.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field, model_validator

from planner.base import StrictModel


class Unit(StrEnum):
    """A unit of dose, content or count."""

    MCG = "mcg"
    MG = "mg"
    G = "g"
    ML = "mL"
    MEQ = "mEq"
    MMOL = "mmol"
    UNIT = "unit"
    """International or other biological unit."""
    EACH = "each"


MASS_IN_MG = {Unit.MCG: Fraction(1, 1000), Unit.MG: Fraction(1), Unit.G: Fraction(1000)}
_TEXT = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*$")


class UnitError(ValueError):
    """A quantity cannot be expressed in the unit asked for; the message names both and what is missing."""


class Quantity(StrictModel):
    """An exact amount with its unit; written ``2 g`` in files, ``{"value": "2", "unit": "g"}`` on the wire."""

    value: Annotated[Decimal, Field(gt=0, le=Decimal("1e9"), allow_inf_nan=False, max_digits=18)]
    unit: Unit

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            match = _TEXT.match(raw)
            if match is None:
                raise ValueError(f"expected an amount and a unit such as '2 g', found {raw!r}")
            return {"value": match[1], "unit": match[2]}
        if isinstance(raw, int | float | Decimal):
            raise ValueError(f"expected an amount and a unit such as '2 g', found {raw} without a unit")
        return raw

    def __str__(self) -> str:
        return f"{self.value.normalize():f} {self.unit}"

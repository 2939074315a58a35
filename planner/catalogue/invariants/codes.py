"""Codes: shapes and check digits, and that a code names one item at a time.

NDC: a labeler, product and package segment, in one of the three 10-digit forms, padded to 11 digits (5-4-2), or in
the 12-digit form (6-4-2) of 21 CFR 207 as amended (published 2026-03-05, effective 2033-03-07). GTIN: the GS1
modulo-10 check digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from itertools import cycle
from typing import Final

from planner.catalogue.draft import Draft, Placed
from planner.catalogue.faults import Fault
from planner.catalogue.model import Code, Item

NDC_12_FROM: Final = date(2033, 3, 7)
"""From when on 12-digit NDCs are assigned (facts: final rule of 2026-03-05)."""

NDC_FORMS: Final = {(4, 4, 2): 10, (5, 3, 2): 10, (5, 4, 1): 10, (5, 4, 2): 11, (6, 4, 2): 12}
"""Digits of the three segments → digits in all."""

GTIN_LENGTHS: Final = (8, 12, 13, 14)


def gtin_check_digit(digits: str) -> int:
    """Check digit that follows ``digits`` (GS1 General Specifications 7.9: weights 3, 1, 3, … from the right).

    >>> gtin_check_digit("0036332306403")
    7
    """
    total = sum(int(digit) * weight for digit, weight in zip(reversed(digits), cycle((3, 1))))
    return -total % 10


def gtin_of_ndc(ndc10: str, indicator: int = 0) -> str:
    """GTIN-14 of a hyphenated 10-digit NDC: indicator, 03, the ten digits, check digit.

    >>> gtin_of_ndc("63323-064-03")
    '00363323064037'

    Raises:
        ValueError: not a 10-digit NDC with its hyphens.
    """
    if ndc_digits(ndc10) != 10:
        raise ValueError(f"expected a 10-digit NDC such as 63323-064-03, found {ndc10!r}")
    body = f"{indicator}03{ndc10.replace('-', '')}"
    return f"{body}{gtin_check_digit(body)}"


def ndc11(ndc: str) -> str:
    """The 11-digit form (5-4-2) of a 10- or 11-digit NDC: its short segment is padded with a zero.

    >>> ndc11("63323-064-03")
    '63323-0064-03'

    Raises:
        ValueError: not an NDC of 10 or 11 digits with its hyphens: without them the short segment is not known.
    """
    if ndc_digits(ndc) not in (10, 11):
        raise ValueError(f"expected an NDC of 10 or 11 digits with hyphens, found {ndc!r}")
    labeler, product, package = ndc.split("-")
    return f"{labeler:0>5}-{product:0>4}-{package:0>2}"


def ndc_digits(ndc: str) -> int | None:
    """10, 11 or 12, or None if it has the form of no NDC."""
    if re.fullmatch(r"[0-9]+-[0-9]+-[0-9]+", ndc) is None:
        return None
    labeler, product, package = ndc.split("-")
    return NDC_FORMS.get((len(labeler), len(product), len(package)))


def checked_codes(draft: Draft) -> Iterator[Fault]:
    """Each code has its system's form, and its dates are in order."""
    for placed in draft.items:
        for index, code in enumerate(placed.entity.codes):
            expected = _expected_form(code)
            if expected:
                yield placed.fault(("codes", index, "value"), code.value, expected)
            if code.valid_from and code.valid_to and code.valid_to < code.valid_from:
                yield placed.fault(("codes", index, "valid_to"), code.valid_to, f"{code.valid_from} or later")


def _expected_form(code: Code) -> str | None:
    if code.system == "GTIN":
        if not code.value.isdigit() or len(code.value) not in GTIN_LENGTHS:
            return f"a GTIN of {', '.join(map(str, GTIN_LENGTHS))} digits"
        right = gtin_check_digit(code.value[:-1])
        return None if code.value[-1] == str(right) else f"the check digit {right} at the end"
    if code.system == "NDC":
        digits = ndc_digits(code.value)
        if digits is None:
            return "an NDC with hyphens: 4-4-2, 5-3-2, 5-4-1, 5-4-2 or 6-4-2 digits"
        if digits == 12 and (code.valid_from is None or code.valid_from < NDC_12_FROM):
            return f"at most 11 digits, or a valid_from of {NDC_12_FROM} or later: 12-digit NDCs begin then"
    if code.system == "RXCUI" and not code.value.isdigit():
        return "a number, as text"
    return None


def unique_codes(draft: Draft) -> Iterator[Fault]:
    """On any day a code names one item and one level (the vial, or its carton)."""
    seen: dict[tuple[str, str], list[tuple[Placed[Item], Code]]] = {}
    for placed in draft.items:
        for index, code in enumerate(placed.entity.codes):
            if code.system in {"RXCUI", "HCPCS"}:  # these name a kind of product, not a package
                continue
            value = ndc11(code.value) if code.system == "NDC" and ndc_digits(code.value) in (10, 11) else code.value
            others = seen.setdefault((code.system, value), [])
            for other, its in others:
                if _overlap(code, its):
                    wanted = f"a code of its own; it is also that of a {its.level} of {other.entity.id}"
                    yield placed.fault(("codes", index, "value"), code.value, wanted)
                    break
            others.append((placed, code))


def _overlap(one: Code, other: Code) -> bool:
    starts = max(one.valid_from or date.min, other.valid_from or date.min)
    return starts <= min(one.valid_to or date.max, other.valid_to or date.max)

"""Codes: the GTIN example of the facts, check digits, and the forms of an NDC."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalogue.invariants import codes
from planner.catalogue.invariants.codes import gtin_check_digit, gtin_of_ndc, ndc11, ndc_digits


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(codes)
    assert result.attempted >= 3
    assert result.failed == 0


def test_the_gtin_of_the_facts() -> None:
    assert gtin_of_ndc("63323-064-03") == "00363323064037"


@pytest.mark.parametrize("known", ["4006381333931", "036000291452", "96385074"])
def test_check_digits_of_published_examples(known: str) -> None:
    assert gtin_check_digit(known[:-1]) == int(known[-1])


@given(body=st.text("0123456789", min_size=13, max_size=13), at=st.integers(0, 12), other=st.integers(1, 9))
def test_a_check_digit_notices_any_single_wrong_digit(body: str, at: int, other: int) -> None:
    wrong = body[:at] + str((int(body[at]) + other) % 10) + body[at + 1 :]
    assert gtin_check_digit(wrong) != gtin_check_digit(body)


@pytest.mark.parametrize(
    ("ndc", "padded"),
    [
        ("0409-6727-23", "00409-6727-23"),
        ("63323-064-03", "63323-0064-03"),
        ("12345-6789-1", "12345-6789-01"),
        ("63323-0064-03", "63323-0064-03"),
    ],
)
def test_the_short_segment_is_padded(ndc: str, padded: str) -> None:
    assert ndc11(ndc) == padded


@pytest.mark.parametrize("wrong", ["6332306403", "63323-64-03", "063323-0064-03", "63323-064-O3", ""])
def test_what_is_no_ndc_of_ten_or_eleven_digits_is_not_padded(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected an NDC"):
        ndc11(wrong)


def test_only_ten_digits_make_a_gtin() -> None:
    with pytest.raises(ValueError, match="expected a 10-digit NDC"):
        gtin_of_ndc("63323-0064-03")


def test_twelve_digits_are_a_form() -> None:
    assert ndc_digits("063323-0064-03") == 12

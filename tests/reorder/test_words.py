"""Figures as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from planner.catalogue.model import Pack
from planner.reorder.words import containers, day_text, moment_text, number, packs_text, percent
from tests.reorder.clinic import MAGNESIUM, ZONE, catalogue


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (day_text(date(2026, 11, 6)), "Fri 6 Nov 2026"),
        (moment_text(datetime(2026, 11, 17, 2, 5, tzinfo=UTC), ZONE), "Mon 16 Nov 2026 21:05"),
        (number(12.0), "12"),
        (number(-0.04), "0"),
        (number(3.25), "3.2"),
        (percent(0.05), "5 %"),
        (percent(0.0004), "less than 0.1 %"),
        (percent(0.9995), "more than 99.9 %"),
        (percent(0), "0 %"),
        (percent(1), "100 %"),
        (containers(1), "1 container"),
        (containers(0), "0 containers"),
        (containers(1.04), "1 container"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("name", "pack", "quantity", "expected"),
    [
        ("carton", 25, 50, "50 containers (2 cartons of 25)"),
        ("box", 25, 75, "75 containers (3 boxes of 25)"),
        ("box", 25, 25, "25 containers (1 box of 25)"),
        ("carton", 25, 30, "30 containers"),
        ("carton", 1, 3, "3 containers"),
    ],
)
def test_packs(name: str, pack: int, quantity: int, expected: str) -> None:
    item = catalogue().items[MAGNESIUM].model_copy(update={"pack": Pack(containers=pack, name=name)})
    assert packs_text(quantity, item) == expected

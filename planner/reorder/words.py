"""How figures are written for people: days, quantities of containers, probabilities."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from planner.catalogue.model import Item

WEEKDAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Written out, since ``strftime`` depends on the locale of the machine."""


def day_text(day: date) -> str:
    """``Fri 20 Nov 2026``."""
    return f"{WEEKDAY_NAMES[day.weekday()]} {day.day} {MONTH_NAMES[day.month - 1]} {day.year}"


def moment_text(instant: datetime, zone: ZoneInfo) -> str:
    """``Fri 20 Nov 2026 16:00``, by the site's clock."""
    local = instant.astimezone(zone)
    return f"{day_text(local.date())} {local:%H:%M}"


def number(value: float) -> str:
    """At most one decimal: ``12``, ``3.4``."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def percent(probability: float) -> str:
    """``12 %``; near the ends what it is not: ``less than 0.1 %``, ``more than 99.9 %``."""
    if 0 < probability < 0.001:
        return "less than 0.1 %"
    if 0.999 < probability < 1:
        return "more than 99.9 %"
    return f"{number(100 * probability)} %"


def containers(count: float) -> str:
    """``1 container``, ``3.4 containers``."""
    return f"{number(count)} container{'' if number(count) == '1' else 's'}"


def packs_text(quantity: int, item: Item) -> str:
    """``50 containers (2 cartons of 25)``; without packs when the quantity is not a whole number of them."""
    packs, rest = divmod(quantity, item.pack.containers)
    if rest or item.pack.containers == 1:
        return containers(quantity)
    name = item.pack.name if packs == 1 else plural(item.pack.name)
    return f"{containers(quantity)} ({packs} {name} of {item.pack.containers})"


def plural(noun: str) -> str:
    """``cartons``, ``boxes``, ``trays``, ``batches``."""
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")

"""Tables, sparklines and words for terminals. Data is shown as it is: never as markup, control characters escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

BARS = "▁▂▃▄▅▆▇█"

SEVERITY_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
STATUS_STYLES = {"applied": "green", "duplicate": "cyan", "refused": "yellow", "dead-lettered": "red"}


def plain(value: object) -> str:
    """Text safe to print: no control or invisible formatting characters, whatever an id or a note holds."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if unicodedata.category(character) == "Zs":
        return character  # other spaces
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def cell(value: object, style: str = "") -> Text:
    """A cell of a table; None is shown as nothing."""
    return Text("" if value is None else plain(value), style=style)


def table(*columns: str, title: str | None = None, right: Sequence[str] = ()) -> Table:
    """A table with these columns; those named in ``right`` hold numbers."""
    made = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else Text(plain(title), style="bold"),
        title_justify="left",
        pad_edge=False,
        header_style="bold",
    )
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return made


def sparkline(values: Sequence[float], top: float | None = None) -> str:
    """One bar per value, from 0 to ``top`` (absent: the largest); a value at or below 0 is the lowest bar."""
    highest = max(values, default=0.0) if top is None else top
    if highest <= 0:
        return BARS[0] * len(values)
    steps = len(BARS) - 1
    return "".join(BARS[min(steps, max(0, round(value / highest * steps)))] for value in values)


def number(value: float | None, digits: int = 1) -> str:
    """A number as short as it can be said: ``12``, ``12.4``, ``0.03``."""
    if value is None:
        return ""
    if value and abs(value) < 0.1:
        return f"{value:.2g}"
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None) -> str:
    """A probability: ``<1 %``, ``12 %``, ``>99 %``."""
    if value is None:
        return ""
    if 0 < value < 0.005:
        return "<1 %"
    if 0.995 < value < 1:
        return ">99 %"
    return f"{value * 100:.0f} %"


def risk_style(value: float | None) -> str:
    """Colour of a risk of running out."""
    if value is None:
        return ""
    return "bold red" if value >= 0.5 else "yellow" if value >= 0.05 else "green"


def instant(value: datetime | None) -> str:
    """An instant to the minute, with its offset."""
    return "" if value is None else value.isoformat(sep=" ", timespec="minutes")


def show(console: Console, *parts: RenderableType) -> None:
    """Print, without breaking lines of text that are longer than the terminal."""
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str | Text))

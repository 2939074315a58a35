"""What every benchmark prints: where and how it ran, its figures, and what they were meant to be."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

PACKAGES = ("faust-streaming", "aiokafka", "pydantic", "orjson", "numpy", "uvloop")
_MAX_WIDTH = 140


def console() -> Console:
    """Colours and lines on a terminal; plain text in a pipe."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=_MAX_WIDTH, no_color=True)


def header(command: str) -> None:
    """The command, the machine and the versions that the tables below come from."""
    out = console()
    out.print(f"[bold]$ {command}[/]")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    out.print(f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; load before: {load}")
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    out.print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}")
    out.print()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *notes: str) -> None:
    """A table; all but the first column to the right."""
    out = console()
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=out.is_terminal)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    out.print(table)
    for note in notes:
        out.print(f"  {note}", style="dim" if out.is_terminal else None)
    out.print()


def met(value: float, target: float, *, at_least: bool = False) -> str:
    """Whether a target is met, in a word."""
    return "met" if (value >= target if at_least else value <= target) else "NOT MET"

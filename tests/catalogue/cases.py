"""Reading the plain-text tables of faulty catalogues: edits of the small catalogue, and the faults they must give."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
SMALL = HERE / "small"


@dataclass
class Case:
    """One row of a table: a title, edits, and the faults expected as ``str(fault)``, all of them."""

    title: str
    edits: list[tuple[str, str, str]] = field(default_factory=list)
    """(file, text that occurs once, text instead)."""
    faults: list[str] = field(default_factory=list)

    def build(self, directory: Path) -> Path:
        """The small catalogue with the edits, in a new folder of ``directory``."""
        built = directory / "catalogue"
        shutil.copytree(SMALL, built)
        for file, old, new in self.edits:
            path = built / file
            if old == "(all)":
                path.write_text(new, encoding="utf-8")
                continue
            text = path.read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise ValueError(f"{self.title}: {old!r} occurs {text.count(old)} times in {file}, expected once")
            path.write_text(text.replace(old, new), encoding="utf-8")
        return built


def read_cases(path: Path) -> list[Case]:
    """Lines ``# title``, ``FILE: OLD => NEW`` (``\\n`` for a new line) and ``! FAULT``; blank lines between cases."""
    cases: list[Case] = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if not line:
            continue
        if line.startswith("# "):
            cases.append(Case(line[2:]))
        elif line.startswith("! "):
            cases[-1].faults.append(line[2:])
        else:
            file, _, edit = line.partition(": ")
            old, arrow, new = edit.partition(" =>")
            if not arrow:
                raise ValueError(f"{path.name}:{number}: expected FILE: OLD => NEW, found {line!r}")
            cases[-1].edits.append((file, _text(old), _text(new.removeprefix(" "))))
    return cases


def _text(shown: str) -> str:
    return shown.replace("\\n", "\n").replace("\\t", "\t")

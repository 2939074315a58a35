"""The house's rules that a machine can check: who imports whom, how big a room is, what stands in generated files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("planner", "config", "streams")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

FAUST_ROOMS = ("streams/app.py", "streams/agents.py", "streams/worker.py", "streams/engine.py")
"""Files that may import Faust, beside the transports and the delivery."""
FAUST_FOLDERS = ("streams/delivery/", "streams/embedded/", "streams/kafka/")


def imports_of(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_import_contracts_hold() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_engines_rooms_import_faust(path: Path) -> None:
    name = name_of(path)
    if name in FAUST_ROOMS or name.startswith(FAUST_FOLDERS):
        return
    assert not imports_of(path) & {"faust", "mode"}, f"{name} imports Faust"


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("planner/")], ids=name_of)
def test_the_core_reads_no_clock(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    clocks = re.findall(r"\b(?:datetime\.now|datetime\.utcnow|date\.today|time\.time|monotonic)\b", text)
    # a generator is passed in; numpy's global one, and the standard library's, are state of the process
    clocks += re.findall(r"\bnp\.random\.(?!Generator|default_rng|SeedSequence)\w+", text)
    clocks += re.findall(r"^(?:import|from) random", text, re.M)
    assert not clocks, f"{name_of(path)} reads {clocks}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_fits_in_the_head(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 450, f"{name_of(path)} has {lines} lines: two rooms in one?"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or not path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_except_is_silent_or_bare(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name_of(path)}:{node.lineno} a bare except"
            silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            # contextlib.suppress says by its type what may be ignored
            assert not silent, f"{name_of(path)}:{node.lineno} a silent except"


def test_generated_documents_are_current() -> None:
    result = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr

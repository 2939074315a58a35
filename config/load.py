"""Reading a catalogue's directory: YAML with the line of every value, then the check.

YAML 1.2 (``ruamel.yaml``), read to plain content by ourselves rather than by a constructor, because quantities must
not pass through binary floats and dates, codes and duplicate keys need their lines. Anchors and aliases are refused:
a file must say what it means where it says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from planner.catalogue.check import CheckResult, Document, Fault, check
from planner.catalogue.draft import SECTIONS_OF_FILE, known_files
from planner.catalogue.faults import LONGEST_VALUE, Place, known_name

DEFAULT_CATALOGUE = Path(__file__).parent / "catalogue"
"""The catalogue that comes with the planner."""

_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset({"null", "bool", "int", "float", "timestamp", "str", "merge", "map", "seq"})
_NUMBERS = {".inf": "Infinity", "+.inf": "Infinity", "-.inf": "-Infinity", ".nan": "NaN"}


def load_catalogue(directory: Path) -> CheckResult:
    """Read and check the catalogue in ``directory``.

    Its sections are files ``NAME.yaml``, or folders ``NAME`` of any number of ``*.yaml`` files. Other kinds of file
    (notes, editors' backups) are left alone; a YAML file with an unknown name is a fault, most likely misspelt.
    """
    if not directory.is_dir():
        return CheckResult(None, (Fault(str(directory), 0, "", "not there", "a directory with a catalogue's files"),))
    documents: list[Document] = []
    found: list[Fault] = []
    unread: set[str] = set()
    present: set[str] = set()
    for path in sorted(directory.rglob("*")):
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            continue
        name = path.relative_to(directory).as_posix()
        parts = name.split("/")
        stem = parts[0].removesuffix(".yaml")
        if stem not in SECTIONS_OF_FILE or len(parts) > 2 or path.suffix != ".yaml":
            expected = known_name("the name of a known file", name, known_files())
            found.append(Fault(name, 0, "", name, expected))
            continue
        present.add(stem)
        document, wrong = read_document(path, name)
        found += wrong
        if document is None:
            unread.update(SECTIONS_OF_FILE[stem])
        else:
            documents.append(document)
    for stem in SECTIONS_OF_FILE.keys() - present:
        found.append(Fault(f"{stem}.yaml", 0, "", "not there", f"a file {stem}.yaml or a folder {stem}"))
        unread.update(SECTIONS_OF_FILE[stem])
    return check(documents, found, unread)


def read_document(path: Path, name: str) -> tuple[Document | None, list[Fault]]:
    """A file's content with its lines; None where it cannot be read at all."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return None, [Fault(name, line, "", f"byte 0x{error.object[error.start]:02x}", "text in UTF-8")]
    except OSError as error:
        return None, [Fault(name, 0, "", error.strerror or str(error), "a file that can be read")]
    return parse(text, name)


def parse(text: str, name: str) -> tuple[Document | None, list[Fault]]:
    """YAML text to plain content with lines. Keys given twice, aliases and unknown tags are faults."""
    try:
        node = YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem or error.context).split())
        return None, [Fault(name, mark.line + 1 if mark else 0, "", problem, "valid YAML")]
    except YAMLError as error:
        problem = " ".join(str(error).split())
        return None, [Fault(name, 0, "", problem[:LONGEST_VALUE], "valid YAML")]
    except RecursionError:
        return None, [Fault(name, 0, "", "nested too deeply", "valid YAML")]
    if node is None:
        return Document(name, None, {(): 1}), []
    reader = _Reader()
    document = Document(name, reader.plain(node, ()), reader.lines)
    return document, [
        Fault(name, line, document.describe(path), value, expected) for line, path, value, expected in reader.found
    ]


@dataclass
class _Reader:
    """Nodes to plain content, noting lines and faults on the way."""

    lines: dict[Place, int] = field(default_factory=dict)
    found: list[tuple[int, Place, str, str]] = field(default_factory=list)
    """Faults: line, path, value, expected."""
    seen: set[int] = field(default_factory=set)

    def plain(self, node: Node, path: Place) -> Any:
        """The plain content of a node at ``path``."""
        line = self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self.seen:
            self._fault(line, path, "an alias", "the value itself: anchors and aliases are not used here")
            return None
        self.seen.add(id(node))
        if str(node.tag).removeprefix(_TAG) not in _KNOWN_TAGS:
            self._fault(line, path, str(node.tag), "a plain value without a tag")
            return None
        match node:
            case MappingNode():
                return dict(self._entries(node, path))
            case SequenceNode():
                return [self.plain(below, (*path, index)) for index, below in enumerate(node.value)]
            case ScalarNode():
                return _scalar(node)
            case _:
                raise TypeError(f"ruamel.yaml gives no such node: {node!r}")

    def _entries(self, node: MappingNode, path: Place) -> Iterator[tuple[str, Any]]:
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._fault(line, path, "a list or mapping", "text as a key")
                continue
            key = str(key_node.value)
            if key in first:
                self._fault(line, (*path, key), key, f"each key once; it is also on line {first[key]}")
                continue
            first[key] = self.lines[(*path, key)] = line
            yield key, self.plain(value_node, (*path, key))

    def _fault(self, line: int, path: Place, value: str, expected: str) -> None:
        self.found.append((line, path, value, expected))


def _scalar(node: ScalarNode) -> Any:
    """Numbers exactly (int or Decimal), true and false, null; dates and all else as text, for the models to read."""
    text = str(node.value)
    match str(node.tag).removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" if re.fullmatch(r"[-+]?[0-9]{1,18}", text):
            return int(text)
        case "float":
            try:
                return Decimal(_NUMBERS.get(text.lower(), text))
            except InvalidOperation:
                return text
        case _:
            return text

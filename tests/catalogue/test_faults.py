"""Faulty catalogues: each row of the tables in ``faulty/`` gives exactly its faults, with file, line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.load import load_catalogue, parse
from planner.catalogue.check import Document, check, check_bundle
from planner.catalogue.faults import Fault
from tests.catalogue.cases import HERE, SMALL, Case, read_cases

CASES = [(path.stem, case) for path in sorted((HERE / "faulty").glob("*.txt")) for case in read_cases(path)]


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[f"{table}: {case.title}" for table, case in CASES])
def test_a_faulty_catalogue_gives_its_faults_all_at_once(case: Case, tmp_path: Path) -> None:
    assert case.faults, "a row without a fault proves nothing"
    result = load_catalogue(case.build(tmp_path))
    assert [str(fault) for fault in result.faults] == case.faults
    assert result.bundle is None


def test_the_small_catalogue_itself_has_no_faults() -> None:
    result = load_catalogue(SMALL)
    assert result.faults == ()
    assert result.bundle is not None
    assert check_bundle(result.bundle) == ()


def test_a_fault_names_file_line_field_value_and_what_was_expected(tmp_path: Path) -> None:
    case = Case("negative pack", [("items.yaml", "{containers: 96}", "{containers: -96}")])
    (fault,) = load_catalogue(case.build(tmp_path)).faults
    assert fault == Fault("items.yaml", 58, "items[saline-100].pack.containers", "-96", "greater than 0")


def test_a_folder_of_files_counts_as_one_section(tmp_path: Path) -> None:
    built = Case("as it is").build(tmp_path)
    (built / "protocols").mkdir()
    (built / "protocols.yaml").rename(built / "protocols" / "all.yaml")
    moved = load_catalogue(built)
    assert moved == load_catalogue(SMALL)

    text = (built / "protocols" / "all.yaml").read_text(encoding="utf-8")
    (built / "protocols" / "more.yaml").write_text(text, encoding="utf-8")
    (fault,) = load_catalogue(built).faults
    assert (fault.file, fault.line) == ("protocols/more.yaml", 2)
    assert fault.expected == "an id of its own; infusion is also at protocols/all.yaml:2"


def test_missing_misspelt_and_unreadable_files_are_faults(tmp_path: Path) -> None:
    built = Case("as it is").build(tmp_path)
    (built / "groups.yaml").rename(built / "gruops.yaml")
    (built / "kits.yml").write_text("", encoding="utf-8")
    (built / "notes.md").write_text("not YAML: left alone", encoding="utf-8")
    (built / "sites.yaml").write_bytes(b"sites:\n  - name: Gen\xe8ve\n")
    assert [(f.file, f.line, f.value) for f in load_catalogue(built).faults] == [
        ("groups.yaml", 0, "not there"),
        ("gruops.yaml", 0, "gruops.yaml"),
        ("kits.yml", 0, "kits.yml"),
        ("sites.yaml", 2, "byte 0xe8"),
    ]


def test_a_directory_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    (fault,) = load_catalogue(tmp_path / "nowhere").faults
    assert fault.value == "not there"


def test_nesting_without_end_is_a_fault() -> None:
    document, faults = parse("groups: " + "[" * 1200, "groups.yaml")
    assert document is None
    assert [fault.expected for fault in faults] == ["valid YAML"]


def test_a_bundle_edited_into_nonsense_is_refused() -> None:
    bundle = load_catalogue(SMALL).bundle
    assert bundle is not None
    renamed = bundle.model_copy(update={"items": bundle.items[1:]})
    faults = check_bundle(renamed)
    assert {fault.field for fault in faults} == {"components[magnesium].filled_by[magnesium-vial].item", "version"}


def documents() -> list[Document]:
    found = []
    for path in sorted(SMALL.glob("*.yaml")):
        document, faults = parse(path.read_text(encoding="utf-8"), path.name)
        assert document is not None and not faults
        found.append(document)
    return found


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.decimals(), st.text(max_size=8), st.just("magnesium"), st.just("2 mL")
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def spots(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every value below ``content``, itself included."""
    found = [path]
    if isinstance(content, dict):
        for key, value in content.items():
            found += spots(value, (*path, key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            found += spots(value, (*path, index))
    return found


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """``content`` with the value at ``path`` replaced."""
    if not path:
        return value
    step, *rest = path
    if isinstance(content, dict):
        return content | {step: replaced(content[step], tuple(rest), value)}
    return [replaced(one, tuple(rest), value) if index == step else one for index, one in enumerate(content)]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_stands_in_a_file_the_check_ends_with_faults_or_a_sound_bundle(data: st.DataObject) -> None:
    """Junk at any place of any file: never an exception, and a bundle only if nothing is at fault."""
    files = documents()
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(files) - 1))
        chosen = files[number]
        path = data.draw(st.sampled_from(spots(chosen.content)))
        content = replaced(chosen.content, path, data.draw(JUNK))
        files[number] = Document(chosen.file, content, chosen.lines)
    result = check(files)
    assert (result.bundle is None) == bool(result.faults)
    if result.bundle is not None:
        assert check_bundle(result.bundle) == ()


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_a_fault(text: str) -> None:
    document, faults = parse(text, "groups.yaml")
    assert document is not None or faults


def test_many_ways_through_kits_are_checked_at_once() -> None:
    """2⁴⁰ ways through 41 kits: each kit is looked at once, or this would never end."""
    content = {
        "kits": [{"id": f"k{i}", "name": "K", "kits": [f"k{i + 1}"] * 2} for i in range(40)]
        + [{"id": "k40", "name": "K", "supplies": [{"component": "syringe"}]}],
        "line_kits": {},
    }
    faults = check([Document("kits.yaml", content)]).faults
    assert [fault.expected for fault in faults if fault.file == "kits.yaml"] == ["at most 200 with its kits"]

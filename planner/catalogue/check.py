"""Checking a catalogue: all its faults at once, or the bundle that may come into force.

A faulty catalogue never starts a worker (``check`` of the files) and never replaces a good one (``check_bundle`` of
what came over the ``catalogue`` topic).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from planner.catalogue.digest import version_of
from planner.catalogue.draft import SECTIONS, Draft, Placed, read
from planner.catalogue.faults import Document, Fault
from planner.catalogue.invariants import INVARIANTS
from planner.catalogue.model import Bundle

__all__ = ["CheckResult", "Document", "Fault", "check", "check_bundle"]

_BUNDLE = "catalogue"
"""Stands for the file in faults of a bundle that no file holds."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The bundle, or why there is none. Faults are in order of file and line."""

    bundle: Bundle | None
    faults: tuple[Fault, ...]


def check(documents: Sequence[Document], faults: Sequence[Fault] = (), unread: Iterable[str] = ()) -> CheckResult:
    """Check the files of a catalogue. Never raises for what they hold.

    Args:
        documents: the files that could be read, in any order.
        faults: found while reading them (broken syntax, keys given twice).
        unread: sections whose file could not be read: references into them are not judged.
    """
    documents = sorted(documents, key=lambda document: document.file)
    draft, found = read(documents, frozenset(unread))
    for invariant in INVARIANTS:
        found += invariant(draft)
    told = {(fault.file, fault.line) for fault in faults}  # what follows from them there is not told again
    found = [*faults] + [fault for fault in found if (fault.file, fault.line) not in told]
    if found:
        return CheckResult(None, tuple(sorted(set(found))))
    return CheckResult(_bundle_of(draft), ())


def check_bundle(bundle: Bundle) -> tuple[Fault, ...]:
    """Faults of a bundle whose fields are already valid: the same invariants, and that its version is its digest.

    There are no files, so lines are 0.
    """
    document = Document(_BUNDLE, bundle.model_dump(mode="json"))
    draft = Draft(line_kits=[Placed(bundle.line_kits, document, ("line_kits",))])
    found: list[Fault] = []
    for section in SECTIONS:
        entities = getattr(bundle, section)
        draft.listed(section).extend(
            Placed(entity, document, (section, index)) for index, entity in enumerate(entities)
        )
        for index, entity in enumerate(entities):
            draft.places[section].setdefault(entity.id, []).append((document, (section, index)))
        if not entities:
            found.append(document.fault((section,), "(none)", f"at least one of {section}"))
    for invariant in INVARIANTS:
        found += invariant(draft)
    version = version_of(bundle)
    if bundle.version != version:
        found.append(document.fault(("version",), bundle.version, f"{version}, the digest of the content"))
    return tuple(sorted(set(found)))


def _bundle_of(draft: Draft) -> Bundle:
    content: dict[str, object] = {
        section: tuple(placed.entity for placed in draft.listed(section)) for section in SECTIONS
    }
    content["line_kits"] = draft.line_kits[0].entity
    unversioned = Bundle.model_validate({"version": "none-yet", **content})
    return unversioned.model_copy(update={"version": version_of(unversioned)})

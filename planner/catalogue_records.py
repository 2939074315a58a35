"""From a record of the ``catalogue`` topic to a catalogue that may come into force; shared by both steps."""

from __future__ import annotations

from weakref import WeakValueDictionary

from pydantic import TypeAdapter

from planner.catalogue.check import check_bundle
from planner.catalogue.model import Bundle
from planner.records import DeadLetter, decode
from planner.step import Record
from planner.topics import CATALOGUE_KEY, TOPICS

BUNDLES: TypeAdapter[Bundle] = TypeAdapter(Bundle)

_FAULTS_SHOWN = 3
_IN_USE: WeakValueDictionary[str, Bundle] = WeakValueDictionary()


def read_catalogue(record: Record) -> Bundle | DeadLetter:
    """The bundle in a record, checked whole, or why it may not come into force.

    Besides the reasons of ``decode``: ``wrong-key`` and ``faulty-catalogue`` (its parts do not fit one another, or
    its version is not its digest).
    """
    if record.key != CATALOGUE_KEY:
        found = "no key" if record.key is None else repr(record.key[:160])
        return DeadLetter("wrong-key", f"key: found {found}; expected {CATALOGUE_KEY!r}")
    bundle = decode(BUNDLES, record, max_bytes=TOPICS["catalogue"].max_message_bytes)
    if isinstance(bundle, DeadLetter):
        return bundle
    faults = check_bundle(bundle)
    if faults:
        shown = "; ".join(str(fault) for fault in faults[:_FAULTS_SHOWN])
        return DeadLetter("faulty-catalogue", f"{len(faults)} faults: {shown}"[:1000])
    return held_once(bundle)


def held_once(bundle: Bundle) -> Bundle:
    """The bundle of this content that is in use already, if any: the steps of all partitions follow the same one, and
    that of a thousand sites takes 27 MB. For bundles that were checked only: their version is their digest."""
    return _IN_USE.setdefault(bundle.version, bundle)

"""Digests of catalogue content: equal content gives an equal digest, whatever the order and layout of the files."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from decimal import Decimal
from typing import Any

from planner.catalogue.model import Bundle

DIGEST_LENGTH = 12
"""Hex characters: 48 bits, ample for the versions one clinic will ever see, and short enough to be read aloud."""


def digest(content: Any) -> str:
    """Short hex digest of JSON-like content; 2 and 2.0 are equal, the order of a mapping's keys is immaterial."""
    text = json.dumps(_plain(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def bundle_digest(content: dict[str, Any]) -> str:
    """The version of a bundle whose dumped content (python mode) this is; its ``version`` field is left out.

    The order of entities in a file is immaterial; the order within them (choices, lines) is not.
    """
    kept = {name: value for name, value in content.items() if name not in ("version", "schema_version")}
    for name, value in kept.items():
        if isinstance(value, list | tuple):
            kept[name] = sorted(value, key=lambda entity: str(entity["id"]))
    return digest(kept)


def version_of(bundle: Bundle) -> str:
    """What ``bundle.version`` has to be."""
    return bundle_digest(bundle.model_dump(mode="python"))


def _plain(value: Any) -> Any:
    match value:
        case bool() | None | int():
            return value
        case Decimal():
            return f"{value.normalize():f}"
        case str():
            return str(value)
        case date():
            return value.isoformat()
        case dict():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
        case _:
            raise TypeError(f"no canonical form of {type(value).__name__}: {value!r}")

"""Headers of a record as bytes: for each its name and its content, each with its length before it (32 bits)."""

from __future__ import annotations

import struct

Headers = tuple[tuple[str, bytes], ...]

_LENGTHS = struct.Struct("<II")


def pack(headers: Headers) -> bytes:
    """As bytes."""
    parts = []
    for name, content in headers:
        encoded = name.encode()
        parts += [_LENGTHS.pack(len(encoded), len(content)), encoded, content]
    return b"".join(parts)


def unpack(packed: bytes) -> Headers:
    """From bytes; the inverse of ``pack``."""
    headers = []
    at = 0
    while at < len(packed):
        name_length, length = _LENGTHS.unpack_from(packed, at)
        at += _LENGTHS.size
        headers.append((packed[at : at + name_length].decode(), packed[at + name_length : at + name_length + length]))
        at += name_length + length
    return tuple(headers)


def size_bytes(headers: Headers) -> int:
    """What the headers count against a topic's limit."""
    return sum(len(name.encode()) + len(content) for name, content in headers)

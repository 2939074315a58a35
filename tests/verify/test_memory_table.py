"""The table in memory: what a scan gives, whatever was written and removed between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planner.verify.refold import MemoryTable

_KEYS = st.binary(max_size=3)
_WRITES = st.dictionaries(_KEYS, st.none() | st.binary(max_size=1), max_size=6)


@given(st.dictionaries(_KEYS, st.binary(max_size=1)), st.lists(st.tuples(_WRITES, _KEYS), max_size=8))
def test_scans_are_those_of_a_plain_dict(
    first: dict[bytes, bytes], steps: list[tuple[dict[bytes, bytes | None], bytes]]
) -> None:
    table, plain = MemoryTable(first), dict(first)
    for writes, prefix in steps:
        table.write(writes)
        for key, value in writes.items():
            if value is None:
                plain.pop(key, None)
            else:
                plain[key] = value
        assert list(table.scan(prefix)) == sorted((k, v) for k, v in plain.items() if k.startswith(prefix))
        assert table.entries == plain

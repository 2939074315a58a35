"""SIGKILL at random instants: the short form of ``python -m tests.soak.embedded_kills``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import history
from tests.soak.embedded_kills import PARTITIONS, run
from tests.soak.nursery import Nursery

pytestmark = pytest.mark.slow

SEED = 20261127
KILLS = 10


async def test_killed_at_random_instants_while_others_publish(tmp_path: Path) -> None:
    bundle = history.small_bundle()
    messages = history.invented(SEED, 4_000, bundle, PARTITIONS, days=6)
    with Nursery() as nursery:
        counts, verdict = await run(nursery, tmp_path, SEED, KILLS, bundle, messages=messages, slice_size=250)
    assert counts.early + counts.late == KILLS
    assert set(verdict.statuses) == {"applied", "duplicate", "refused", "dead-lettered"}
    assert counts.told

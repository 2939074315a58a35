"""Tests that guard an obstacle fail without its handling: the short form of ``python -m tests.soak.obstacles``."""

from __future__ import annotations

import pytest

from tests.soak.obstacles import FAILED, OBSTACLES, ROOT, run
from tests.soak.without import HANDLINGS

QUICK = ("commits", "epochs", "pages")


def test_every_handling_has_its_test() -> None:
    assert sorted(HANDLINGS) == sorted(obstacle.name for obstacle in OBSTACLES)
    for obstacle in OBSTACLES:
        path, _, test = obstacle.test.partition("::")
        assert f"async def {test}(" in (ROOT / path).read_text(encoding="utf-8"), obstacle.name


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_without_its_handling_the_test_fails(name: str) -> None:
    """That it passes with it is seen in this same run, where it is."""
    (obstacle,) = (obstacle for obstacle in OBSTACLES if obstacle.name == name)
    found = run(obstacle, without=True)
    assert found.status == FAILED, found.said[-3000:]
    assert found.why, "an assertion of the test, not a plugin that is broken"

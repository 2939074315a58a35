"""Stories of the small clinic, one file each: what happens, day by day, and which alerts it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reorder.story import Story

STORIES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


def told(path: Path) -> list[tuple[int, str, str, str]]:
    """(line number, when, event, expected revisions) of the lines of a story; ``#`` begins a comment."""
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = text.split("#")[0].rstrip()
        if row:
            when, event, expected = (cell.strip() for cell in row.split("|"))
            lines.append((number, when, event, expected))
    return lines


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    story = Story()
    for index, (number, when, event, expected) in enumerate(told(path), start=1):
        found = "; ".join(story.play(when, event, f"e{index}"))
        assert found == expected, f"{path.name}:{number}: {event}"
        assert not story.review(None), f"{path.name}:{number}: a second review found something new"


def test_there_are_stories() -> None:
    assert len(STORIES) >= 5

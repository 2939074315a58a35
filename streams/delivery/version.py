"""The guard: the delivery leans on private parts of Faust, which learning tests pin for the tested version alone."""

from __future__ import annotations

from importlib.metadata import version

TESTED_FAUST = "0.15.3"


class UntestedFaustError(RuntimeError):
    """The installed Faust is not the one whose private parts the learning tests pin."""


def check_version(*, allow_untested: bool, installed: str | None = None) -> None:
    """Refuse an untested Faust.

    Raises:
        UntestedFaustError: names both versions and the way round it.
    """
    found = installed if installed is not None else version("faust-streaming")
    if found != TESTED_FAUST and not allow_untested:
        raise UntestedFaustError(
            f"faust-streaming {found} is installed; chunked delivery was tested with {TESTED_FAUST}, and leans on "
            "private parts of it. Install that version, or run tests/faust_learning and set "
            "PLANNER_ALLOW_UNTESTED_FAUST=1"
        )

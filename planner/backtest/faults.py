"""Why a back-test cannot be made."""

from __future__ import annotations


class CannotTest(ValueError):  # noqa: N818 - named after what it says
    """What was asked for does not fit the log or the catalogue; the message names it and says what was expected."""

"""How a step says no: a well-formed event that cannot be accepted ends as a *refusal* with a name and a reason."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 (an expected end of an event, not an error of the program)
    """An event is well formed but not acceptable; nothing of it has been applied.

    ``reason`` is the refusal's name in kebab case (``stale-version``), for machines and metrics; ``detail`` says
    it to a reader: the field, its value, and what was expected.
    """

    __slots__ = ("detail", "reason")

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"

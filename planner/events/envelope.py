"""The envelope that every event carries."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from planner.base import Identifier, Instant, Model


class Event(Model):
    """An event: something that happened, in the past tense.

    ``event_id`` makes it idempotent; ``occurred_at`` is when it happened at its source (not when it was
    published); ``source`` names the system or person that says so.
    """

    schema_version: Literal[1] = 1
    event_id: Identifier
    occurred_at: Instant
    source: Identifier = Field(default="unknown")

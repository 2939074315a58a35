"""Both agents' steps of one partition over the real tables (SQLite), in this process and without Faust."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from config.settings import Settings
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.plan_step import PlanStep
from planner.step import Effects, Message, Record
from streams import names
from streams.embedded.database import Database
from streams.embedded.store import DatabaseEntries
from streams.topics import topic_specs

PREFIX = "planner."
FILL_CHUNK = 20_000


class Partition:
    """The steps and their tables. Time comes from the events."""

    def __init__(self, file: Path, bundle: Bundle) -> None:
        self.database = Database(file, durability="normal")
        settings = Settings(broker_url=f"sqlite:///{file}", topic_prefix=PREFIX, partitions=1)
        self.database.ensure_topics([replace(spec, name=PREFIX + spec.name) for spec in topic_specs(settings)])
        self.expand = BookingStep(0, 1, bundle, clock="event")
        self.plan = PlanStep(0, bundle, clock="event")
        self.expand.restore(self._entries(names.EXPAND))
        self.plan.restore(self._entries(names.PLAN))
        self._offsets: dict[str, int] = {}

    def _entries(self, agent: str) -> DatabaseEntries:
        return DatabaseEntries(self.database, PREFIX + names.changelog(agent), 0)

    def fill(self, messages: Iterable[Message]) -> None:
        """Many events at once, as a backlog; what they publish is not written, their table entries are."""
        rest = iter(messages)
        while chunk := list(islice(rest, FILL_CHUNK)):
            self.apply(chunk, caught_up=False, publish=False)

    def apply(self, messages: Sequence[Message], *, caught_up: bool = True, publish: bool = True) -> None:
        """A chunk of booking events through both agents, each page in a transaction, forecasts last."""
        stated: list[Message] = []
        for effects in self.expand.fold(self._records("bookings", messages), caught_up=caught_up):
            stated += effects.messages
            self._write(names.EXPAND, effects, publish=publish)
        records = self._records("requirements", [message for message in stated if message.topic == "requirements"])
        if records:
            for effects in self.plan.fold(records, caught_up=caught_up):
                self._write(names.PLAN, effects, publish=publish)
        if publish and (due := self.plan.due()):
            self.database.append(due, PREFIX)

    def settle(self) -> None:
        """Review and publish whatever waits."""
        for effects in self.plan.fold([], caught_up=True):
            self._write(names.PLAN, effects, publish=True)
        while due := self.plan.due():
            self.database.append(due, PREFIX)

    def _records(self, topic: str, messages: Sequence[Message]) -> list[Record]:
        first = self._offsets.get(topic, 0)
        self._offsets[topic] = first + len(messages)
        return [
            Record(topic, 0, offset, 0, message.key, message.value, message.headers)
            for offset, message in enumerate(messages, first)
        ]

    def _write(self, agent: str, effects: Effects, *, publish: bool) -> None:
        with self.database.transaction() as transaction:
            if publish:
                transaction.append(effects.messages, PREFIX)
            if effects.writes:
                transaction.put(PREFIX + names.changelog(agent), 0, effects.writes)

    def close(self) -> None:
        self.database.close()

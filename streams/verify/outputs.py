"""What the planner has published last, beside what the fold says it should have.

Forecasts, and how good they have been, follow the state by a moment; and on a running system everything moves while
one looks. So what differs is only *suspected* at first. It is looked at again after the fold has gone on, and is a
difference when it stays while nothing of its site changes for as long as the caller is patient.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import orjson

from planner.step import Message
from planner.topics import SEPARATOR
from planner.verify.compare import Difference, value_difference
from planner.verify.ends import LastOnes
from streams.log import LogClient
from streams.verify.partition import PartitionCheck

DECISIONS: Final = ("alerts", "proposals")
"""Published with the chunk that they come from."""
FIGURES: Final = ("forecasts", "accuracy")
"""Published a moment later, of the newest state."""
_ROUND_S: Final = 0.5
_ROUNDS_LEAST: Final = 4
"""However long they take: a suspicion is one after the first, and lasts, or not, after the next."""

Named = tuple[str, bytes]
"""Topic and key."""


class LatestReader:
    """The last value of each key of a compacted topic, brought up to date by reading on."""

    def __init__(self, client: LogClient, topic: str) -> None:
        self.values: dict[bytes, bytes] = {}
        self._client = client
        self._topic = topic
        self._next: dict[int, int] = {}

    async def advance(self) -> None:
        """Read what was written since."""
        async for chunk in self._client.read_chunks(self._topic, dict(self._next)):
            for record in chunk:
                if record.value is None:
                    self.values.pop(record.key or b"", None)
                else:
                    self.values[record.key or b""] = record.value
            self._next[chunk[0].partition] = chunk[-1].offset + 1


class _Suspicion(NamedTuple):
    since_s: float
    found: bytes | None
    site: int
    """Stands for all entries of the site."""
    at: int
    """Records that the fold had come to."""


class Outputs:
    """The last alerts, proposals, forecasts and accuracies of the sites of some partitions of ``plan``.

    ``wanted``: of which sites; ``patience_s``: how long a difference has to stay while its site is quiet.
    """

    def __init__(
        self, client: LogClient, plans: Iterable[PartitionCheck], wanted: Callable[[str], bool], patience_s: float
    ) -> None:
        self.decided = {topic: LastOnes(topic) for topic in DECISIONS}
        self.compared: dict[str, int] = {}
        """Topic → keys that were compared."""
        self.in_motion: dict[str, int] = {}
        """Topic → keys that differed whenever one looked, at sites that changed all the time."""
        self._plans = list(plans)
        self._wanted = wanted
        self._patience_s = patience_s
        self._readers = {topic: LatestReader(client, topic) for topic in (*DECISIONS, *FIGURES)}
        self._figures: dict[Named, bytes] = {}
        self._suspected: dict[Named, _Suspicion] = {}

    async def compare(self, advance: Callable[[], Awaitable[None]], deadline_s: float) -> Difference | None:
        """The first difference that stays; None: there is none, but for what is ``in_motion``.

        ``advance``: takes all partitions to a new cut. ``deadline_s``: how long to go on looking at what moves.
        """
        began_s, rounds = time.monotonic(), 0
        self._suspected = {}
        self._compute(None)
        while True:
            for last in self.decided.values():
                last.begin()
            for reader in self._readers.values():
                await reader.advance()
            found = self._differing()
            if not found:
                break
            await asyncio.sleep(_ROUND_S)
            await advance()
            before = {name: self._figures.get(name) for name in found}
            self._compute({_site(name) for name in found})
            found = {name for name in found if not self._explained(name, before[name])}
            lasting = self._lasting(found)
            if lasting is not None:
                return self._difference(lasting)
            rounds += 1
            if not found or (rounds >= _ROUNDS_LEAST and time.monotonic() - began_s > deadline_s):
                break
        self.in_motion = {topic: sum(name[0] == topic for name in found) for topic in self._readers}
        return None

    # --- expected -----------------------------------------------------------------------------------------

    def _compute(self, sites: set[str] | None) -> None:
        """Figures afresh from the folded state; of all sites, or of some."""
        self._figures = {
            name: value for name, value in self._figures.items() if sites is not None and _site(name) not in sites
        }
        for plan in self._plans:
            for message in plan.afresh(sites):
                self._expect(message)

    def _expect(self, message: Message) -> None:
        if message.topic in FIGURES and message.key is not None and message.value is not None:
            self._figures[message.topic, message.key] = _without_instant(message.value)

    # --- found --------------------------------------------------------------------------------------------

    def _found(self, name: Named) -> bytes | None:
        value = self._readers[name[0]].values.get(name[1])
        return value if value is None or name[0] in DECISIONS else _without_instant(value)

    def _differing(self) -> set[Named]:
        """What is not as the fold says, as of now."""
        names = {(topic, key) for topic, reader in self._readers.items() for key in reader.values}
        names |= self._figures.keys()
        names |= {(topic, key) for topic, last in self.decided.items() for key in last.last}
        planned = {site for plan in self._plans for site in plan.sites if self._wanted(site)}
        judged = {name for name in names if _site(name) in planned and self._judged(name)}
        self.compared = {topic: sum(name[0] == topic for name in judged) for topic in self._readers}
        return {name for name in judged if not self._agrees(name)}

    def _judged(self, name: Named) -> bool:
        """Where the fold does not begin at the beginning, decisions that it has not heard of cannot be judged."""
        topic, key = name
        if topic in FIGURES or key in self.decided[topic].last:
            return True
        return all(plan.gone is None for plan in self._plans if _site(name) in plan.sites)

    def _agrees(self, name: Named) -> bool:
        topic, key = name
        if topic in DECISIONS:
            return self.decided[topic].agrees(key, self._found(name))
        return self._found(name) == self._figures.get(name)

    def _explained(self, name: Named, before: bytes | None) -> bool:
        """Whether what was found is what the state gives by now, or gave before."""
        return self._agrees(name) or (name[0] in FIGURES and self._found(name) == before)

    def _lasting(self, found: set[Named]) -> Named | None:
        """A suspicion that has stayed for long enough; the others are remembered."""
        now_s = time.monotonic()
        suspected = {}
        lasting = []
        for name in sorted(found):
            plan = next(plan for plan in self._plans if _site(name) in plan.sites)
            new = _Suspicion(now_s, self._found(name), plan.fingerprint(_site(name)), plan.records)
            old = self._suspected.get(name)
            if old is None or (old.found, old.site) != (new.found, new.site):
                suspected[name] = new
                continue
            suspected[name] = old
            in_flight = plan.tried and plan.records == old.at if name[0] in DECISIONS else not plan.caught_up
            if now_s - old.since_s >= self._patience_s and not in_flight:
                lasting.append(name)
        self._suspected = suspected
        return lasting[0] if lasting else None

    def _difference(self, name: Named) -> Difference:
        topic, key = name
        recomputed = self.decided[topic].last.get(key) if topic in DECISIONS else self._figures.get(name)
        return value_difference(topic, key, recomputed, self._found(name))


def _site(name: Named) -> str:
    topic, key = name
    return key.decode("utf-8", "replace").partition("/" if topic == "alerts" else SEPARATOR)[0]


def _without_instant(value: bytes) -> bytes:
    """A forecast without ``as_of``: it says when it was published, which is no function of the log."""
    body = orjson.loads(value)
    body.pop("as_of", None)
    return orjson.dumps(body)

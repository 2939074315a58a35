"""Where a worker is made to go wrong: the seams of the path of a chunk, counted, and one passage that is the last.

For tests alone: ``arm`` wraps the seams from outside, in a worker that was started for it. The seams are those that
every way of making pages durable has: of the embedded log its transaction, of Kafka the client library's sends and
commits; so that nothing here knows what an outlet does between them.

=============  =========================================  ==============================================
point          embedded log                               Kafka
=============  =========================================  ==============================================
decode         a record is decoded                        the same
step           a step folds a chunk into a page           the same
publish        messages are appended in a transaction     a batch of messages is sent
table write    entries are put in the same transaction    a batch of the changelog is sent
commit         the transaction commits                    the transaction commits
ack            the chunk is acknowledged to the consumer  the same
=============  =========================================  ==============================================
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import aiokafka
from aiokafka.errors import NotLeaderForPartitionError

import planner.booking_step
import planner.plan_step
from planner.booking_step import BookingStep
from planner.plan.requirements import RequirementReader
from planner.plan_step import PlanStep
from streams.delivery.consumer import ChunkConsumer
from streams.embedded.database import Database
from streams.embedded.transaction import Transaction
from streams.log import LogBusy, LogUnavailable

POINTS: Final = ("decode", "step", "publish", "table write", "commit", "ack")
When = Literal["before", "after"]
How = Literal["kill", "bug", "fault"]
"""``kill``: SIGKILL; ``bug``: an exception that nobody expects; ``fault``: one that the log may give."""
REACHED: Final = "the crash point was reached"


class Injected(ArithmeticError):  # noqa: N818 - named after what happened
    """A bug of our making."""


@dataclass(frozen=True)
class Crash:
    """The ``number``-th passage of a point goes wrong."""

    point: str
    when: When
    how: How
    number: int

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class _Seams:
    def __init__(self) -> None:
        self.crash: Crash | None = None
        self.passages: Counter[str] = Counter()
        self.fault: Callable[[], Exception] = lambda: LogBusy("injected: another process has been writing for too long")

    def passed(self, point: str, when: When) -> None:
        name = f"{when} {point}"
        self.passages[name] += 1
        crash = self.crash
        if crash is None or (crash.point, crash.when, crash.number) != (point, when, self.passages[name]):
            return
        os.write(2, f"\n{REACHED}: {name} {crash.number} {crash.how}\n".encode())
        if crash.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if crash.how == "bug":
            raise Injected(f"injected {name}")
        raise self.fault()


_SEAMS = _Seams()


def arm(crash: dict[str, Any] | None, counts: str | None) -> None:
    """Wrap the seams of this process."""
    if crash is None and counts is None:
        return
    _SEAMS.crash = None if crash is None else Crash(**crash)
    _wrap_steps()
    _wrap_ack()
    _wrap_embedded()
    _wrap_kafka()
    if _kafka():
        _SEAMS.fault = lambda: NotLeaderForPartitionError("injected: a broker died")
    elif crash is not None and (crash["point"], crash["when"]) == ("commit", "after"):
        # what a disk may say whose answer does not tell whether it has written
        _SEAMS.fault = lambda: LogUnavailable("injected: disk I/O error")
    if counts is not None:
        _count_into(Path(counts))


def _kafka() -> bool:
    return os.environ["PLANNER_BROKER_URL"].startswith("kafka:")


def _count_into(file: Path) -> None:
    """Write the counts at the end of a clean run."""
    from streams import worker  # noqa: PLC0415

    run = worker.work

    def counted(*args: Any, **kwargs: Any) -> int:
        code = run(*args, **kwargs)
        file.write_text(json.dumps(_SEAMS.passages))
        return code

    worker.work = counted


def _around(point: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        _SEAMS.passed(point, "before")
        result = function(*args, **kwargs)
        _SEAMS.passed(point, "after")
        return result

    return wrapped


def _wrap_steps() -> None:
    planner.booking_step.decode = _around("decode", planner.booking_step.decode)
    planner.plan_step.decode = _around("decode", planner.plan_step.decode)
    RequirementReader.read = _around("decode", RequirementReader.read)  # type: ignore[method-assign]
    for step in (BookingStep, PlanStep):
        step.fold = _around_pages(step.fold)  # type: ignore[method-assign]


def _around_pages(fold: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def wrapped(*args: Any, **kwargs: Any) -> Iterator[Any]:
        _SEAMS.passed("step", "before")
        for page in fold(*args, **kwargs):
            # folded, and the engine does not have it yet
            _SEAMS.passed("step", "after")
            yield page

    return wrapped


def _wrap_ack() -> None:
    ChunkConsumer.ack = _around("ack", ChunkConsumer.ack)  # type: ignore[method-assign]


def _wrap_embedded() -> None:
    Transaction.append = _around("publish", Transaction.append)  # type: ignore[method-assign]
    Transaction.put = _around("table write", Transaction.put)  # type: ignore[method-assign]
    transaction = Database.transaction

    @contextmanager
    def wrapped(self: Database) -> Iterator[Transaction]:
        with transaction(self) as open_:
            yield open_
            _SEAMS.passed("commit", "before")
        _SEAMS.passed("commit", "after")

    Database.transaction = wrapped  # type: ignore[method-assign,assignment]


def _wrap_kafka() -> None:
    producer = aiokafka.AIOKafkaProducer
    send_batch = producer.send_batch

    async def send(self: Any, batch: Any, topic: str, *, partition: int) -> Awaitable[Any]:
        point = "table write" if topic.endswith("-changelog") else "publish"
        _SEAMS.passed(point, "before")
        sent = await send_batch(self, batch, topic, partition=partition)

        async def acknowledged() -> Any:
            metadata = await sent
            _SEAMS.passed(point, "after")
            return metadata

        return asyncio.ensure_future(acknowledged())

    producer.send_batch = send
    producer.commit_transaction = _around_call("commit", producer.commit_transaction)


def _around_call(point: str, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        _SEAMS.passed(point, "before")
        result = await function(*args, **kwargs)
        _SEAMS.passed(point, "after")
        return result

    return wrapped

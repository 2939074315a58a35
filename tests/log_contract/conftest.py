"""A client of each log in turn, and processes beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from streams.log import LogClient, TopicSpec, open_client

ROOT = Path(__file__).parents[2]

TOPICS = (
    TopicSpec("events", 4),
    TopicSpec("single", 1),
    TopicSpec("large", 1, max_message_bytes=16_777_216),
    TopicSpec("table", 4, compacted=True),
)


@pytest.fixture
async def client(broker_url: str, prefix: str) -> AsyncIterator[LogClient]:
    """An open client, with the topics above made."""
    async with open_client(broker_url, prefix) as opened:
        await opened.ensure_topics(TOPICS)
        yield opened


@pytest.fixture
def other(broker_url: str, prefix: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``tests.log_contract.other`` in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def start(mode: str, topic: str, name: str, count: int) -> subprocess.Popen[str]:
        arguments = [
            sys.executable,
            "-m",
            "tests.log_contract.other",
            mode,
            broker_url,
            prefix,
            topic,
            name,
            str(count),
        ]
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

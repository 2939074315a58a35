"""The peers: which program runs which job, and why one cannot run here."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.job import PARTITIONS, Task
from tests.kafka_software import KAFKA_VERSION, KafkaNotRunnableError, artifacts, java

HERE = Path(__file__).parent


def _never() -> str | None:
    return None


def _needs(package: str, extra: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install -e .[{extra}]"
        return None

    return missing


def _no_java() -> str | None:
    if shutil.which("javac") is None:
        return "javac (17 or newer) is missing"
    try:
        java()
        streams_jars()
    except KafkaNotRunnableError as error:
        return str(error)
    return None


def streams_jars() -> Path:
    """The jars of Kafka Streams, fetched from Maven Central the first time."""
    return artifacts(f"kafka-streams-{KAFKA_VERSION}", [("org.apache.kafka", "kafka-streams", KAFKA_VERSION)])


def _python(module: str) -> Callable[[Task], list[str]]:
    def command(told: Task) -> list[str]:
        return [sys.executable, "-W", "ignore", "-m", f"benchmarks.peers.{module}", *arguments(told)]

    return command


def arguments(told: Task) -> list[str]:
    """The command line of a peer's program."""
    return [
        "--job", told.job, "--broker", told.broker, "--prefix", told.prefix,
        "--directory", str(told.directory), "--sites", str(told.sites),
    ]  # fmt: skip


def _planner(told: Task) -> list[str]:
    if told.job == "small":
        return _python("this_delivery")(told)
    return [sys.executable, "-m", "streams.cli", "--broker", f"kafka://{told.broker}", "--prefix", told.prefix, "run",
            "--clock", "event"]  # fmt: skip


def _kafka_streams(told: Task) -> list[str]:
    classes = told.directory / "classes"
    path = f"{classes}:{streams_jars()}/*"
    subprocess.run(["javac", "-cp", path, "-d", str(classes), str(HERE / "java" / "SmallJob.java")], check=True)
    return [
        java(), "-Xmx512m", "-XX:+UseSerialGC", "-cp", path, "SmallJob", told.broker, told.prefix,
        str(told.directory / "state"), str(HERE / "protocols.json"), str(PARTITIONS),
    ]  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """A program."""

    name: str
    command: Callable[[Task], list[str]]
    jobs: tuple[str, ...] = ("small",)
    missing: Callable[[], str | None] = field(default=_never)
    """Why it cannot run here; None: it can."""
    workers: int = 1
    """Processes, all on the same core: what counts with several is their processor time."""
    events_max: int | None = None
    """So slow that it is given only the first events."""


PEERS = {
    peer.name: peer
    for peer in (
        Peer("planner", _planner, ("whole", "small")),
        Peer("planner-two-workers", _planner, ("whole",), workers=2),
        Peer("stock-faust", _python("stock_faust"), ("whole", "small"), events_max=15_000),
        Peer("hand-loop", _python("hand_loop"), ("whole", "small")),
        Peer("quix", _python("quix"), missing=_needs("quixstreams", "peers")),
        Peer("bytewax", _python("bytewax_flow"), missing=_needs("bytewax", "peers")),
        Peer("kafka-streams", _kafka_streams, missing=_no_java),
    )
}

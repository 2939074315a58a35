"""Where Apache Kafka comes from: a container engine's image, or Maven Central's jars and this machine's Java.

Jars are fetched by their coordinates the first time, into a cache outside the repository.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

KAFKA_VERSION = "4.3.1"
"""The newest 4.x whose dependencies Maven Central has in full (4.4.0 names an artifact that is not there)."""
LOG4J_VERSION = "2.25.4"
SCALA_VERSION = "2.13"
JAVA_VERSION_MIN = 17
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class KafkaNotRunnableError(Exception):
    """No broker can run on this machine; the message says why, in one line."""


def container_engine() -> str | None:
    """The command of a container engine whose daemon answers, on Linux."""
    if sys.platform != "linux":
        return None
    for command in ("docker", "podman"):
        if not shutil.which(command):
            continue
        try:
            answer = subprocess.run([command, "info"], capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if answer.returncode == 0:
            return command
    return None


def java() -> str:
    """The command of a Java that is new enough.

    Raises:
        KafkaNotRunnableError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = []
    for command in [str(Path(home, "bin", "java"))] if home else [], [shutil.which("java") or ""]:
        for candidate in filter(None, command):
            try:
                answer = subprocess.run([candidate, "-version"], capture_output=True, timeout=30, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                found.append(f"{candidate}: {error}")
                continue
            version = re.search(r'version "(\d+)', answer.stderr.decode(errors="replace"))
            if version and int(version[1]) >= JAVA_VERSION_MIN:
                return candidate
            found.append(f"{candidate} is version {version[1] if version else 'unknown'}")
    raise KafkaNotRunnableError(f"Java {JAVA_VERSION_MIN} or newer is needed ({'; '.join(found) or 'no java found'})")


def jars(version: str = KAFKA_VERSION) -> Path:
    """The directory of Kafka's jars, fetched from Maven Central the first time.

    Raises:
        KafkaNotRunnableError: they are not there and cannot be fetched.
    """
    wanted = [
        ("org.apache.kafka", f"kafka_{SCALA_VERSION}", version),
        ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),  # else the broker logs nothing
    ]
    return artifacts(f"kafka-{version}", wanted)


def artifacts(name: str, wanted: Sequence[tuple[str, str, str]]) -> Path:
    """The directory ``name`` with the jars of (group, artifact, version) and all they need, fetched the first time.

    Raises:
        KafkaNotRunnableError: they are not there and cannot be fetched.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infusion-supply-planner"
    directory = cache / name
    if directory.is_dir():
        return directory
    maven = shutil.which("mvn")
    if not maven:
        raise KafkaNotRunnableError(f"no container engine answers, and Maven (mvn) is missing to fetch {name}")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may start together
        if directory.is_dir():
            return directory
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            _fetch(maven, name, wanted, Path(scratch))
            Path(scratch, "jars").rename(directory)
    return directory


def _fetch(maven: str, name: str, wanted: Sequence[tuple[str, str, str]], scratch: Path) -> None:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{number}</version></dependency>"
        for group, artifact, number in wanted
    )
    (scratch / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>planner</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
    command = [maven, "-q", "-B", MAVEN_PLUGIN, f"-DoutputDirectory={scratch / 'jars'}", "-DincludeScope=runtime"]
    try:
        answer = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired as error:
        raise KafkaNotRunnableError(f"fetching {name} with Maven took more than 600 s") from error
    if answer.returncode != 0:
        lines = [line for line in (answer.stdout + answer.stderr).splitlines() if "ERROR" in line]
        raise KafkaNotRunnableError(f"Maven cannot fetch {name}: {lines[0] if lines else 'no reason given'}")


@dataclass(frozen=True, slots=True)
class Launcher:
    """How to run one of Kafka's main classes: with this machine's Java, or with that of the image."""

    engine: str | None
    command: tuple[str, ...]
    """Java and its class path."""
    image: str = ""

    def argv(self, directory: Path, name: str, *arguments: str) -> list[str]:
        """The command line; ``name`` is the container's."""
        if self.engine is None:
            return [*self.command, *arguments]
        return [
            *(
                self.engine,
                "run",
                "--rm",
                "--name",
                name,
                "--network",
                "host",
                "--user",
                f"{os.getuid()}:{os.getgid()}",
            ),
            *("-v", f"{directory}:{directory}", "-w", str(directory), "--entrypoint", self.command[0], self.image),
            *(*self.command[1:], *arguments),
        ]


def launcher(source: Literal["any", "container", "jars"], version: str) -> Launcher:
    """A container engine that has the image, else Java with the jars; or the one asked for.

    Raises:
        KafkaNotRunnableError: there is none.
    """
    engine = container_engine() if source != "jars" else None
    if engine:
        image = f"docker.io/apache/kafka:{version}"
        answer = subprocess.run([engine, "pull", "-q", image], capture_output=True, text=True, timeout=600, check=False)
        if answer.returncode == 0:
            return Launcher(engine, ("java", "-cp", "/opt/kafka/libs/*"), image)
        if source == "container":
            raise KafkaNotRunnableError(f"{engine} cannot pull {image}: {answer.stderr.strip()}")
    if source == "container":
        raise KafkaNotRunnableError("no container engine answers")
    return Launcher(None, (java(), "-cp", f"{jars(version)}/*"))

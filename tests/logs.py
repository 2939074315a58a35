"""Pytest plugin: logs to test on. Fixtures: ``kafka`` (a real broker, shared), ``kafka_of`` (clusters of
the test's own), ``broker_url`` (each kind of log in turn) and ``prefix`` (for topics of the test's own).

A test marked ``kafka`` is skipped where no broker can run, and one line at the end of the run says why. With
PLANNER_REQUIRE_KAFKA=1 (continuous integration) it fails instead.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka_broker import KafkaCluster
from tests.kafka_software import KafkaNotRunnableError

_not_runnable = pytest.StashKey[str]()


def require_kafka() -> bool:
    """Whether a run without Kafka is a failed run."""
    return os.environ.get("PLANNER_REQUIRE_KAFKA", "0") not in {"", "0"}


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[KafkaCluster]:
    """One real broker for the whole run. Give your topics the test's ``prefix``; do not kill it."""
    cluster = _started(pytestconfig, KafkaCluster)
    yield cluster
    cluster.close()


@pytest.fixture
def kafka_of(pytestconfig: pytest.Config) -> Iterator[Callable[..., KafkaCluster]]:
    """Starts clusters of the test's own, ``kafka_of(nodes=3)``, with the arguments of KafkaCluster."""
    clusters: list[KafkaCluster] = []

    def start(**options: Any) -> KafkaCluster:
        clusters.append(_started(pytestconfig, lambda: KafkaCluster(**options)))
        return clusters[-1]

    yield start
    for cluster in clusters:
        cluster.close()


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a log of each kind; the test runs once on each."""
    if request.param == "embedded":
        return f"sqlite:///{tmp_path}/planner.db"
    cluster: KafkaCluster = request.getfixturevalue("kafka")
    return cluster.url


@pytest.fixture
def prefix() -> str:
    """A prefix of topics that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}."


def _started(config: pytest.Config, make: Callable[[], KafkaCluster]) -> KafkaCluster:
    why = config.stash.get(_not_runnable, None)
    if why is None:
        try:
            return make().start()
        except KafkaNotRunnableError as error:
            why = config.stash[_not_runnable] = str(error)
    if os.environ.get("PLANNER_REQUIRE_KAFKA", "0") not in {"", "0"}:
        pytest.fail(f"Kafka is required (PLANNER_REQUIRE_KAFKA) but cannot run: {why}", pytrace=False)
    pytest.skip(f"Kafka cannot run here: {why}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One plain line when the Kafka tier did not run."""
    why = config.stash.get(_not_runnable, None)
    if why is not None:
        terminalreporter.write_line(f"The tests on real Kafka did not run: {why}", yellow=True)

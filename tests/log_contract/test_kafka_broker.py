"""The brokers the tests stand on: they start, survive what is done to them, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import kafka_broker, kafka_software
from tests.kafka_broker import KafkaCluster
from tests.kafka_software import KafkaNotRunnableError


@pytest.mark.kafka
@pytest.mark.slow
def test_three_brokers_survive_kill_hang_and_lost_disk(kafka_of: Callable[..., KafkaCluster]) -> None:
    cluster = kafka_of(nodes=3)
    ports = [int(address.rpartition(":")[2]) for address in cluster.bootstrap.split(",")]

    cluster.kill(1)
    assert kafka_broker._brokers_known(ports[1]) is None
    cluster.restart(1)
    cluster.stop(0)
    cluster.resume(0)
    cluster.kill(2)
    cluster.wipe(2)
    cluster.restart(2)

    assert [kafka_broker._brokers_known(port) for port in ports] == [3, 3, 3]


@pytest.mark.kafka
def test_close_leaves_no_process_and_no_data(kafka_of: Callable[..., KafkaCluster]) -> None:
    cluster = kafka_of()
    process = cluster._nodes[0].process
    assert process is not None
    cluster.close()
    assert process.poll() is not None
    assert not cluster.directory.exists()


@pytest.mark.kafka
@pytest.mark.usefixtures("kafka")  # so that where no broker can run this one is not tried either
def test_brokers_end_with_a_run_that_is_killed() -> None:
    command = [sys.executable, "-m", "tests.kafka_broker"]
    run = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    port = int(run.stdout.readline().split()[0].rpartition(":")[2])
    assert kafka_broker._brokers_known(port) == 1
    run.kill()
    run.wait()
    run.stdout.close()
    deadline = time.monotonic() + 20
    while kafka_broker._brokers_known(port) is not None:
        assert time.monotonic() < deadline, "the broker outlived its run"
        time.sleep(0.05)


def test_a_machine_without_java_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(KafkaNotRunnableError, match=r"Java 17 or newer is needed \(no java found\)"):
        KafkaCluster()


def test_a_machine_without_maven_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(KafkaNotRunnableError, match=r"Maven \(mvn\) is missing"):
        kafka_software.jars()


@pytest.mark.parametrize(("required", "status", "line"), [("0", 0, "1 skipped"), ("1", 1, "1 error")])
def test_without_kafka_one_line_says_so_and_ci_fails(tmp_path: Path, required: str, status: int, line: str) -> None:
    """A run of its own, on a machine without Java: nothing is on its PATH."""
    test = tmp_path / "test_one.py"
    test.write_text("import pytest\n@pytest.mark.kafka\ndef test_needs_kafka(kafka): pass\n")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.logs", "-c", str(root / "pyproject.toml"), str(test)]
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(root), "PLANNER_REQUIRE_KAFKA": required}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == status, run.stdout
    assert line in run.stdout
    assert run.stdout.count("The tests on real Kafka did not run: Java 17 or newer is needed") == 1

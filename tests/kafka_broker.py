"""Real Apache Kafka brokers (KRaft) for tests, CI and benchmarks, with their faults: kill, hang, lost disk.

    with KafkaCluster(nodes=3) as cluster:
        ...  # cluster.bootstrap == "127.0.0.1:20001,127.0.0.1:20003,127.0.0.1:20005"
        cluster.kill(1)      # SIGKILL
        cluster.restart(1)

Kafka comes from a container engine's ``apache/kafka`` image where one answers (on Linux, for its host network), else
from Maven Central by its coordinates, into a cache outside the repository, and runs on Java 17 or newer. Either way
the processes, their configuration and their data are ours: a temporary directory that goes at the end.

``python -m tests.kafka_broker [NODES]`` starts a cluster, prints its address and runs until it is interrupted.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.kafka_software import KAFKA_VERSION, KafkaNotRunnableError, java, launcher

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
# Below the range from which the system takes the ports of outgoing connections, so that a broker that is restarted
# finds its own still free.
PORTS = range(20_000, 32_000)

SCRAM_USER, SCRAM_PASSWORD = "planner", "pass word 'of sorts' $1%"
_STORE_PASSWORD = "only-for-tests"


# --- the cluster ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    id: int
    directory: Path
    port: int
    controller_port: int
    secure_port: int | None
    container: str
    process: subprocess.Popen[bytes] | None = None
    log_files: list[Path] = field(default_factory=list)


class KafkaCluster:
    """One or several brokers, each also a controller. Nodes are counted from 0.

    ``secured``: besides plain text there is a listener with TLS and SCRAM (``secure_bootstrap``, ``ca_file``).
    ``heap_mb`` and ``fast_start`` (a JIT compiler that starts sooner but ends slower) suit tests; benchmarks give
    more heap and turn ``fast_start`` off. ``settings`` are added to every server.properties.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        source: Literal["any", "container", "jars"] = "any",
        version: str = KAFKA_VERSION,
        heap_mb: int = 256,
        fast_start: bool = True,
        secured: bool = False,
        settings: dict[str, str] | None = None,
    ) -> None:
        self._launcher = launcher(source, version)
        self._java_options = [f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]
        self._java_options += ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"] if fast_start else []
        self._settings = settings or {}
        self._secured = secured
        # 22 characters of base64; a hyphen in front would pass for an option
        self._cluster_id = "T" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        self.directory = Path(tempfile.mkdtemp(prefix="kafka-"))
        ports = _free_ports(nodes * 3)
        self._nodes = [
            _Node(
                id=i + 1,
                directory=self.directory / f"node-{i}",
                port=next(ports),
                controller_port=next(ports),
                secure_port=next(ports) if secured else None,
                container=f"{self.directory.name}-{i}",
            )
            for i in range(nodes)
        ]
        self._watcher: subprocess.Popen[bytes] | None = None
        self.started_seconds = 0.0
        """How long the last start of the whole cluster took, formatting included."""

    # What clients connect with

    @property
    def bootstrap(self) -> str:
        """``host:port`` of every broker, separated by commas."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self._nodes)

    @property
    def url(self) -> str:
        """The cluster as a broker URL of the planner."""
        return f"kafka://{self.bootstrap}"

    @property
    def secure_bootstrap(self) -> str:
        """As ``bootstrap``, of the listeners with TLS and SCRAM-SHA-512 (``SCRAM_USER``, ``SCRAM_PASSWORD``)."""
        return ",".join(f"localhost:{node.secure_port}" for node in self._nodes)

    @property
    def ca_file(self) -> Path:
        """The certificate to trust at ``secure_bootstrap``."""
        return self.directory / "ca.pem"

    def log_file(self, node: int) -> Path:
        """What the node wrote since its last start."""
        return self._nodes[node].log_files[-1]

    # Life
    # A run that is itself killed with SIGKILL cleans nothing up; so a watcher process waits for the end of its
    # standard input, which comes when we close it or die, and then ends the brokers.

    def start(self) -> Self:
        """Format the disks, start every node and wait until all answer.

        Raises:
            KafkaNotRunnableError: a node ended or did not answer in time; the message ends with its last log lines.
        """
        atexit.register(self.close)
        self._watcher = subprocess.Popen(
            [sys.executable, "-c", _WATCH, str(self.directory), self._launcher.engine or ""],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        began = time.monotonic()
        try:
            if self._secured:
                self._make_certificate()
            formatting = [self._format(node) for node in self._nodes]
            for node, process in zip(self._nodes, formatting, strict=True):
                output, _ = process.communicate(timeout=START_SECONDS_MAX)
                if process.returncode != 0:
                    raise KafkaNotRunnableError(f"formatting node {node.id} failed: {_last_lines(output.decode())}")
            for node in self._nodes:
                self._launch(node)
            self.wait()
        except BaseException:
            self.close()
            raise
        self.started_seconds = time.monotonic() - began
        return self

    def wait(self, nodes: Sequence[int] | None = None) -> None:
        """Until each of ``nodes`` (default: all) answers and sees as many brokers as are asked for."""
        waited = [self._nodes[i] for i in nodes] if nodes is not None else self._nodes
        deadline = time.monotonic() + START_SECONDS_MAX
        for node in waited:
            while (_brokers_known(node.port) or 0) < len(waited):
                if node.process is None or node.process.poll() is not None:
                    raise KafkaNotRunnableError(f"node {node.id} ended: {_last_lines(_read(node))}")
                if time.monotonic() > deadline:
                    raise KafkaNotRunnableError(
                        f"node {node.id} did not answer within {START_SECONDS_MAX:g} s: {_last_lines(_read(node))}"
                    )
                time.sleep(0.05)

    def close(self) -> None:
        """End every process for sure and remove the data. May be called twice."""
        for node in self._nodes:
            self._signal(node, signal.SIGKILL)
        for node in self._nodes:
            if node.process is not None:
                node.process.wait(timeout=STOP_SECONDS_MAX)
                node.process = None
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.kill()  # all is done; a process id it knows may be another's by now
            self._watcher.wait()
            self._watcher.stdin.close()
            self._watcher = None
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Faults

    def kill(self, node: int) -> None:
        """SIGKILL; returns when the process is gone."""
        self._end(self._nodes[node], signal.SIGKILL)

    def terminate(self, node: int) -> None:
        """A clean stop (SIGTERM); SIGKILL when it takes too long."""
        self._end(self._nodes[node], signal.SIGTERM)

    def stop(self, node: int) -> None:
        """SIGSTOP: the broker hangs, its connections stay open. Returns when the last of its threads stands still."""
        process = self._nodes[node].process
        self._signal(self._nodes[node], signal.SIGSTOP)
        if process is not None and not self._launcher.engine and process.poll() is None:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self, node: int) -> None:
        """SIGCONT, after ``stop``."""
        self._signal(self._nodes[node], signal.SIGCONT)

    def restart(self, node: int, *, wait: bool = True) -> None:
        """Start a node that was killed or terminated (a running one is terminated first) on its own data."""
        which = self._nodes[node]
        if which.process is not None and which.process.poll() is None:
            self.terminate(node)
        self._launch(which)
        if wait:
            self.wait([i for i, other in enumerate(self._nodes) if other.process is not None])

    def wipe(self, node: int) -> None:
        """Lose the data disk of a node that does not run: every partition's copy is gone, an empty disk is put in.

        Its part in the quorum of controllers is on another disk, as Kafka recommends.
        """
        which = self._nodes[node]
        if which.process is not None:
            raise ValueError(f"node {node} runs; kill it before wiping its disk")
        shutil.rmtree(which.directory / "data")
        process = self._format(which)
        output, _ = process.communicate(timeout=START_SECONDS_MAX)
        if process.returncode != 0:
            raise KafkaNotRunnableError(f"formatting node {which.id} failed: {_last_lines(output.decode())}")

    # Processes

    def _format(self, node: _Node) -> subprocess.Popen[bytes]:
        node.directory.mkdir(exist_ok=True)
        properties = node.directory / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in self._properties(node).items()))
        (node.directory / "log4j2.properties").write_text(_LOG4J)
        arguments = [
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            "-t",
            self._cluster_id,
            "-c",
            str(properties),
        ]
        if self._secured:
            arguments += ["--add-scram", f'SCRAM-SHA-512=[name="{SCRAM_USER}",password="{SCRAM_PASSWORD}"]']
        argv = self._launcher.argv(self.directory, f"{node.container}-format", *self._java_options, *arguments)
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)

    def _launch(self, node: _Node) -> None:
        log_file = node.directory / f"broker-{len(node.log_files)}.log"
        node.log_files.append(log_file)
        options = [*self._java_options, f"-Dlog4j2.configurationFile={node.directory / 'log4j2.properties'}"]
        main = ["kafka.Kafka", str(node.directory / "server.properties")]
        argv = self._launcher.argv(self.directory, node.container, *options, *main)
        with log_file.open("wb") as output:
            node.process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.stdin.write(f"{node.process.pid} {node.container}\n".encode())
            self._watcher.stdin.flush()

    def _signal(self, node: _Node, number: signal.Signals) -> None:
        if node.process is None or node.process.poll() is not None:
            return
        if self._launcher.engine:
            verb = {signal.SIGSTOP: ["pause"], signal.SIGCONT: ["unpause"]}.get(number, ["kill", "-s", number.name[3:]])
            subprocess.run([self._launcher.engine, *verb, node.container], capture_output=True, timeout=30, check=False)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.process.pid, number)

    def _end(self, node: _Node, number: signal.Signals) -> None:
        if node.process is None:
            return
        self._signal(node, number)
        try:
            node.process.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._signal(node, signal.SIGKILL)
            node.process.wait(timeout=STOP_SECONDS_MAX)
        node.process = None

    # Configuration

    def _properties(self, node: _Node) -> dict[str, str]:
        count = len(self._nodes)
        copies = str(min(3, count))
        plain = f"PLAINTEXT://127.0.0.1:{node.port}"
        secure = f",SASL_SSL://localhost:{node.secure_port}" if self._secured else ""
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(node.id),
            "controller.quorum.voters": ",".join(f"{n.id}@127.0.0.1:{n.controller_port}" for n in self._nodes),
            "listeners": f"{plain},CONTROLLER://127.0.0.1:{node.controller_port}{secure}",
            "advertised.listeners": f"{plain}{secure}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "log.dirs": str(node.directory / "data"),
            "metadata.log.dir": str(node.directory / "quorum"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": str(min(2, count)),
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": str(min(2, count)),
            "transaction.state.log.num.partitions": "2",
            # A killed broker may come back at once, not after the default of 9 s
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "message.max.bytes": "17825792",
            "replica.fetch.max.bytes": "17825792",
            # A small heap, and compaction that a test can wait for
            "log.cleaner.dedupe.buffer.size": "8388608",
            "log.cleaner.backoff.ms": "500",
            "log.index.size.max.bytes": "1048576",
            "num.network.threads": "2",
            "num.io.threads": "4",
        }
        if self._secured:
            properties |= {
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
                "ssl.keystore.location": str(self.directory / "broker.p12"),
                "ssl.keystore.password": _STORE_PASSWORD,
                "ssl.keystore.type": "PKCS12",
            }
        return properties | self._settings

    def _make_certificate(self) -> None:
        """A certificate of the brokers for ``localhost``, signed by itself."""
        store = str(self.directory / "broker.p12")
        common = ["-keystore", store, "-storepass", _STORE_PASSWORD, "-alias", "broker"]
        names = ["-dname", "CN=localhost", "-ext", "SAN=dns:localhost,ip:127.0.0.1", "-ext", "bc:c=ca:true"]
        keytool = str(Path(java()).resolve().with_name("keytool"))
        for arguments in (
            [
                "-genkeypair",
                "-keyalg",
                "EC",
                "-groupname",
                "secp256r1",
                "-validity",
                "30",
                "-storetype",
                "PKCS12",
                *names,
            ],
            ["-exportcert", "-rfc", "-file", str(self.ca_file)],
        ):
            verb, *rest = arguments
            answer = subprocess.run([keytool, verb, *common, *rest], capture_output=True, text=True, check=False)
            if answer.returncode != 0:
                raise KafkaNotRunnableError(f"keytool {verb} failed: {_last_lines(answer.stdout + answer.stderr)}")


# --- helpers ----------------------------------------------------------------------------------------------

_WATCH = """\
import os, shutil, signal, subprocess, sys
started = [line.split() for line in sys.stdin]
directory, engine = sys.argv[1:]
for pid, container in started:
    if engine:
        subprocess.run([engine, "kill", container], capture_output=True)
    try:
        os.killpg(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        pass
shutil.rmtree(directory, ignore_errors=True)
"""

_LOG4J = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRefs=out
rootLogger.appenderRef.out.ref=out
"""


def _free_ports(count: int) -> Iterator[int]:
    chooser = random.Random(os.urandom(8))
    found: list[int] = []
    while len(found) < count:
        port = chooser.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return iter(found)


def _brokers_known(port: int) -> int | None:
    """How many live brokers a broker knows of (Metadata request, version 1), or None while it does not answer."""
    client = b"tests"
    body = struct.pack(">hhih", 3, 1, 1, len(client)) + client + struct.pack(">i", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.makefile("rb").read(12)
    except OSError:
        return None
    return int(struct.unpack(">i", answer[8:])[0]) if len(answer) == 12 else None


def _read(node: _Node) -> str:
    return node.log_files[-1].read_text(errors="replace") if node.log_files else ""


def _last_lines(output: str, count: int = 8) -> str:
    interesting = [line for line in output.splitlines() if re.search(r"ERROR|FATAL|Exception|error", line)]
    return " | ".join((interesting or output.splitlines())[-count:]) or "it wrote nothing"


def main() -> None:
    """Run a cluster until interrupted."""
    with KafkaCluster(nodes=int(sys.argv[1]) if len(sys.argv) > 1 else 1) as cluster:
        print(f"{cluster.url}  (started in {cluster.started_seconds:.1f} s, {cluster.directory})", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()

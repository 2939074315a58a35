"""The peers' programs do the same job: whatever is installed here gives, on real Kafka, what a plain fold gives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from benchmarks.peers import inputs
from benchmarks.peers.programs import PEERS, Peer
from benchmarks.peers.run import run_peer
from tests.kafka_broker import KafkaCluster
from tests.kafka_software import KafkaNotRunnableError

EVENTS = 500
SMALL = [peer for peer in PEERS.values() if "small" in peer.jobs]


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    try:
        cluster = KafkaCluster()
    except KafkaNotRunnableError as reason:
        if os.environ.get("PLANNER_REQUIRE_KAFKA"):
            raise
        pytest.skip(str(reason))
    with cluster:
        yield cluster.bootstrap


@pytest.mark.kafka
@pytest.mark.parametrize("peer", SMALL, ids=[peer.name for peer in SMALL])
def test_the_small_job_gives_the_same_totals_on_every_peer(
    peer: Peer, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # on a machine that others use the second step may lag longer than where it is measured
    monkeypatch.setattr("benchmarks.peers.run.QUIET_S", 5.0)
    if (reason := peer.missing()) is not None:
        pytest.skip(f"{peer.name}: {reason}")
    events = inputs.chain(EVENTS)
    wanted = inputs.expected(events)
    assert wanted.poison > 0
    core = max(os.sched_getaffinity(0))

    run = asyncio.run(run_peer(peer, "small", events, broker=broker, core=core, sites=0, wanted=wanted))

    needs, poison = run.outputs
    assert needs == wanted.needs
    assert poison == wanted.poison


def test_the_input_holds_what_the_job_is_about() -> None:
    events = inputs.chain(3_000)
    wanted = inputs.expected(events)
    assert wanted.poison == 7
    assert 0 < wanted.requirements < len(events) - wanted.poison, "stale ones are refused and give nothing"
    assert any(total == 0 for total in wanted.needs.values()), "what is cancelled or moved is taken back"
    assert wanted == inputs.expected(inputs.chain(3_000)), "equal from run to run"

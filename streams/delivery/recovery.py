"""Faust's table recovery, with its hand-over to the streams put in an order that loses nothing (Faust issue 596).

Stock Faust resumes the inputs, then seeks them, then clears the queues they already fill: what was fetched in between
is lost, and the commit jumps over it. The same clearing drops changelog records on their way to a standby table. The
order here: stop the flow and wait until it has stopped; clear; seek; resume.
"""

from __future__ import annotations

from typing import Any

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery

CHANGELOG_QUEUE_MAX = 4096
"""Never reached: the consumer stops fetching changelogs long before (a full queue would block it, see there)."""


class ChunkRecovery(Recovery):  # type: ignore[misc]
    """Recovery whose completion loses nothing."""

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Every active table is up to date: restore the steps, then let the inputs flow."""
        app, consumer = self.app, self.app.consumer
        consumer.stop_flow()
        await self._wait(consumer.wait_for_stopped_flow())
        app.flow_control.suspend()
        app.flow_control.clear()
        await app.on_rebalance_complete.send()
        self._set_recovery_ended()
        self.flush_buffers()
        if app.consumer_generation_id != generation_id:
            self.log.warning("Another rebalance began during recovery")
            return
        for table in self.tables.values():
            await table.on_recovery_completed(self.actives_for_table[table], self.standbys_for_table[table])
        timeout_s = app.conf.broker_request_timeout
        await self._wait(consumer.perform_seek(), timeout=timeout_s)
        if self.standby_tps:
            # what the queue held for standbys was cleared with it
            await self._wait(
                self._seek_offsets(consumer, self.standby_tps, self.standby_offsets, "standby"), timeout=timeout_s
            )
        self.completed.set()
        app.flow_control.resume()
        consumer.resume_partitions({tp for tp in consumer.assignment() if not self._is_changelog_tp(tp)})
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        if not app.assignor.assigned_standbys():
            self.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.log.info("Worker ready")


class ChunkTableManager(TableManager):  # type: ignore[misc]
    """Table manager with our recovery, and no second of sleep at the start."""

    _recovery: Any
    _changelog_queue: Any

    async def on_start(self) -> None:
        """Tables are declared before the app starts, so there is nothing to wait for."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()

    @property
    def recovery(self) -> Any:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = ChunkRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    @property
    def changelog_queue(self) -> Any:
        """What recovery reads from."""
        if self._changelog_queue is None:
            self._changelog_queue = self.app.FlowControlQueue(maxsize=CHANGELOG_QUEUE_MAX, clear_on_resume=True)
        return self._changelog_queue

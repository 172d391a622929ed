"""The state of a worker as gauges: spool, connections, event loop, memory, and the node's collector."""

import asyncio
import os
from pathlib import Path

from auterity.engines.http.pool import HttpPool
from auterity.engines.spool.writer import SpoolWriter
from auterity.engines.telemetry.metrics import Metrics
from auterity.platform.usage.status import read_status

__all__ = ["Gauges"]

_INTERVAL_S = 5.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Gauges:
    """Sets the gauges every few seconds, so that any worker's page tells of all of them."""

    def __init__(self, metrics: Metrics, *, spool: SpoolWriter, pool: HttpPool, collector: Path | None) -> None:
        """
        Args:
            metrics: where the gauges are.
            spool: this worker's.
            pool: this worker's.
            collector: the folder of the collector's status; one worker of a node tells it, or it would count twice.
        """
        self._metrics = metrics
        self._spool = spool
        self._pool = pool
        self._collector = collector
        self._claims = metrics.gauge("auterity_spool_claims", "Calls that will record usage.").labels()
        self._unsynced = metrics.gauge("auterity_spool_unsynced_frames", "Usage that a power cut would take.").labels()
        self._refused = metrics.gauge("auterity_spool_refused", "Calls refused for lack of room for usage.").labels()
        self._connections = metrics.gauge(
            "auterity_provider_connections", "Connections to providers.", ("origin", "state"), max_series=200
        )
        self._lag = metrics.gauge("auterity_event_loop_lag_seconds", "How late the event loop ran a timer.").labels()
        self._memory = metrics.gauge("auterity_resident_memory_bytes", "Resident memory of the workers.").labels()
        self._behind = metrics.gauge(
            "auterity_collector_lag_seconds", "Since the collector had collected all there was."
        ).labels()
        self._backlog = metrics.gauge("auterity_collector_backlog_bytes", "Usage not collected yet.").labels()
        self._dead = metrics.gauge(
            "auterity_collector_dead_letters", "Events set aside as unreadable since the collector started."
        ).labels()

    def page(self) -> str:
        """The metrics page of all workers, with this worker's gauges as they are now."""
        self._set()
        return self._metrics.render()

    async def run(self) -> None:
        """Set the gauges until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _INTERVAL_S
            await asyncio.sleep(_INTERVAL_S)
            self._lag.set(max(0.0, loop.time() - due))
            self._set()

    def _set(self) -> None:
        spool = self._spool.gauges
        self._claims.set(spool.claims)
        self._unsynced.set(spool.unsynced)
        self._refused.set(spool.refused)
        for origin, counts in self._pool.counts.items():
            self._connections.labels(origin, "idle").set(counts.idle)
            self._connections.labels(origin, "in_use").set(counts.in_use)
        self._memory.set(_resident_bytes())
        status = read_status(self._collector) if self._collector is not None else None
        if status is not None:
            self._behind.set(status.lag_s)
            self._backlog.set(status.bytes_behind)
            self._dead.set(status.dead_letters)


def _resident_bytes() -> int:
    """Linux: the second number of ``/proc/self/statm`` (proc(5)), in pages."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE

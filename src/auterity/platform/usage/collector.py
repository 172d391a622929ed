"""The collector: moves usage events from the spool into the event store and the roll-ups, each exactly once.

One round: read what the segments hold beyond their positions → write one Parquet file per UTC day → commit roll-ups,
manifest rows and new positions in one transaction → remove drained segments. A death between any two steps leaves
either an unlisted file, which the next start removes, or a drained segment, which the next round removes. After any
failure the collector forgets what it believes and begins from what is committed, exactly as after a start.

An event id counts once within the last 100,000 or so events of this node, and a segment once for at least a week,
under whatever name a copy of it turns up: the id is in its header, and its position stays in the database.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path

from sqlalchemy.exc import DataError

from auterity.engines.database.errors import DatabaseRefused, DatabaseUnavailable
from auterity.engines.database.sessions import Database
from auterity.engines.eventstore.files import EventFiles
from auterity.kit.clock import Clock, SystemClock
from auterity.platform.usage.compaction import Compaction
from auterity.platform.usage.event import SCHEMA_VERSION, UsageEvent
from auterity.platform.usage.intake import Batch, Intake
from auterity.platform.usage.ledger import FileEntry, Ledger, Position, PositionsMoved
from auterity.platform.usage.node import node_name
from auterity.platform.usage.rollups import DAY_US, by_day, by_hour, rows_of
from auterity.platform.usage.status import CollectorStatus, write_status
from auterity.platform.usage.stored import EVENT_COLUMNS, SORT_BY, columns_of

__all__ = ["BATCH_EVENTS", "Collector"]

_log = logging.getLogger(__name__)

BATCH_EVENTS = 20_000
_POLL_S = 0.5
_COMPACTION_S = 10.0
_STATUS_S = 1.0
_BACKOFF_S = (0.1, 5.0)
_REMEMBERED_IDS = 50_000
"""Per generation; there are two."""


class Collector:
    """One node's collector. There is one at a time: see ``app/collector.py``."""

    def __init__(
        self,
        database: Database,
        spool: Path,
        store: Path,
        *,
        clock: Clock | None = None,
        batch_events: int = BATCH_EVENTS,
        poll_s: float = _POLL_S,
        compaction: Compaction | None = None,
    ) -> None:
        """``database`` is opened in the collector's role; ``spool`` and ``store`` are folders."""
        spool.mkdir(parents=True, exist_ok=True)
        node = node_name(spool)
        self._spool = spool
        self._clock = clock or SystemClock()
        self._ledger = Ledger(database, node)
        self._files = EventFiles(store, node, EVENT_COLUMNS, SORT_BY, version=SCHEMA_VERSION)
        self._compaction = compaction or Compaction(self._ledger, self._files)
        self._intake = Intake(spool)
        self._batch_events = batch_events
        self._limit = batch_events
        self._poll_s = poll_s
        self._recovered = False
        self._positions: dict[str, Position] = {}
        self._known: set[str] = set()
        self._recent: set[str] = set()
        self._earlier: set[str] = set()
        # Held while compaction has a file on disk that the manifest does not list yet, so that it is no orphan.
        self._store_lock = asyncio.Lock()
        self._events = 0
        self._duplicates = 0
        self._dead_letters = 0
        self._quarantined = 0
        self._bytes_behind = 0
        self._last_error = ""
        self._caught_up_at = self._measured_at = self._told_at = time.monotonic()
        self._measured_events = 0
        self._rate = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until told to stop; then what is in the spool at that moment, if the database is there."""
        async with self._compacting(stop):
            backoff = _BACKOFF_S[0]
            while not stop.is_set():
                if await self._round():
                    backoff = _BACKOFF_S[0]
                    if self._bytes_behind == 0:
                        await _wait(stop, self._poll_s)
                else:
                    await _wait(stop, backoff)
                    backoff = min(2 * backoff, _BACKOFF_S[1])
        while await self._round() and self._bytes_behind:
            pass
        self._tell()

    async def collect_once(self) -> int:
        """One round. Returns the number of events that it brought in.

        Raises:
            DatabaseUnavailable, PositionsMoved, OSError: nothing was lost; the next round begins anew.
        """
        if not self._recovered:
            await self._recover()
        self._recovered = False  # until this round has gone well
        segments = self._intake.segments()
        await self._learn(set(segments.values()))
        batch = self._intake.read(segments, self._positions, self._limit)
        try:
            count = await self._store(batch)
        except (DataError, ValueError, TypeError) as error:
            self._isolate(batch, error)
            return 0
        self._limit = min(self._batch_events, self._limit * 10)
        self._recovered = True
        self._account(batch, count)
        return count

    async def _round(self) -> bool:
        try:
            await self.collect_once()
        except (DatabaseUnavailable, DatabaseRefused, PositionsMoved, OSError) as error:
            if str(error) != self._last_error:
                _log.warning("usage collector: %s", error)
            self._last_error = str(error)
            self._tell()
            return False
        if self._last_error:
            _log.warning("usage collector: collecting again")
        self._last_error = ""
        if time.monotonic() - self._told_at >= _STATUS_S:
            self._tell()
        return True

    async def _recover(self) -> None:
        """Begin from what is committed, and remove files that never came to count."""
        async with self._store_lock:
            listed = await self._ledger.listed()
            orphans = self._files.own() - listed
            self._files.remove(orphans)
        if orphans:
            _log.info("usage collector: removed %d files of unfinished rounds", len(orphans))
        self._positions.clear()
        self._known.clear()
        self._recent.clear()
        self._earlier.clear()
        self._intake.remove_unfinished()
        for path in await self._ledger.newest_files(_REMEMBERED_IDS):
            with contextlib.suppress(OSError):  # merged and removed meanwhile
                self._recent.update(self._files.text_column(path, "id"))

    async def _learn(self, segment_ids: set[str]) -> None:
        """Read the positions of segments that were not there in the last round, and forget those that are gone."""
        unknown = segment_ids - self._known
        self._known = segment_ids
        self._positions = {name: found for name, found in self._positions.items() if name in segment_ids}
        if unknown:
            self._positions.update(await self._ledger.positions(unknown))

    async def _store(self, batch: Batch) -> int:
        if batch.dead:
            self._intake.write_dead_letters(batch)
        fresh = self._once_each(batch.events)
        if batch.advances:
            hours = by_hour(fresh)
            files = self._write_files(fresh)
            await self._ledger.commit(batch.advances, files, rows_of(hours), rows_of(by_day(hours)))
        for step in batch.advances:
            self._positions[step.segment_id] = Position(step.end, step.drained)
        self._intake.remove(batch)
        self._remember(fresh)
        self._duplicates += len(batch.events) - len(fresh)
        return len(fresh)

    def _write_files(self, events: Sequence[UsageEvent]) -> list[FileEntry]:
        entries: list[FileEntry] = []
        for number, group in groupby(sorted(events, key=_day_number), key=_day_number):
            of_day = list(group)
            times = [event.time_us for event in of_day]
            written = self._files.write(_day(number), columns_of(of_day))
            entries.append(FileEntry(written, 0, min(times), max(times)))
        return entries

    def _once_each(self, events: Sequence[UsageEvent]) -> list[UsageEvent]:
        fresh = {
            event.id: event
            for event in reversed(events)
            if event.id not in self._recent and event.id not in self._earlier
        }
        return list(fresh.values())

    def _remember(self, events: Sequence[UsageEvent]) -> None:
        if len(self._recent) >= _REMEMBERED_IDS:
            self._earlier, self._recent = self._recent, set()
        self._recent.update(event.id for event in events)

    def _isolate(self, batch: Batch, error: Exception) -> None:
        """The store refuses the batch: read less at a time until one event is left, which is a dead letter then."""
        if len(batch.events) <= 1:
            _log.error("usage collector: an event cannot be stored (%s)", type(error).__name__)
            self._intake.suspect(batch)
        self._limit = max(1, min(self._limit, len(batch.events)) // 10)

    def _account(self, batch: Batch, count: int) -> None:
        self._events += count
        self._dead_letters += len(batch.dead)
        self._quarantined += batch.quarantined
        self._bytes_behind = max(1, batch.bytes_behind) if batch.full else 0
        if not batch.full:
            self._caught_up_at = time.monotonic()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._measured_at >= _STATUS_S:
            self._rate = (self._events - self._measured_events) / (now - self._measured_at)
            self._measured_at, self._measured_events = now, self._events
        self._told_at = now
        status = CollectorStatus(
            pid=os.getpid(),
            updated_us=self._clock.epoch_us(),
            events=self._events,
            events_per_second=round(self._rate, 1),
            lag_s=round(now - self._caught_up_at, 3),
            bytes_behind=self._bytes_behind,
            duplicates=self._duplicates,
            dead_letters=self._dead_letters,
            quarantined_bytes=self._quarantined,
            last_error=self._last_error,
        )
        try:
            write_status(self._spool, status)
        except OSError as error:
            _log.warning("usage collector: the status cannot be written (%s)", error)

    @contextlib.asynccontextmanager
    async def _compacting(self, stop: asyncio.Event) -> AsyncGenerator[None]:
        task = asyncio.create_task(self._compact(stop))
        try:
            yield
        finally:
            await task

    async def _compact(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await _wait(stop, _COMPACTION_S)
            try:
                while not stop.is_set() and await self._compaction.step(self._store_lock, self._known):
                    pass
            except (DatabaseUnavailable, DatabaseRefused, PositionsMoved, OSError) as error:
                _log.warning("usage collector: merging files put off (%s)", error)
                self._recovered = False  # removes what it may have left


def _day_number(event: UsageEvent) -> int:
    return event.time_us // DAY_US


def _day(number: int) -> date:
    return datetime.fromtimestamp(number * 86_400, UTC).date()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)

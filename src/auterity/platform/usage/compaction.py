"""Merging small files of a day into larger ones, and removing what nobody reads any more.

Size-tiered: as soon as eight files of one day and level are there, they become one of the next level, so an event is
rewritten a few times at most. When a day is over, what is left of it becomes one file. The manifest is swapped in one
transaction; readers hold no locks, and the old files stay for them for a while.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from auterity.engines.eventstore.files import EventFiles
from auterity.kit.clock import Clock, SystemClock
from auterity.platform.usage.ledger import FileEntry, Ledger

__all__ = ["Compaction"]

_FAN_IN = 8
_ROWS = 2_000_000
"""Files are not merged beyond this."""
_SETTLED = timedelta(hours=1)
"""How long after its end a day is over: calls that began in it are recorded when they end."""
_GRACE = timedelta(minutes=2)
"""Longer than any query reads."""


class Compaction:
    """The housekeeping of one node's files."""

    def __init__(
        self, ledger: Ledger, files: EventFiles, *, clock: Clock | None = None, grace: timedelta = _GRACE
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._clock = clock or SystemClock()
        self._grace = grace

    async def step(self, store_lock: asyncio.Lock, present: Collection[str] = ()) -> bool:
        """Do one merge if one is due, else remove what is old. Returns whether more may be due at once.

        ``store_lock`` is held while a file is on disk that the manifest does not list yet; ``present`` are the
        segments in the spool.

        Raises:
            DatabaseUnavailable, PositionsMoved, OSError: nothing is lost; a later step does it.
        """
        chosen = self._due(await self._ledger.mergeable())
        if not chosen:
            await self._clean(present)
            return False
        async with store_lock:
            written = await asyncio.to_thread(
                self._files.merge, chosen[0].file.day, [entry.file.path for entry in chosen]
            )
            merged = FileEntry(
                written,
                1 + max(entry.level for entry in chosen),
                min(entry.min_time_us for entry in chosen),
                max(entry.max_time_us for entry in chosen),
            )
            await self._ledger.replace(chosen, merged)
        return True

    async def _clean(self, present: Collection[str]) -> None:
        old = await self._ledger.replaced_before(self._grace)
        self._files.remove(old)
        await self._ledger.forget(old, present)

    def _due(self, entries: Sequence[FileEntry]) -> Sequence[FileEntry]:
        """The files to merge next; ``entries`` come by day and level, the smallest first."""
        now = self._clock.now()
        for day, group in groupby(entries, key=lambda entry: entry.file.day):
            of_day = list(group)
            over = now > datetime(day.year, day.month, day.day, tzinfo=now.tzinfo) + timedelta(days=1) + _SETTLED
            if over:
                chosen = _within_limit(of_day)
                if len(chosen) > 1:
                    return chosen
                continue
            for _level, level_group in groupby(of_day, key=lambda entry: entry.level):
                chosen = _within_limit(list(level_group))
                if len(chosen) >= _FAN_IN:
                    return chosen
        return ()


def _within_limit(entries: Sequence[FileEntry]) -> Sequence[FileEntry]:
    chosen: list[FileEntry] = []
    rows = 0
    for entry in sorted(entries, key=lambda entry: entry.file.rows):
        rows += entry.file.rows
        if rows > _ROWS:
            break
        chosen.append(entry)
    return chosen

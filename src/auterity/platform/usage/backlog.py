"""What was in the spool at one moment, and whether it is in the roll-ups yet."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from auterity.engines.database.sessions import Database
from auterity.engines.spool.errors import NotASegment
from auterity.engines.spool.frames import HEADER_SIZE, Ending, read_frames, read_header
from auterity.engines.spool.segments import list_segments, writer_gone, writer_of
from auterity.platform.usage.models import usage_segments

__all__ = ["Backlog"]

_POLL_S = 0.05
_FRAMES_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Backlog:
    """The segments that were there, and up to where they were written.

    A starting worker takes one before it opens its own segments, and waits for it before it seeds budgets from the
    roll-ups: what the node's calls had spent by then is counted.
    """

    spool: Path
    ends: Mapping[str, int]
    paths: Mapping[str, Path]
    writers: frozenset[str]
    """Those that still lived: a worker that this one takes the place of may go on for as long as its calls do."""

    @classmethod
    def take(cls, spool: Path) -> "Backlog":
        """Look at the spool now. Reads all that waits there, at about a gigabyte per second."""
        ends: dict[str, int] = {}
        paths: dict[str, Path] = {}
        writers: set[str] = set()
        for path in list_segments(spool) if spool.is_dir() else ():
            try:
                segment_id = read_header(path).segment_id
                if not writer_gone(path):
                    writers.add(writer_of(path))
                end = _written(path)
            except (FileNotFoundError, NotASegment):
                continue
            if end > HEADER_SIZE:
                ends[segment_id] = end
                paths[segment_id] = path
        return cls(spool, ends, paths, frozenset(writers))

    async def settled(self, database: Database) -> bool:
        """Say whether all of it is in the roll-ups, and no writer that lived then can add to it.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        # A segment leaves the spool only once its writer is gone and all of it is committed.
        if self.writers and any(writer_of(path) in self.writers for path in list_segments(self.spool)):
            return False
        return await self.collected(database)

    async def collected(self, database: Database) -> bool:
        """Say whether all of it is in the roll-ups.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        if not self.ends:
            return True
        row = usage_segments.c
        query = select(row.segment_id, row.position, row.drained).where(row.segment_id.in_(list(self.ends)))
        async with database.unscoped() as scope:
            found = {name: (position, drained) for name, position, drained in await scope.session.execute(query)}
        for segment_id, end in self.ends.items():
            position, drained = found.get(segment_id, (0, False))
            # A segment leaves the spool only after its last position is committed.
            if not drained and position < end and self.paths[segment_id].exists():
                return False
        return True

    async def wait(self, database: Database, *, seconds: float) -> bool:
        """Wait until it is collected, at most so long. Returns whether it is.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        deadline = time.monotonic() + seconds
        while not await self.collected(database):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True


def _written(path: Path) -> int:
    end = HEADER_SIZE
    while True:
        found = read_frames(path, end, limit=_FRAMES_AT_ONCE, ended=False)
        end = found.offset
        if found.ending is not Ending.MORE:
            return end

"""All SQL of the collector. One :meth:`Ledger.commit` is one step forward, or nothing at all.

What is exactly once here rests on two things in that transaction: the positions move only from the very value that the
batch began at (a collector that was cut off and comes back late changes nothing), and a file of events counts only
through its row in the manifest.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from sqlalchemy import CursorResult, Table, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import func

from auterity.engines.database.sessions import Database
from auterity.engines.eventstore.files import WrittenFile
from auterity.kit.errors import AuterityError
from auterity.platform.usage.dimensions import DIMENSIONS, MEASURES
from auterity.platform.usage.models import usage_daily, usage_files, usage_hourly, usage_segments
from auterity.platform.usage.rollups import Rollup

__all__ = ["Advance", "FileEntry", "Ledger", "Position", "PositionsMoved"]

_IDS_REMEMBERED = timedelta(days=7)


class PositionsMoved(AuterityError):
    """Another transaction has moved a segment's position meanwhile: nothing was written; look again."""

    code = "positions_moved"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a segment is in the roll-ups."""

    offset: int
    drained: bool


@dataclass(frozen=True, slots=True)
class Advance:
    """A segment's step forward. ``begin`` None: the segment is new."""

    segment_id: str
    begin: int | None
    end: int
    drained: bool


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the event store with what the manifest says of it."""

    file: WrittenFile
    level: int
    min_time_us: int
    max_time_us: int


def _upsert(table: Table) -> str:
    names = ("tenant_id", "starts_at", "series", *DIMENSIONS, *MEASURES)
    types = ("text[]", "timestamptz[]", "bytea[]", *["text[]"] * len(DIMENSIONS), *["bigint[]"] * len(MEASURES))
    # Numbers go as PostgreSQL's text for an array: the driver looks at each member of a list, ten times as long.
    arrays = ", ".join(
        f"CAST(CAST(:{name} AS text) AS bigint[])" if kind == "bigint[]" else f"CAST(:{name} AS {kind})"
        for name, kind in zip(names, types, strict=True)
    )
    sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in MEASURES)
    # Only names from this package go into the text; every value is a parameter.
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM unnest({arrays}) "  # noqa: S608
        f"ON CONFLICT (tenant_id, starts_at, series) DO UPDATE SET {sums}"
    )


_HOURLY = text(_upsert(usage_hourly))
_DAILY = text(_upsert(usage_daily))
_MOVE = text(
    """
    UPDATE usage_segments AS known SET "position" = step.finish, drained = step.drained, updated_at = now()
    FROM unnest(CAST(:ids AS text[]), CAST(:begins AS bigint[]), CAST(:ends AS bigint[]), CAST(:drained AS boolean[]))
        AS step (segment_id, begin, finish, drained)
    WHERE known.segment_id = step.segment_id AND known."position" = step.begin AND NOT known.drained
    """
)
_ENTER = text(
    """
    INSERT INTO usage_segments (segment_id, node, "position", drained)
    SELECT id, :node, finish, drained
    FROM unnest(CAST(:ids AS text[]), CAST(:ends AS bigint[]), CAST(:drained AS boolean[])) AS new (id, finish, drained)
    ON CONFLICT (segment_id) DO NOTHING
    """
)


class Ledger:
    """The roll-ups, the manifest and the positions, as one node's collector writes them."""

    def __init__(self, database: Database, node: str) -> None:
        """``database`` is opened in the collector's role."""
        self._database = database
        self._node = node

    async def positions(self, segment_ids: Collection[str]) -> dict[str, Position]:
        """What is known of these segments, whichever node read them."""
        table = usage_segments.c
        query = select(table.segment_id, table.position, table.drained).where(table.segment_id.in_(segment_ids))
        async with self._database.unscoped() as scope:
            rows = await scope.session.execute(query)
            return {segment_id: Position(offset, drained) for segment_id, offset, drained in rows}

    async def commit(
        self, advances: Sequence[Advance], files: Sequence[FileEntry], hours: Rollup, days: Rollup
    ) -> None:
        """Put a batch into the ledger, wholly or not at all.

        Raises:
            PositionsMoved: a position is not where the batch began.
            DatabaseUnavailable: no answer came. The batch may be in: read the positions again.
        """
        async with self._database.unscoped() as scope:
            await self._advance(scope.session, advances)
            await self._list(scope.session, files)
            for statement, rollup in ((_HOURLY, hours), (_DAILY, days)):
                if rollup.series:
                    await scope.session.execute(statement, _parameters(rollup))

    async def listed(self) -> set[str]:
        """Paths of all this node's files in the manifest, replaced ones too."""
        query = select(usage_files.c.path).where(usage_files.c.node == self._node)
        async with self._database.unscoped() as scope:
            return set((await scope.session.scalars(query)).all())

    async def newest_files(self, rows: int) -> list[str]:
        """This node's latest files as collected, oldest first, that hold at most so many rows together."""
        table = usage_files.c
        query = (
            select(table.path, table.rows)
            .where(table.node == self._node, table.level == 0)
            .order_by(table.created_at.desc(), table.path.desc())
            .limit(200)
        )
        async with self._database.unscoped() as scope:
            found = (await scope.session.execute(query)).all()
        chosen: list[str] = []
        for path, count in found:
            rows -= count
            if rows < 0:
                break
            chosen.append(path)
        return chosen[::-1]

    async def mergeable(self) -> list[FileEntry]:
        """This node's files that count, by day and level, the smallest first."""
        table = usage_files.c
        query = (
            select(table.path, table.day, table.rows, table.bytes, table.level, table.min_time_us, table.max_time_us)
            .where(table.node == self._node, table.replaced_at.is_(None))
            .order_by(table.day, table.level, table.rows)
        )
        async with self._database.unscoped() as scope:
            rows = (await scope.session.execute(query)).all()
        return [
            FileEntry(WrittenFile(path, day, count, size), level, earliest, latest)
            for path, day, count, size, level, earliest, latest in rows
        ]

    async def replace(self, old: Sequence[FileEntry], new: FileEntry) -> None:
        """Let one file count in place of several. The old ones stay for those who read them at this moment.

        Raises:
            PositionsMoved: one of the old ones does not count any more; nothing was changed.
        """
        paths = [entry.file.path for entry in old]
        table = usage_files.c
        mark = update(usage_files).where(table.path.in_(paths), table.replaced_at.is_(None))
        async with self._database.unscoped() as scope:
            marked = await scope.session.execute(mark.values(replaced_at=func.now()))
            _require(cast("CursorResult[object]", marked).rowcount, len(paths))
            await self._list(scope.session, [new])

    async def replaced_before(self, age: timedelta) -> list[str]:
        """This node's files that have not counted for so long."""
        table = usage_files.c
        query = select(table.path).where(table.node == self._node, table.replaced_at < func.now() - age)
        async with self._database.unscoped() as scope:
            return list((await scope.session.scalars(query)).all())

    async def forget(self, paths: Collection[str], present: Collection[str]) -> None:
        """Drop removed files from the manifest, and positions of segments that left the spool long ago.

        A segment's position is kept for a week after it is drained, so that a copy that turns up again (restored
        from a backup, say) counts nothing twice. ``present`` are the segments in the spool; theirs are kept.
        """
        table = usage_segments.c
        async with self._database.unscoped() as scope:
            if paths:
                await scope.session.execute(delete(usage_files).where(usage_files.c.path.in_(paths)))
            await scope.session.execute(
                delete(usage_segments).where(
                    table.node == self._node,
                    table.drained,
                    table.updated_at < func.now() - _IDS_REMEMBERED,
                    table.segment_id.not_in(present),
                )
            )

    async def _advance(self, session: AsyncSession, advances: Sequence[Advance]) -> None:
        known = [step for step in advances if step.begin is not None]
        fresh = [step for step in advances if step.begin is None]
        # Two collectors (a late one, and its successor) take the rows' locks in the same order.
        for statement, steps in ((_MOVE, known), (_ENTER, fresh)):
            if not steps:
                continue
            ordered = sorted(steps, key=lambda step: step.segment_id)
            parameters: dict[str, object] = {
                "ids": [step.segment_id for step in ordered],
                "ends": [step.end for step in ordered],
                "drained": [step.drained for step in ordered],
            }
            if statement is _MOVE:
                parameters["begins"] = [step.begin for step in ordered]
            else:
                parameters["node"] = self._node
            result = await session.execute(statement, parameters)
            _require(cast("CursorResult[object]", result).rowcount, len(ordered))

    async def _list(self, session: AsyncSession, files: Iterable[FileEntry]) -> None:
        rows = [
            {
                "path": entry.file.path,
                "node": self._node,
                "day": entry.file.day,
                "level": entry.level,
                "rows": entry.file.rows,
                "bytes": entry.file.bytes,
                "min_time_us": entry.min_time_us,
                "max_time_us": entry.max_time_us,
            }
            for entry in files
        ]
        if rows:
            await session.execute(insert(usage_files), rows)


def _require(changed: int, expected: int) -> None:
    if changed != expected:
        raise PositionsMoved("The usage ledger has changed meanwhile; reading it again.")


def _parameters(rollup: Rollup) -> Mapping[str, object]:
    return {
        "tenant_id": rollup.tenant_id,
        "starts_at": rollup.starts_at,
        "series": rollup.series,
        **{name: list(column) for name, column in zip(DIMENSIONS, rollup.dimensions, strict=True)},
        **{
            name: "{" + ",".join(map(str, map(int, column))) + "}"
            for name, column in zip(MEASURES, rollup.measures, strict=True)
        },
    }

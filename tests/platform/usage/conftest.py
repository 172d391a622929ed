"""A spool to put usage events into, a collector over a real database, and an audit that trusts neither."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import text

from auterity.engines.database.sessions import COLLECTOR_ROLE, Database
from auterity.engines.spool.writer import SpoolWriter
from auterity.platform.usage.collector import Collector
from auterity.platform.usage.dimensions import MEASURES
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.generator import EventGenerator
from auterity.platform.usage.rollups import measures_of


@pytest.fixture
def generator() -> EventGenerator:
    return EventGenerator(seed=7)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "events"


@pytest.fixture
def write(spool: Path) -> Callable[[Sequence[UsageEvent]], None]:
    """Writes events as a worker that then ends."""

    def put(events: Sequence[UsageEvent]) -> None:
        writer = SpoolWriter(spool)
        for event in events:
            writer.admit()
            writer.append(msgspec.msgpack.encode(event))
        writer.close()

    return put


@pytest.fixture
def living_writer(spool: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(spool)
    yield writer
    writer.close()


@pytest_asyncio.fixture
async def collector_database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, role=COLLECTOR_ROLE, pool_size=2)
    yield database
    await database.close()


@pytest.fixture
def new_collector(collector_database: Database, spool: Path, store: Path) -> Callable[..., Collector]:
    """A collector that knows only what the disk and the database tell it, as after a start."""

    def make(batch_events: int = 20_000) -> Collector:
        return Collector(collector_database, spool, store, batch_events=batch_events, poll_s=0.02)

    return make


@pytest.fixture
def listed_files(collector_database: Database) -> Callable[[], Awaitable[list[str]]]:
    """Paths in the manifest that count."""

    async def read() -> list[str]:
        async with collector_database.unscoped() as scope:
            query = text("SELECT path FROM usage_files WHERE replaced_at IS NULL ORDER BY path")
            return list((await scope.session.scalars(query)).all())

    return read


@pytest.fixture
def audit(
    collector_database: Database, store: Path, listed_files: Callable[[], Awaitable[list[str]]]
) -> Callable[[Sequence[UsageEvent]], Awaitable[None]]:
    """Requires that event store, hourly and daily roll-ups each hold exactly these events, to the nano-dollar."""

    async def compare(events: Sequence[UsageEvent]) -> None:
        expected = [sum(column) for column in zip(*map(measures_of, events), strict=True)] or [0] * len(MEASURES)
        sums = ", ".join(f"coalesce(sum({measure}), 0)" for measure in MEASURES)
        async with collector_database.unscoped() as scope:
            for table in ("usage_hourly", "usage_daily"):
                row = (await scope.session.execute(text(f"SELECT {sums} FROM {table}"))).one()
                assert dict(zip(MEASURES, map(int, row), strict=True)) == dict(zip(MEASURES, expected, strict=True))
        paths = [str(store / path) for path in await listed_files()]
        found = duckdb.read_parquet(paths).select("id, cost_nano").fetchall() if paths else []
        assert sorted(found) == sorted((event.id, event.cost_nano) for event in events)

    return compare


@pytest.fixture
def ledger_and_store(
    collector_database: Database, store: Path, listed_files: Callable[[], Awaitable[list[str]]]
) -> Callable[[], Awaitable[tuple[dict[str, int], int, int, int]]]:
    """Cost by event id and rows in the event store; cost in the hourly and in the daily roll-ups."""

    async def read() -> tuple[dict[str, int], int, int, int]:
        paths = [str(store / path) for path in await listed_files()]
        rows = duckdb.read_parquet(paths).select("id, cost_nano").fetchall() if paths else []
        async with collector_database.unscoped() as scope:
            hourly, daily = [
                int(await scope.session.scalar(text(f"SELECT coalesce(sum(cost_nano), 0) FROM {table}")) or 0)
                for table in ("usage_hourly", "usage_daily")
            ]
        return dict(rows), len(rows), hourly, daily

    return read

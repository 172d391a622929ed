"""Merging files: fewer of them, the same events, and nobody reads a file that is gone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from auterity.engines.database.sessions import Database
from auterity.engines.eventstore.files import EventFiles
from auterity.kit.clock import ManualClock
from auterity.platform.usage.collector import Collector
from auterity.platform.usage.compaction import Compaction
from auterity.platform.usage.event import SCHEMA_VERSION, UsageEvent
from auterity.platform.usage.generator import EventGenerator
from auterity.platform.usage.ledger import Ledger
from auterity.platform.usage.node import node_name
from auterity.platform.usage.stored import EVENT_COLUMNS, SORT_BY

Write = Callable[[Sequence[UsageEvent]], None]
NewCollector = Callable[..., Collector]
Audit = Callable[[Sequence[UsageEvent]], Awaitable[None]]
ListedFiles = Callable[[], Awaitable[list[str]]]
SAME_DAY = datetime(2026, 11, 22, 20, tzinfo=UTC)


@pytest.fixture
def files(spool: Path, store: Path) -> EventFiles:
    return EventFiles(store, node_name(spool), EVENT_COLUMNS, SORT_BY, version=SCHEMA_VERSION)


@pytest.fixture
def ledger(collector_database: Database, spool: Path) -> Ledger:
    return Ledger(collector_database, node_name(spool))


@pytest.fixture
def collect_files(write: Write, new_collector: NewCollector) -> Callable[[int], Awaitable[list[UsageEvent]]]:
    """Collects so many files of a few events each."""

    async def collect(count: int) -> list[UsageEvent]:
        generator, collector = EventGenerator(), new_collector()
        events: list[UsageEvent] = []
        for _ in range(count):
            some = generator.events(5)
            write(some)
            await collector.collect_once()
            events += some
        return events

    return collect


async def merge_all(compaction: Compaction) -> None:
    while await compaction.step(asyncio.Lock()):
        pass


def on_disk(store: Path) -> set[str]:
    return {path.name for path in store.glob("*/*")}


async def test_eight_files_of_a_running_day_become_one(
    collect_files: Callable[[int], Awaitable[list[UsageEvent]]],
    ledger: Ledger,
    files: EventFiles,
    audit: Audit,
    listed_files: ListedFiles,
) -> None:
    events = await collect_files(7)
    compaction = Compaction(ledger, files, clock=ManualClock(SAME_DAY))
    await merge_all(compaction)
    assert len(await listed_files()) == 7
    events += await collect_files(1)
    await merge_all(compaction)
    assert len(await listed_files()) == 1
    await audit(events)


async def test_a_day_that_is_over_becomes_one_file(
    collect_files: Callable[[int], Awaitable[list[UsageEvent]]],
    ledger: Ledger,
    files: EventFiles,
    audit: Audit,
    listed_files: ListedFiles,
) -> None:
    events = await collect_files(3)
    await merge_all(Compaction(ledger, files, clock=ManualClock(SAME_DAY + timedelta(hours=6))))
    assert len(await listed_files()) == 1
    await audit(events)


async def test_the_old_files_stay_for_their_readers_and_then_go(
    collect_files: Callable[[int], Awaitable[list[UsageEvent]]],
    ledger: Ledger,
    files: EventFiles,
    store: Path,
    listed_files: ListedFiles,
) -> None:
    await collect_files(8)
    before = await listed_files()
    await merge_all(Compaction(ledger, files, clock=ManualClock(SAME_DAY)))
    assert on_disk(store) >= {path.partition("/")[2] for path in before}
    await merge_all(Compaction(ledger, files, clock=ManualClock(SAME_DAY), grace=timedelta(0)))
    assert on_disk(store) == {path.partition("/")[2] for path in await listed_files()}


async def test_a_merge_that_was_cut_off_is_removed_at_the_next_start(
    collect_files: Callable[[int], Awaitable[list[UsageEvent]]],
    ledger: Ledger,
    files: EventFiles,
    new_collector: NewCollector,
    audit: Audit,
) -> None:
    events = await collect_files(2)
    entries = await ledger.mergeable()
    files.merge(entries[0].file.day, [entry.file.path for entry in entries])
    assert len(files.own()) == 3
    await new_collector().collect_once()
    assert len(files.own()) == 2
    await audit(events)

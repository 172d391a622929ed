"""What keys have spent, and whether all of it is counted yet."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from auterity.engines.database.sessions import Database
from auterity.engines.spool.writer import SpoolWriter
from auterity.kit.clock import ManualClock
from auterity.platform.usage.backlog import Backlog
from auterity.platform.usage.collector import Collector
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.generator import EventGenerator
from auterity.platform.usage.spending import Spending, UsageUnsettled

TENANT, OTHER = "ten_" + "a" * 32, "ten_" + "b" * 32


def us(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000


async def test_a_key_s_month_is_its_calls_that_began_in_it(
    write: Callable[[Sequence[UsageEvent]], None], new_collector: Callable[..., Collector], database: Database
) -> None:
    make = EventGenerator(seed=2).event
    mine = [
        make(key_id="key_1", cost_nano=3, time_us=us(2026, 12, 1)),
        make(key_id="key_1", cost_nano=40, time_us=us(2027, 1, 1) - 1),
    ]
    others = [
        make(key_id="key_1", cost_nano=500, time_us=us(2026, 12, 1) - 1),
        make(key_id="key_1", cost_nano=500, time_us=us(2027, 1, 1)),
        make(key_id="key_2", cost_nano=500, time_us=us(2026, 12, 5)),
        make(key_id="key_1", cost_nano=500, time_us=us(2026, 12, 5), tenant_id=OTHER),
    ]
    write([*mine, *others])
    await new_collector().collect_once()
    spending = Spending(database, ManualClock(datetime(2026, 12, 31, 23, tzinfo=UTC)))
    assert await spending.month_to_date(TENANT, "key_1") == 43
    assert await spending.month_to_date(TENANT, "key_1", datetime(2026, 11, 3, tzinfo=UTC)) == 500
    assert await spending.month_to_date(TENANT, "key_9") == 0


async def test_a_worker_can_wait_for_what_was_there_when_it_started(
    spool: Path,
    living_writer: SpoolWriter,
    write: Callable[[Sequence[UsageEvent]], None],
    new_collector: Callable[..., Collector],
    database: Database,
) -> None:
    generator = EventGenerator()
    write(generator.events(20))
    for event in generator.events(5):
        living_writer.admit()
        living_writer.append(msgspec.msgpack.encode(event))
    backlog = Backlog.take(spool)
    assert not await backlog.collected(database)
    assert not await backlog.wait(database, seconds=0)
    living_writer.admit()
    living_writer.append(msgspec.msgpack.encode(generator.event()))
    await new_collector().collect_once()
    assert await backlog.wait(database, seconds=0)


async def test_an_empty_spool_needs_no_waiting(tmp_path: Path, database: Database) -> None:
    assert await Backlog.take(tmp_path / "none").wait(database, seconds=0)


@pytest.mark.parametrize("count", [0, 3])
async def test_a_segment_that_has_left_the_spool_is_collected(
    count: int,
    spool: Path,
    write: Callable[[Sequence[UsageEvent]], None],
    new_collector: Callable[..., Collector],
    database: Database,
) -> None:
    write(EventGenerator().events(count))
    backlog = Backlog.take(spool)
    await new_collector().collect_once()
    assert await backlog.collected(database)


async def test_a_worker_that_takes_anothers_place_waits_for_the_others_last_call(
    spool: Path,
    new_collector: Callable[..., Collector],
    database: Database,
) -> None:
    predecessor = SpoolWriter(spool)
    generator = EventGenerator()
    try:
        predecessor.admit()
        predecessor.append(msgspec.msgpack.encode(generator.event()))
        backlog = Backlog.take(spool)
        await new_collector().collect_once()
        assert await backlog.collected(database)
        assert not await backlog.settled(database)
        predecessor.admit()
        predecessor.append(msgspec.msgpack.encode(generator.event()))
    finally:
        predecessor.close()
    assert not await backlog.settled(database)
    await new_collector().collect_once()
    assert await backlog.settled(database)


async def test_no_budget_begins_before_earlier_usage_is_added_up(database: Database) -> None:
    answers = iter([False, True])

    async def settled() -> bool:
        return next(answers)

    spending = Spending(database, settled=settled)
    with pytest.raises(UsageUnsettled) as refused:
        await spending.month_to_date(TENANT, "key_1")
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert await spending.month_to_date(TENANT, "key_1") == 0
    assert await spending.month_to_date(TENANT, "key_1") == 0

"""The collector: each event once, in the roll-ups and in the event store, whatever happens."""

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from auterity.engines.database.errors import DatabaseUnavailable
from auterity.engines.eventstore.files import EventFiles, WrittenFile
from auterity.engines.spool.frames import HEADER_SIZE
from auterity.engines.spool.segments import list_segments
from auterity.engines.spool.writer import SpoolWriter
from auterity.platform.usage.collector import Collector
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.generator import EventGenerator
from auterity.platform.usage.intake import DeadLetter
from auterity.platform.usage.ledger import Ledger, PositionsMoved
from auterity.platform.usage.status import read_status

Write = Callable[[Sequence[UsageEvent]], None]
NewCollector = Callable[..., Collector]
Audit = Callable[[Sequence[UsageEvent]], Awaitable[None]]
ListedFiles = Callable[[], Awaitable[list[str]]]


def put(writer: SpoolWriter, payload: bytes) -> None:
    writer.admit()
    writer.append(payload)


def parquet_files(store: Path) -> list[Path]:
    return list(store.glob("*/*.parquet"))


async def test_events_are_in_the_store_and_in_the_roll_ups(
    generator: EventGenerator, write: Write, new_collector: NewCollector, audit: Audit, spool: Path
) -> None:
    events = generator.events(500)
    write(events)
    assert await new_collector().collect_once() == 500
    await audit(events)
    assert list_segments(spool) == []


async def test_the_events_of_two_days_lie_in_two_files(
    generator: EventGenerator, write: Write, new_collector: NewCollector, audit: Audit, listed_files: ListedFiles
) -> None:
    midnight = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp()) * 1_000_000
    events = [*generator.events(5, time_us=midnight - 1), *generator.events(5, time_us=midnight)]
    write(events)
    await new_collector().collect_once()
    await audit(events)
    assert [path.partition("/")[0] for path in await listed_files()] == ["2026-11-22", "2026-11-23"]


async def test_a_living_writer_is_followed(
    generator: EventGenerator, living_writer: SpoolWriter, new_collector: NewCollector, audit: Audit
) -> None:
    collector = new_collector()
    events = generator.events(30)
    for event in events:
        put(living_writer, msgspec.msgpack.encode(event))
        assert await collector.collect_once() == 1
    assert await collector.collect_once() == 0
    await audit(events)


async def test_many_small_rounds_over_several_writers_come_to_the_same(
    generator: EventGenerator, write: Write, new_collector: NewCollector, audit: Audit, spool: Path
) -> None:
    events = generator.events(240)
    for begin in range(0, 240, 60):
        write(events[begin : begin + 60])
    collector = new_collector(batch_events=7)
    while await collector.collect_once():
        pass
    await audit(events)
    assert list_segments(spool) == []


async def test_a_crash_before_the_commit_leaves_nothing_and_loses_nothing(
    write: Write,
    new_collector: NewCollector,
    audit: Audit,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = EventGenerator().events(50)
    write(events)

    async def fail(*_arguments: object) -> None:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "commit", fail)
        with pytest.raises(DatabaseUnavailable):
            await new_collector().collect_once()
    assert len(parquet_files(store)) == 1
    await audit([])
    await new_collector().collect_once()
    await audit(events)
    assert len(parquet_files(store)) == 1


async def test_a_crash_after_the_commit_counts_nothing_twice(
    write: Write,
    new_collector: NewCollector,
    audit: Audit,
    spool: Path,
    tmp_path: Path,
) -> None:
    events = EventGenerator().events(50)
    write(events)
    kept = [shutil.copy(path, tmp_path) for path in list_segments(spool)]
    await new_collector().collect_once()
    for path in kept:
        shutil.copy(path, spool)
    assert await new_collector().collect_once() == 0
    await audit(events)
    assert list_segments(spool) == []


async def test_a_copy_of_a_segment_under_another_name_counts_once(
    generator: EventGenerator, write: Write, new_collector: NewCollector, audit: Audit, spool: Path
) -> None:
    events = generator.events(50)
    write(events)
    (segment,) = list_segments(spool)
    shutil.copy(segment, segment.with_name("copy.seg"))
    collector = new_collector()
    while list_segments(spool):
        await collector.collect_once()
    await audit(events)


async def test_an_event_that_was_written_twice_counts_once_also_after_a_restart(
    generator: EventGenerator, write: Write, new_collector: NewCollector, audit: Audit
) -> None:
    events = generator.events(20)
    write([*events, events[3]])
    await new_collector().collect_once()
    write([events[5]])
    assert await new_collector().collect_once() == 0
    await audit(events)


async def test_a_late_collector_cannot_write_over_its_successor(
    generator: EventGenerator,
    living_writer: SpoolWriter,
    new_collector: NewCollector,
    audit: Audit,
) -> None:
    first, second = generator.events(2)
    late, successor = new_collector(), new_collector()
    put(living_writer, msgspec.msgpack.encode(first))
    await late.collect_once()
    put(living_writer, msgspec.msgpack.encode(second))
    await successor.collect_once()
    with pytest.raises(PositionsMoved):
        await late.collect_once()
    assert await late.collect_once() == 0
    await audit([first, second])


async def test_what_is_no_event_becomes_a_dead_letter_and_blocks_nothing(
    generator: EventGenerator, living_writer: SpoolWriter, new_collector: NewCollector, audit: Audit, spool: Path
) -> None:
    events = generator.events(3)
    bad = [
        b"\xc1 no msgpack",
        msgspec.msgpack.encode(["too", "short"]),
        msgspec.msgpack.encode(generator.event(cost_nano=1 << 62)),
        msgspec.msgpack.encode(generator.event(time_us=-5)),
        msgspec.msgpack.encode(generator.event(tenant_id="a\0b")),
        b"\x91" * 5000,
    ]
    for payload in [bad[0], msgspec.msgpack.encode(events[0]), *bad[1:], *map(msgspec.msgpack.encode, events[1:])]:
        put(living_writer, payload)
    await new_collector().collect_once()
    await audit(events)
    letters = msgspec.json.Decoder(DeadLetter).decode_lines((spool / "dead-letters.jsonl").read_bytes())
    assert len(letters) == len(bad)
    assert letters[0].offset == HEADER_SIZE


async def test_an_event_that_only_the_store_refuses_is_found_and_set_aside(
    generator: EventGenerator,
    write: Write,
    new_collector: NewCollector,
    audit: Audit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = generator.events(40)
    refused = events[17]
    write(events)
    real = EventFiles.write

    def choosy(self: EventFiles, day: datetime, columns: dict[str, list[object]]) -> WrittenFile:
        if refused.id in columns["id"]:
            raise ValueError("no")
        return real(self, day, columns)

    monkeypatch.setattr(EventFiles, "write", choosy)
    collector = new_collector()
    deadline = time.monotonic() + 20
    collected = 0
    while collected < 39:
        collected += await collector.collect_once()
        assert time.monotonic() < deadline
    await audit([event for event in events if event is not refused])


async def test_text_that_postgresql_cannot_hold_is_kept_replaced(
    generator: EventGenerator, write: Write, new_collector: NewCollector, audit: Audit
) -> None:
    event = generator.event(requested_model="a\0b", end_user="c\0d")
    write([event])
    assert await new_collector().collect_once() == 1
    await audit([event])


async def test_a_damaged_segment_is_set_aside_from_the_damage_on(
    generator: EventGenerator, write: Write, new_collector: NewCollector, audit: Audit, spool: Path
) -> None:
    events = generator.events(50)
    write(events)
    (segment,) = list_segments(spool)
    data = bytearray(segment.read_bytes())
    sound = HEADER_SIZE + sum(len(msgspec.msgpack.encode(event)) + 9 for event in events[:20])
    data[sound + 30] ^= 0x10
    segment.write_bytes(data)
    await new_collector().collect_once()
    await audit(events[:20])
    assert segment.with_name(segment.name + ".bad").read_bytes() == bytes(data[sound:]).rstrip(b"\0")
    assert list_segments(spool) == []


async def test_a_file_that_is_no_segment_is_set_aside(
    generator: EventGenerator, write: Write, new_collector: NewCollector, audit: Audit, spool: Path
) -> None:
    (spool / "0000.seg").write_bytes(b"not a segment")
    (spool / "0001.seg").write_bytes(b"\0" * 5000)
    events = generator.events(3)
    write(events)
    await new_collector().collect_once()
    await audit(events)
    assert [name for name in os.listdir(spool) if name.startswith("000")] == ["0000.seg.bad"]


async def test_the_status_tells_what_was_done_and_what_is_wrong(
    generator: EventGenerator,
    write: Write,
    new_collector: NewCollector,
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(generator.events(25))
    collector, stop = new_collector(), asyncio.Event()
    real = Ledger.commit

    async def fail(*_arguments: object) -> None:
        raise DatabaseUnavailable("The database is away.")

    monkeypatch.setattr(Ledger, "commit", fail)
    running = asyncio.create_task(collector.run(stop))

    async def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    def error() -> str:
        status = read_status(spool)
        return status.last_error if status else ""

    await until(lambda: error() == "The database is away.")
    monkeypatch.setattr(Ledger, "commit", real)
    await until(lambda: error() == "")
    stop.set()
    await running
    status = read_status(spool)
    assert status is not None
    assert (status.events, status.dead_letters, status.bytes_behind) == (25, 0, 0)


async def test_a_stop_collects_what_is_there(
    generator: EventGenerator, living_writer: SpoolWriter, new_collector: NewCollector, audit: Audit
) -> None:
    events = generator.events(10)
    stop = asyncio.Event()
    running = asyncio.create_task(new_collector().run(stop))
    await asyncio.sleep(0)
    for event in events:
        put(living_writer, msgspec.msgpack.encode(event))
    stop.set()
    await running
    await audit(events)

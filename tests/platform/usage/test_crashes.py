"""Real processes killed at random moments: every event that was acknowledged is counted, and none is twice."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.migration import upgrade
from auterity.engines.database.sessions import COLLECTOR_ROLE, Database
from auterity.engines.spool.segments import list_segments
from auterity.platform.usage.collector import Collector
from auterity.platform.usage.status import read_status

WRITER = textwrap.dedent(
    """
    import asyncio, sys, time
    from pathlib import Path
    import msgspec
    from auterity.engines.spool.writer import SpoolWriter
    from auterity.platform.usage.generator import EventGenerator
    from auterity.platform.usage.recording import SpoolRecorder

    async def main():
        generator = EventGenerator(int(sys.argv[2]))
        recorder = SpoolRecorder(SpoolWriter(Path(sys.argv[1]), segment_bytes=1 << 18))
        out = open(sys.argv[3], "ab", buffering=0)
        while True:
            for _ in range(5):
                event = generator.event()
                recorder.admit()
                await recorder.record(event)
                out.write(msgspec.json.encode([event.id, event.cost_nano]) + b"\\n")
            await asyncio.sleep(0.005)

    asyncio.run(main())
    """
)
COLLECTOR = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from auterity.app.collector import collect

    asyncio.run(collect(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), asyncio.Event()))
    """
)


class Processes:
    """What this test started, and ends."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, script: str, *arguments: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)])
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.running.remove(process)


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    for process in list(started.running):
        started.kill(process)


async def next_file(store: Path) -> None:
    def names() -> set[str]:
        # Not by glob, which fails where a day's emptied folder goes away meanwhile.
        return {name for _, _, files in os.walk(store) for name in files}

    before, deadline = names(), time.monotonic() + 20
    while names() <= before:
        assert time.monotonic() < deadline, "nothing was collected in time"
        await asyncio.sleep(0.001)


def acknowledged(folder: Path) -> dict[str, int]:
    lines = [line for file in folder.glob("*.acks") for line in file.read_bytes().splitlines(keepends=True)]
    # The last line of a killed writer may be cut short: that event may be counted, and need not be.
    pairs = [msgspec.json.decode(line, type=tuple[str, int]) for line in lines if line.endswith(b"\n")]
    return dict(pairs)


@pytest.mark.slow
async def test_killed_writers_and_collectors_lose_nothing_and_count_nothing_twice(
    processes: Processes,
    database_url: str,
    tmp_path: Path,
    new_collector: Callable[..., Collector],
    ledger_and_store: Callable[[], Awaitable[tuple[dict[str, int], int, int, int]]],
) -> None:
    spool, store = tmp_path / "spool", tmp_path / "events"
    dice = random.Random(11)
    deadline = time.monotonic() + 15
    writers = [processes.start(WRITER, spool, n, tmp_path / f"{n}.acks") for n in range(2)]
    collector = processes.start(COLLECTOR, database_url, spool, store)
    kills = 0
    while time.monotonic() < deadline:
        kills += 1
        if dice.random() < 0.6:
            # About when it commits what it has just written.
            await next_file(store)
            await asyncio.sleep(dice.uniform(0, 0.03))
            processes.kill(collector)
            collector = processes.start(COLLECTOR, database_url, spool, store)
        else:
            await asyncio.sleep(dice.uniform(0, 0.3))
            slot = dice.randrange(2)
            processes.kill(writers[slot])
            writers[slot] = processes.start(WRITER, spool, 100 + kills, tmp_path / f"{100 + kills}.acks")
    for process in (*writers, collector):
        processes.kill(process)
    last = new_collector()
    while list_segments(spool):
        await last.collect_once()

    expected = acknowledged(tmp_path)
    stored, rows, hourly, daily = await ledger_and_store()
    assert kills >= 3
    assert len(expected) > 500
    assert rows == len(stored), "an event is in the store twice"
    assert expected.items() <= stored.items(), "an acknowledged event is missing"
    # Beyond those: at most the one event that each killed writer had written and not yet reported.
    assert len(stored) - len(expected) <= kills + 2
    assert hourly == daily == sum(stored.values())


@pytest.mark.slow
async def test_a_database_that_goes_away_is_waited_for(
    tmp_path: Path, processes: Processes, spool: Path, store: Path
) -> None:
    # Not below pytest's own folder, which every run of it closes to PostgreSQL's account again.
    folder = Path(tempfile.mkdtemp(prefix="auterity-test-"))
    server = EmbeddedPostgres(folder, settings={"fsync": "off"})
    database = Database(server.url, role=COLLECTOR_ROLE, pool_size=1)
    try:
        server.start()
        await upgrade(server.url)
        writer = processes.start(WRITER, spool, 1, tmp_path / "1.acks")
        processes.start(COLLECTOR, server.url, spool, store)
        for _ in range(2):
            await until(lambda: collected(database), above=await collected(database))
            await asyncio.to_thread(server.stop)
            await until(lambda: failing(spool), above=0)
            await asyncio.to_thread(server.start)
        processes.kill(writer)
        expected = len(acknowledged(tmp_path))
        await until(lambda: collected(database), above=expected - 1)
        assert expected <= await collected(database) <= expected + 1
    finally:
        await database.close()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def collected(database: Database) -> int:
    async with database.unscoped() as scope:
        return int(await scope.session.scalar(text("SELECT coalesce(sum(calls), 0) FROM usage_daily")) or 0)


async def failing(spool: Path) -> int:
    status = read_status(spool)
    return int(status is not None and status.last_error != "")


async def until(figure: Callable[[], Awaitable[int]], *, above: int, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while await figure() <= above:
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)

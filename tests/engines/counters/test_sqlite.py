"""The counters' file under other processes that hold its lock, die with it or damage it."""

import asyncio
import signal
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from auterity.engines.counters.port import CountersUnavailable, Rate, ReservationStatus
from auterity.engines.counters.sqlite import SqliteCounters
from auterity.kit.clock import ManualClock

_HOLD_THE_LOCK = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE budgets SET spent = 999")
print("locked", flush=True)
time.sleep(60)
"""


async def lock(path: Path) -> asyncio.subprocess.Process:
    """Start a process that takes the write lock and does not give it back."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLD_THE_LOCK, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"locked\n"
    return process


async def test_a_lock_that_is_not_given_back_makes_counters_unavailable_without_stopping_the_loop(
    tmp_path: Path,
) -> None:
    counters = SqliteCounters(tmp_path / "counters")
    await counters.seed("budget", 5, 600)
    holder = await lock(tmp_path / "counters")
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticking = asyncio.create_task(tick())
    started = time.perf_counter()
    with pytest.raises(CountersUnavailable):
        await counters.reserve("budget", "r1", 1, 100, 60)
    assert 0.3 < time.perf_counter() - started < 1.5
    assert longest < 0.2
    ticking.cancel()

    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    assert await counters.spent("budget") == 5
    assert (await counters.reserve("budget", "r1", 1, 100, 60)).status is ReservationStatus.HELD
    await counters.close()


async def test_a_step_waits_for_a_lock_that_is_given_back(tmp_path: Path) -> None:
    counters = SqliteCounters(tmp_path / "counters")
    await counters.seed("budget", 5, 600)
    holder = await lock(tmp_path / "counters")
    step = asyncio.create_task(counters.take("key", Rate(5)))
    await asyncio.sleep(0)
    assert not step.done()
    holder.kill()
    assert (await step).allowed
    await holder.wait()
    await counters.close()


async def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "counters").write_bytes(b"not a database at all" * 100)
    counters = SqliteCounters(tmp_path / "counters")
    with pytest.raises(CountersUnavailable, match="damaged"):
        await counters.ping()


async def test_a_directory_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CountersUnavailable):
        await SqliteCounters(tmp_path / "file" / "counters").ping()


async def test_counters_outlive_the_worker_that_kept_them(tmp_path: Path) -> None:
    first = SqliteCounters(tmp_path / "counters")
    await first.seed("budget", 5, 600)
    await first.close()
    second = SqliteCounters(tmp_path / "counters")
    assert await second.spent("budget") == 5
    await second.close()


async def test_a_machine_started_again_does_not_lock_anybody_out(tmp_path: Path) -> None:
    """The monotonic clock begins anew: what was kept before lies in its future."""
    before = SqliteCounters(tmp_path / "counters", ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    rate = Rate(2, 10)
    for _ in range(3):
        await before.take("key", rate)
    await before.close()
    clock = ManualClock(datetime(1970, 1, 1, tzinfo=UTC))
    after = SqliteCounters(tmp_path / "counters", clock)
    for _ in range(3):
        assert (await after.take("key", rate)).retry_after_s <= 10
    clock.advance(timedelta(seconds=10))
    assert (await after.take("key", rate)).allowed
    await after.close()


async def test_idle_rates_and_old_reservations_leave_the_file(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    counters = SqliteCounters(tmp_path / "counters", clock)
    await counters.seed("budget", 0, 10**6)
    for n in range(4000):
        await counters.take(f"key-{n}", Rate(60, 60))
        await counters.reserve("budget", f"r{n}", 1, 10**9, 1)
        clock.advance(timedelta(milliseconds=10))
    await counters.close()
    with sqlite3.connect(tmp_path / "counters") as db:
        assert db.execute("SELECT count(*) FROM rates").fetchone()[0] < 1500
        assert db.execute("SELECT count(*) FROM holds").fetchone()[0] < 500
    db.close()

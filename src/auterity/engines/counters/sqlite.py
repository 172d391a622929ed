"""Counters in a SQLite file that the workers of one node share.

Each step is one transaction on the event loop's own thread: it takes 10 to 20 µs, less than handing it to another
thread and back would. What must not happen is to sleep inside SQLite while another worker holds the write lock, so its
busy timeout is zero and the waiting is done here, on the loop. Nothing is synced to disk: counters can be rebuilt, and
a process that dies loses nothing, only a machine that does.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from auterity.engines.counters.errors import check_amount
from auterity.engines.counters.gcra import drained_us, step
from auterity.engines.counters.port import (
    CountersUnavailable,
    Rate,
    RateDecision,
    ReservationDecision,
    ReservationStatus,
)
from auterity.kit.clock import Clock, SystemClock

__all__ = ["SqliteCounters"]

_T = TypeVar("_T")

_PATIENCE_S = 0.5
_IMMEDIATE_TRIES = 8
_EXPIRE_BATCH = 200
_SWEEP_EVERY = 256

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rates (
    key TEXT NOT NULL UNIQUE, level INTEGER NOT NULL, at_us INTEGER NOT NULL, idle_at_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS budgets (
    budget TEXT PRIMARY KEY, spent INTEGER NOT NULL, held INTEGER NOT NULL, due_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS budgets_due ON budgets (due_us);
CREATE TABLE IF NOT EXISTS holds (
    budget TEXT NOT NULL, reservation TEXT NOT NULL, amount INTEGER NOT NULL, due_us INTEGER NOT NULL,
    ttl_us INTEGER NOT NULL, expired INTEGER NOT NULL, PRIMARY KEY (budget, reservation)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_due ON holds (due_us);
"""


class SqliteCounters:
    """An adapter of :class:`~auterity.engines.counters.port.Counters` over one file.

    The file is opened at the first step, so that a process may be forked after this was made. Rates are measured on
    the monotonic clock, which all processes of a machine share; deadlines on the wall clock, which goes on after the
    machine was started again.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._connection: sqlite3.Connection | None = None
        self._takes = 0
        self._swept_to = 0

    async def take(self, key: str, rate: Rate) -> RateDecision:
        now_us = self._clock.monotonic_ns() // 1000

        def transaction(db: sqlite3.Connection) -> RateDecision:
            row = db.execute("SELECT level, at_us FROM rates WHERE key = ?", (key,)).fetchone()
            bucket, decision = step(row, now_us, rate)
            if bucket is not None:
                idle_at_us = self._clock.epoch_us() + drained_us(bucket, rate.limit) - now_us
                db.execute(
                    "INSERT INTO rates VALUES (?1, ?2, ?3, ?4)"
                    " ON CONFLICT (key) DO UPDATE SET level = ?2, at_us = ?3, idle_at_us = ?4",
                    (key, *bucket, idle_at_us),
                )
            return decision

        decision = await self._run(transaction)
        self._takes += 1
        if self._takes % _SWEEP_EVERY == 0:
            await self._run(self._forget_idle_rates)
        return decision

    async def reserve(self, budget: str, reservation: str, amount: int, limit: int, ttl_s: int) -> ReservationDecision:
        check_amount(amount, limit)
        now_us = self._clock.epoch_us()

        def transaction(db: sqlite3.Connection) -> ReservationDecision:
            _expire(db, now_us)
            known = db.execute("SELECT spent + held FROM budgets WHERE budget = ?", (budget,)).fetchone()
            if known is None:
                return ReservationDecision(ReservationStatus.UNSEEDED, 0)
            free: int = limit - known[0]
            if db.execute("SELECT 1 FROM holds WHERE budget = ? AND reservation = ?", (budget, reservation)).fetchone():
                return ReservationDecision(ReservationStatus.HELD, max(0, free))
            if amount > free:
                return ReservationDecision(ReservationStatus.REFUSED, max(0, free))
            ttl_us = ttl_s * 1_000_000
            db.execute(
                "INSERT INTO holds VALUES (?, ?, ?, ?, ?, 0)", (budget, reservation, amount, now_us + ttl_us, ttl_us)
            )
            db.execute("UPDATE budgets SET held = held + ? WHERE budget = ?", (amount, budget))
            return ReservationDecision(ReservationStatus.HELD, free - amount)

        return await self._run(transaction)

    async def settle(self, budget: str, reservation: str, amount: int) -> None:
        check_amount(amount)
        now_us = self._clock.epoch_us()

        def transaction(db: sqlite3.Connection) -> None:
            _expire(db, now_us)
            hold = db.execute(
                "DELETE FROM holds WHERE budget = ? AND reservation = ? RETURNING amount, expired",
                (budget, reservation),
            ).fetchone()
            if hold is None:
                return
            held, expired = hold
            db.execute(
                "UPDATE budgets SET spent = spent + ?, held = held - ? WHERE budget = ?",
                (amount - held, 0, budget) if expired else (amount, held, budget),
            )

        await self._run(transaction)

    async def seed(self, budget: str, spent: int, ttl_s: int) -> None:
        check_amount(spent)
        now_us = self._clock.epoch_us()

        def transaction(db: sqlite3.Connection) -> None:
            _expire(db, now_us)
            db.execute(
                "INSERT INTO budgets VALUES (?, ?, 0, ?) ON CONFLICT DO NOTHING",
                (budget, spent, now_us + ttl_s * 1_000_000),
            )

        await self._run(transaction)

    async def spent(self, budget: str) -> int | None:
        now_us = self._clock.epoch_us()

        def transaction(db: sqlite3.Connection) -> int | None:
            while _expire(db, now_us):
                pass
            row = db.execute("SELECT spent FROM budgets WHERE budget = ?", (budget,)).fetchone()
            return None if row is None else row[0]

        return await self._run(transaction)

    async def ping(self) -> None:
        await self._run(lambda db: db.execute("SELECT 1 FROM budgets LIMIT 1").fetchone())

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _run(self, transaction: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run one transaction, waiting for the write lock on the event loop.

        Other workers hold the lock for some tens of microseconds, so the first tries follow each other at once (letting
        other tasks run in between); later ones leave a millisecond, until patience ends.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_S
        tries = 0
        while True:
            try:
                db = self._connection or self._open()
                db.execute("BEGIN IMMEDIATE")
                try:
                    result = transaction(db)
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            except OSError as error:
                raise _unusable() from error
            except sqlite3.OperationalError as error:
                tries += 1
                if not _is_busy(error) or loop.time() > deadline:
                    raise _unusable() from error
                await asyncio.sleep(0 if tries < _IMMEDIATE_TRIES else 0.001)
            except sqlite3.DatabaseError as error:
                await self.close()
                raise CountersUnavailable(
                    "The shared counters' file is damaged. Stop the server, delete it and start again: "
                    "counters are rebuilt from the usage records."
                ) from error
            else:
                return result

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            # Small and frequent checkpoints: each copies at most 200 pages (about 0.2 ms) and keeps the log short.
            db.execute("PRAGMA wal_autocheckpoint = 200")
            if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'holds_due'").fetchone()[0] == 0:
                db.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
        except BaseException:
            db.close()
            raise
        self._connection = db
        return db

    def _forget_idle_rates(self, db: sqlite3.Connection) -> None:
        """Look at the next stretch of rates, twice as many as could have been added since the last look."""
        stretch = 2 * _SWEEP_EVERY
        last = db.execute("SELECT max(rowid) FROM rates").fetchone()[0] or 0
        if self._swept_to >= last:
            self._swept_to = 0
        db.execute(
            "DELETE FROM rates WHERE rowid > ? AND rowid <= ? AND idle_at_us <= ?",
            (self._swept_to, self._swept_to + stretch, self._clock.epoch_us()),
        )
        self._swept_to += stretch


def _expire(db: sqlite3.Connection, now_us: int) -> int:
    """Spend holds that fell due, forget those that did so before and budgets whose time is over; return how many."""
    due = db.execute(
        "SELECT budget, reservation, amount, expired FROM holds WHERE due_us <= ? LIMIT ?", (now_us, _EXPIRE_BATCH)
    ).fetchall()
    for budget, reservation, amount, expired in due:
        if expired:
            db.execute("DELETE FROM holds WHERE budget = ? AND reservation = ?", (budget, reservation))
        else:
            db.execute(
                "UPDATE holds SET expired = 1, due_us = ? + ttl_us WHERE budget = ? AND reservation = ?",
                (now_us, budget, reservation),
            )
            db.execute("UPDATE budgets SET spent = spent + ?1, held = held - ?1 WHERE budget = ?2", (amount, budget))
    over = db.execute("DELETE FROM budgets WHERE due_us <= ? RETURNING budget", (now_us,)).fetchall()
    for row in over:
        db.execute("DELETE FROM holds WHERE budget = ?", row)
    return len(due) + len(over)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unusable() -> CountersUnavailable:
    return CountersUnavailable(
        "The shared counters' file cannot be used: it is locked, unreadable or its disk is full. "
        "Check the runtime directory.",
        retry_after=1.0,
    )

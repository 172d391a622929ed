"""What may happen to a server, as steps that the tests take in small and ``benchmarks.chaos`` takes at length."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import psutil

from auterity.platform.usage.status import read_status
from tests.crash.accounts import Account, compare
from tests.crash.node import MODEL, Node, wait_until
from tests.crash.traffic import Call, Kind, Traffic, call
from tests.fixtures.twins import Twin

__all__ = [
    "MIXED",
    "PARTS",
    "Crashes",
    "Flood",
    "Outage",
    "Room",
    "Spent",
    "Stop",
    "fill_spool",
    "kill_part",
    "kill_whole",
    "spend_through",
    "stop_under_load",
    "tell",
    "warm",
]

_SETTLED_S = 0.25
_STOP_S = 60.0
_FILL_S = 120.0
_TAGS_BYTES = 7500
_SLOW = "Hello [[sandbox latency=0.4 pace=0.01]]"
MIXED = (
    Kind("sandbox-small", stream=False, prompt=_SLOW),
    Kind("sandbox-small", stream=True, prompt=_SLOW),
    Kind(MODEL, stream=False),
    Kind(MODEL, stream=True),
)
"""Half plain, half streams; half from the sandbox, half from a provider over HTTP."""


def tell(what: object) -> None:
    """Show a figure; pytest shows it with ``-s``, and where a test fails."""
    sys.stdout.write(f"{what}\n")


@dataclass(slots=True)
class Crashes:
    """A home's whole history: the server that runs on it now, and every call that was ever sent to it."""

    node: Node
    calls: list[Call] = field(default_factory=list[Call])

    async def account(self) -> Account:
        return await compare(self.node, self.calls)

    @contextlib.asynccontextmanager
    async def traffic(
        self, callers: int, label: str, *, keep_on: bool = False, api_key: str | None = None
    ) -> AsyncGenerator[Traffic]:
        """Mixed traffic for the length of a block; its calls belong to the history."""
        traffic = Traffic(self.node.url, api_key or self.node.api_key, MIXED, label=label, keep_on=keep_on)
        try:
            async with traffic.running(callers):
                yield traffic
        finally:
            self.calls += traffic.calls


async def warm(crashes: Crashes, label: str) -> None:
    """Let every worker learn the key: calls on connections of their own until each has been there for some."""
    async with crashes.traffic(32, label) as traffic:
        await traffic.until(done=64)


async def kill_whole(crashes: Crashes, *, label: str, callers: int, chance: random.Random, database: bool) -> Traffic:
    """``kill -9`` of everything once ``callers`` calls are under way at once, some answered; then a new start."""
    async with crashes.traffic(callers, label) as traffic:
        await traffic.until(in_flight=callers, done=callers // 10)
        await asyncio.sleep(chance.random() * 0.5)
        await asyncio.to_thread(crashes.node.crash, database=database)
    crashes.node = await asyncio.to_thread(crashes.node.again)
    return traffic


@dataclass(frozen=True, slots=True)
class Outage:
    """One part's death and return under traffic."""

    part: str
    away_s: float
    """Until its successor was there; for the database, until it took connections."""
    served: int
    """Calls answered from the kill to the return."""
    failed: dict[str, int]
    """Reasons of calls that were not."""

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {reason}" for reason, count in self.failed.items()) or "none"
        return f"{self.part}: away {self.away_s:.2f} s, {self.served} calls served meanwhile; failed: {failed}"


def _other_worker(node: Node) -> tuple[psutil.Process, Callable[[], bool]]:
    before = {each.pid for each in node.workers}
    victim = node.workers[0]
    ready = len([line for line in node.log if " serves (process " in str(line["message"])])

    def back() -> bool:
        # A successor counts once it serves, which the supervisor logs, and not when its process begins.
        now = {each.pid for each in node.workers}
        said = [line for line in node.log if " serves (process " in str(line["message"])]
        return len(now) == len(before) and victim.pid not in now and len(said) > ready

    return victim, back


def _other_collector(node: Node) -> tuple[psutil.Process, Callable[[], bool]]:
    victim = node.collector
    assert victim is not None, "there is no collector"

    def back() -> bool:
        # It counts once it has collected something, and told so.
        told = read_status(node.home / "spool")
        return told is not None and told.pid not in (victim.pid, 0) and told.events > 0

    return victim, back


def _other_postmaster(node: Node) -> tuple[psutil.Process, Callable[[], bool]]:
    victim = node.postmaster
    assert victim is not None, "there is no database"

    def back() -> bool:
        now = node.postmaster
        return now is not None and now.pid != victim.pid and node.database_answers()

    return victim, back


PARTS: dict[str, Callable[[Node], tuple[psutil.Process, Callable[[], bool]]]] = {
    "worker": _other_worker,
    "collector": _other_collector,
    "database": _other_postmaster,
}
"""How to find each part's process, and how to tell that another has taken its place."""


async def kill_part(crashes: Crashes, part: str, *, label: str, callers: int, after_s: float = 0.5) -> Outage:
    """``kill -9`` of one process under traffic that goes on before, meanwhile and after."""
    async with crashes.traffic(callers, label, keep_on=True) as traffic:
        await traffic.until(done=callers)
        victim, back = PARTS[part](crashes.node)
        before = traffic.done
        os.kill(victim.pid, signal.SIGKILL)
        away = await asyncio.to_thread(wait_until, back, f"another {part}")
        served = traffic.done - before
        await asyncio.sleep(after_s)
        await traffic.until(done=traffic.done + callers)
    return Outage(part, away, served, dict(traffic.failed))


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop in good order under load."""

    code: int
    under_way: int
    """Calls that were under way when it was asked to stop."""
    cut: int
    """Of them, those that did not come to their end."""
    took_s: float

    def __str__(self) -> str:
        return (
            f"exit code {self.code} after {self.took_s:.2f} s; of {self.under_way} calls under way {self.cut} were cut"
        )


async def stop_under_load(crashes: Crashes, *, label: str, callers: int) -> Stop:
    """SIGTERM while ``callers`` calls are under way, most of them long streams; then a new start."""
    async with crashes.traffic(callers, label) as traffic:
        await traffic.until(in_flight=callers, done=callers // 4)
        # A request that meets the closing of an idle connection is the client's to repeat; it was never taken.
        known = [call for call in traffic.calls if not call.ended]
        await asyncio.sleep(_SETTLED_S)
        begun = time.monotonic()
        under_way = [call for call in known if not call.ended]
        crashes.node.terminate()
        code = await asyncio.to_thread(crashes.node.process.wait, _STOP_S)
        took = time.monotonic() - begun
    cut = sum(not call.done for call in under_way)
    crashes.node.stop()
    crashes.node = await asyncio.to_thread(crashes.node.again)
    return Stop(code, len(under_way), cut, took)


@dataclass(frozen=True, slots=True)
class Flood:
    """A spool that was filled while nothing was collected."""

    answered: int
    """Calls that were served until it was full."""
    refused: int
    asked: int
    """Requests that reached the provider while it filled and was full."""
    answers: frozenset[tuple[int, str, bool]]
    """Status, error code and whether ``retry-after`` came, of the refused calls."""
    recovered_s: float
    """From the collector's return to the first answered call."""

    def __str__(self) -> str:
        return (
            f"{self.answered} calls filled it, {self.refused} were refused; the provider was asked {self.asked} times; "
            f"served again {self.recovered_s:.2f} s after the collector went on"
        )


async def fill_spool(
    crashes: Crashes, twin: Twin, *, label: str, refused: int = 200, room: "Room | None" = None
) -> Flood:
    """Fill the spool with the collector stopped, call on while it is full, then let the collector go on.

    Args:
        room: takes the disk's free room away while the collector is stopped; None where the spool's own limit is small.
    """
    kinds = (Kind(MODEL, stream=False), Kind(MODEL, stream=True))
    collector = crashes.node.collector
    assert collector is not None, "there is no collector"

    def traffic(part: str) -> Traffic:
        return Traffic(crashes.node.url, crashes.node.api_key, kinds, label=f"{label}-{part}", weight=_TAGS_BYTES)

    filling, full, after = traffic("filling"), traffic("full"), traffic("after")
    before = twin.state()["requests"]
    collector.suspend()
    try:
        if room is not None:
            room.take()
        async with filling.running(32):
            await filling.until(refused=64, seconds=_FILL_S)
        async with full.running(8):
            await full.until(ended=refused)
        asked = twin.state()["requests"] - before
    finally:
        if room is not None:
            room.give_back()
        collector.resume()
    begun = time.monotonic()
    async with after.running(4):
        await after.until(done=1)
        recovered = time.monotonic() - begun
        await after.until(done=50)
    crashes.calls += [*filling.calls, *full.calls, *after.calls]
    turned_away = [call for call in (*filling.calls, *full.calls) if not call.done]
    answers = frozenset((call.status, call.code, bool(call.retry_after)) for call in turned_away)
    return Flood(filling.done + full.done, len(turned_away), asked, answers, recovered)


class Room:
    """The free room of a disk, taken away for a while by a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "filler"

    def take(self) -> None:
        with self._file.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def give_back(self) -> None:
        self._file.unlink()


@dataclass(frozen=True, slots=True)
class Spent:
    """How a hard budget came out."""

    budget_nano: int
    spent_nano: int
    """By answered calls, as their clients were told."""
    answered: int
    refused: int

    def __str__(self) -> str:
        return (
            f"{self.spent_nano} of {self.budget_nano} nano-dollars spent by {self.answered} answered calls; "
            f"{self.refused} refused for the budget"
        )


async def spend_through(
    crashes: Crashes, restarts: Sequence[Callable[[Node], Awaitable[Node]]], *, label: str, callers: int, calls: int
) -> Spent:
    """Spend a new key's hard budget, worth about ``calls`` calls, with a restart of some kind after each part of it.

    Whatever is left is spent after the last one, until the key is refused.
    """
    kind = Kind(MODEL, stream=False)
    price = await call(crashes.node.url, crashes.node.api_key, kind, f"{label}-price")
    crashes.calls.append(price)
    budget = (price.cost_nano or 0) * calls + 1
    limited = crashes.node.management.key(monthly_budget_usd=str(Decimal(budget).scaleb(-9)))["secret"]
    spent: list[Call] = []
    for number, restart in enumerate(restarts):
        traffic = Traffic(crashes.node.url, limited, (kind,), label=f"{label}-{number}")
        async with traffic.running(callers):
            # Refused calls end too: the budget may be gone before its turn, for calls go on while a server stops.
            await traffic.until(ended=calls // (len(restarts) + 1))
            crashes.node = await restart(crashes.node)
        spent += traffic.calls
    traffic = Traffic(crashes.node.url, limited, (kind,), label=f"{label}-end", keep_on=True)
    async with traffic.running(callers):
        await traffic.until(refused=4 * callers, seconds=_FILL_S)
    spent += traffic.calls
    crashes.calls += spent
    return Spent(
        budget_nano=budget,
        spent_nano=sum(each.cost_nano or 0 for each in spent),
        answered=sum(each.done for each in spent),
        refused=sum(each.code == "budget_exceeded" for each in spent),
    )

"""What every adapter of the shared counters promises."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auterity.engines.counters import counters_for
from auterity.engines.counters.address import RedisAddress
from auterity.engines.counters.errors import MAX_AMOUNT, AmountOutOfRange
from auterity.engines.counters.memory import MemoryCounters
from auterity.engines.counters.port import Counters, Rate, ReservationStatus
from auterity.engines.counters.redis import RedisCounters
from auterity.engines.counters.selection import FILE_NAME
from auterity.engines.counters.sqlite import SqliteCounters
from auterity.kit.clock import ManualClock
from auterity.kit.ids import new_id

ADAPTERS = ["memory", "sqlite", "redis", "redis-cluster"]
SHARED = ["sqlite", "redis", "redis-cluster"]
WITH_MANUAL_CLOCK = ["memory", "sqlite"]
DAY_S = 86_400


@dataclass
class Bench:
    """How a test makes counters of one kind and lets time pass for them."""

    make: Callable[[], Counters]
    clock: ManualClock | None
    url: str | None
    directory: Path

    async def pass_time(self, seconds: float, until: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Let ``seconds`` pass by the clock if it can be moved, then wait until the promise shows."""
        if self.clock is not None:
            self.clock.advance(timedelta(seconds=seconds))
        deadline = time.monotonic() + seconds + 5
        while not await until():
            assert time.monotonic() < deadline, "it did not come"
            await asyncio.sleep(0.02)

    async def worker(self, script: str, *arguments: str) -> asyncio.subprocess.Process:
        """Start another process that uses the same counters as ``counters``; it ends the script's way."""
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WORKER + script, self.url or "", str(self.directory), *arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip


_WORKER = """
import asyncio, json, os, signal, sys
from pathlib import Path
from auterity.engines.counters import counters_for
counters = counters_for(sys.argv[1] or None, 2, Path(sys.argv[2]))
arguments = sys.argv[3:]
"""


def bench_for(kind: str, request: pytest.FixtureRequest, directory: Path) -> Bench:
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    if kind == "memory":
        return Bench(lambda: MemoryCounters(clock), clock, None, directory)
    if kind == "sqlite":
        return Bench(lambda: SqliteCounters(directory / FILE_NAME, clock), clock, None, directory)
    url: str = request.getfixturevalue("redis_cluster" if kind == "redis-cluster" else "redis_server").url
    # What is promised here is the semantics; a busy machine may take its time.
    return Bench(lambda: RedisCounters(RedisAddress.parse(url), patience_s=10), None, url, directory)


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return bench_for(request.param, request, tmp_path)


@pytest.fixture
async def counters(bench: Bench) -> AsyncIterator[Counters]:
    made = bench.make()
    yield made
    await made.close()


every_adapter = pytest.mark.parametrize("bench", ADAPTERS, indirect=True)
adapters_with_manual_clock = pytest.mark.parametrize("bench", WITH_MANUAL_CLOCK, indirect=True)


@pytest.fixture
def budget() -> str:
    return new_id("key") + ":2026-03"


# --- rates ---


@every_adapter
async def test_a_burst_may_use_the_whole_limit_and_no_more(counters: Counters) -> None:
    key, rate = new_id("key"), Rate(20, 3600)
    taken = [await counters.take(key, rate) for _ in range(25)]
    assert [decision.allowed for decision in taken] == [True] * 20 + [False] * 5
    assert [decision.remaining for decision in taken[:20]] == list(range(19, -1, -1))
    assert all(0 < decision.retry_after_s <= 180 for decision in taken[20:])
    assert all(decision.retry_after_s == 0 for decision in taken[:20])
    assert 3590 < taken[-1].reset_s <= 3600


@every_adapter
async def test_rates_of_different_keys_do_not_meet(counters: Counters) -> None:
    rate = Rate(1, 3600)
    assert (await counters.take(new_id("key"), rate)).allowed
    assert (await counters.take(new_id("key"), rate)).allowed


@every_adapter
async def test_a_rate_is_refilled_evenly(bench: Bench, counters: Counters) -> None:
    key, rate = new_id("key"), Rate(5, 1)
    while (decision := await counters.take(key, rate)).allowed:
        pass
    assert 0 < decision.retry_after_s <= 0.2

    async def allowed() -> bool:
        return (await counters.take(key, rate)).allowed

    await bench.pass_time(decision.retry_after_s, allowed)


@every_adapter
async def test_a_limit_of_nothing_allows_nothing(counters: Counters) -> None:
    assert not (await counters.take(new_id("key"), Rate(0))).allowed


@every_adapter
async def test_concurrent_takes_share_one_limit(counters: Counters) -> None:
    key, rate = new_id("key"), Rate(100, 3600)
    taken = await asyncio.gather(*(counters.take(key, rate) for _ in range(300)))
    assert sum(decision.allowed for decision in taken) == 100


@adapters_with_manual_clock
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 12),
    period_s=st.integers(1, 90),
    waits_us=st.lists(st.one_of(st.just(0), st.integers(0, 30_000_000)), min_size=1, max_size=40),
)
def test_a_rate_decides_as_an_exact_token_bucket_does(
    bench: Bench, limit: int, period_s: int, waits_us: list[int]
) -> None:
    key, rate, clock = new_id("key"), Rate(limit, period_s), bench.clock
    assert clock is not None

    async def run() -> None:
        counters = bench.make()
        tokens = Fraction(limit)
        for wait_us in waits_us:
            clock.advance(timedelta(microseconds=wait_us))
            tokens = min(Fraction(limit), tokens + Fraction(wait_us * limit, period_s * 1_000_000))
            decision = await counters.take(key, rate)
            assert decision.allowed == (tokens >= 1)
            if decision.allowed:
                tokens -= 1
            else:
                assert decision.retry_after_s == pytest.approx(float((1 - tokens) * period_s / limit), abs=2e-6)
            assert decision.remaining == int(tokens)
            assert decision.reset_s == pytest.approx(float((limit - tokens) * period_s / limit), abs=2e-6)
        await counters.close()

    asyncio.run(run())


# --- budgets ---


@every_adapter
async def test_an_unknown_budget_asks_to_be_seeded(counters: Counters, budget: str) -> None:
    decision = await counters.reserve(budget, "r1", 10, 100, 60)
    assert (decision.status, decision.available) == (ReservationStatus.UNSEEDED, 0)
    assert await counters.spent(budget) is None
    await counters.settle(budget, "r1", 10)
    assert await counters.spent(budget) is None


@every_adapter
async def test_only_the_first_seed_counts(counters: Counters, budget: str) -> None:
    await counters.seed(budget, 40, DAY_S)
    await counters.seed(budget, 90, DAY_S)
    assert await counters.spent(budget) == 40


@every_adapter
async def test_holds_and_spending_never_exceed_the_limit(counters: Counters, budget: str) -> None:
    await counters.seed(budget, 40, DAY_S)
    assert (await counters.reserve(budget, "r1", 50, 100, 60)).available == 10
    refused = await counters.reserve(budget, "r2", 11, 100, 60)
    assert (refused.status, refused.available) == (ReservationStatus.REFUSED, 10)
    exact = await counters.reserve(budget, "r3", 10, 100, 60)
    assert (exact.status, exact.available) == (ReservationStatus.HELD, 0)
    assert await counters.spent(budget) == 40


@every_adapter
async def test_asking_again_for_a_held_reservation_changes_nothing(counters: Counters, budget: str) -> None:
    await counters.seed(budget, 0, DAY_S)
    await counters.reserve(budget, "r1", 60, 100, 60)
    again = await counters.reserve(budget, "r1", 60, 100, 60)
    assert (again.status, again.available) == (ReservationStatus.HELD, 40)


@every_adapter
@pytest.mark.parametrize("amount", [0, 30, 60, 75])
async def test_a_settlement_replaces_the_hold_by_the_truth_once(counters: Counters, budget: str, amount: int) -> None:
    await counters.seed(budget, 5, DAY_S)
    await counters.reserve(budget, "r1", 60, 100, 60)
    for _ in range(2):
        await counters.settle(budget, "r1", amount)
    assert await counters.spent(budget) == 5 + amount
    assert (await counters.reserve(budget, "r2", 0, 100, 60)).available == 95 - amount


@every_adapter
async def test_spending_above_the_limit_leaves_nothing_free(counters: Counters, budget: str) -> None:
    await counters.seed(budget, 90, DAY_S)
    await counters.reserve(budget, "r1", 10, 100, 60)
    await counters.settle(budget, "r1", 35)
    refused = await counters.reserve(budget, "r2", 1, 100, 60)
    assert (refused.status, refused.available) == (ReservationStatus.REFUSED, 0)


@every_adapter
async def test_a_hold_nobody_settles_is_spent_in_full(bench: Bench, counters: Counters, budget: str) -> None:
    await counters.seed(budget, 0, DAY_S)
    await counters.reserve(budget, "r1", 60, 100, 1)

    async def spent() -> bool:
        return await counters.spent(budget) == 60

    await bench.pass_time(1, spent)
    assert (await counters.reserve(budget, "r2", 41, 100, 60)).status is ReservationStatus.REFUSED
    assert (await counters.reserve(budget, "r3", 40, 100, 60)).status is ReservationStatus.HELD


@every_adapter
@pytest.mark.parametrize("amount", [0, 20, 80])
async def test_a_late_settlement_corrects_an_expired_hold_once(
    bench: Bench, counters: Counters, budget: str, amount: int
) -> None:
    await counters.seed(budget, 7, DAY_S)
    await counters.reserve(budget, "r1", 60, 100, 1)

    async def spent() -> bool:
        return await counters.spent(budget) == 67

    await bench.pass_time(1, spent)
    for _ in range(2):
        await counters.settle(budget, "r1", amount)
    assert await counters.spent(budget) == 7 + amount


@every_adapter
async def test_a_budget_is_forgotten_after_its_time(bench: Bench, counters: Counters, budget: str) -> None:
    await counters.seed(budget, 5, 1)
    await counters.reserve(budget, "r1", 5, 100, 600)

    async def forgotten() -> bool:
        return await counters.spent(budget) is None

    await bench.pass_time(1, forgotten)
    await counters.seed(budget, 8, DAY_S)
    assert (await counters.reserve(budget, "r1", 5, 100, 600)).available == 87


@every_adapter
async def test_amounts_are_exact_to_the_last_unit(counters: Counters, budget: str) -> None:
    await counters.seed(budget, MAX_AMOUNT - 3, DAY_S)
    assert (await counters.reserve(budget, "r1", 4, MAX_AMOUNT, 60)).status is ReservationStatus.REFUSED
    assert (await counters.reserve(budget, "r2", 2, MAX_AMOUNT, 60)).available == 1
    await counters.settle(budget, "r2", 1)
    assert await counters.spent(budget) == MAX_AMOUNT - 2


@every_adapter
@pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1])
async def test_an_amount_that_cannot_be_kept_is_refused(counters: Counters, budget: str, amount: int) -> None:
    with pytest.raises(AmountOutOfRange):
        await counters.seed(budget, amount, DAY_S)
    with pytest.raises(AmountOutOfRange):
        await counters.reserve(budget, "r", amount, 100, 60)
    with pytest.raises(AmountOutOfRange):
        await counters.settle(budget, "r", amount)


@every_adapter
@pytest.mark.parametrize("name", ["}", "{}", "{a}b", "a b:c", "ключ", "%s'\"\\"])
async def test_any_name_will_do(counters: Counters, budget: str, name: str) -> None:
    named = budget + name if name != "}" else name + budget
    await counters.seed(named, 1, DAY_S)
    assert (await counters.reserve(named, name, 5, 10, 60)).available == 4
    await counters.settle(named, name, 2)
    assert await counters.spent(named) == 3
    assert (await counters.take(named, Rate(2))).allowed


@every_adapter
async def test_a_thousand_concurrent_reserves_overspend_by_nothing(counters: Counters, budget: str) -> None:
    await counters.seed(budget, 9_500, DAY_S)
    decisions = await asyncio.gather(*(counters.reserve(budget, f"r{n}", 10, 10_000, 60) for n in range(1000)))
    assert sum(decision.status is ReservationStatus.HELD for decision in decisions) == 50
    held = [f"r{n}" for n, decision in enumerate(decisions) if decision.status is ReservationStatus.HELD]
    await asyncio.gather(*(counters.settle(budget, name, 10) for name in held))
    assert await counters.spent(budget) == 10_000


class Model:
    """The same promises in the plainest form: one budget, no concurrency, time in whole seconds."""

    def __init__(self) -> None:
        self.now = 0
        self.spent: int | None = None
        self.held: dict[str, tuple[int, int]] = {}
        self.expired: dict[str, tuple[int, int]] = {}

    def pass_time(self, seconds: int, ttl: int) -> None:
        self.now += seconds
        self.expired = {name: (amount, due) for name, (amount, due) in self.expired.items() if due > self.now}
        for name in [name for name, (_, due) in self.held.items() if due <= self.now]:
            amount, _ = self.held.pop(name)
            self.expired[name] = (amount, self.now + ttl)
            self.spent = (self.spent or 0) + amount

    def reserve(self, name: str, amount: int, limit: int, ttl: int) -> tuple[ReservationStatus, int]:
        if self.spent is None:
            return ReservationStatus.UNSEEDED, 0
        free = limit - self.spent - sum(held for held, _ in self.held.values())
        if name in self.held or name in self.expired:
            return ReservationStatus.HELD, max(0, free)
        if amount > free:
            return ReservationStatus.REFUSED, max(0, free)
        self.held[name] = (amount, self.now + ttl)
        return ReservationStatus.HELD, free - amount

    def settle(self, name: str, amount: int) -> None:
        if self.spent is not None and name in self.held:
            del self.held[name]
            self.spent += amount
        elif self.spent is not None and name in self.expired:
            self.spent += amount - self.expired.pop(name)[0]


_NAMES = st.sampled_from(["a", "b", "c", "d"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("seed"), st.just(""), st.integers(0, 60)),
        st.tuples(st.just("reserve"), _NAMES, st.integers(0, 60)),
        st.tuples(st.just("settle"), _NAMES, st.integers(0, 80)),
        st.tuples(st.just("pass_time"), st.just(""), st.sampled_from([1, 29, 30, 31, 60, 90])),
    ),
    max_size=30,
)


@every_adapter
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_budgets_behave_as_the_plainest_model_of_them(bench: Bench, steps: list[tuple[str, str, int]]) -> None:
    limit, ttl, clock, budget = 100, 30, bench.clock, new_id("key")

    async def run() -> None:
        counters, model = bench.make(), Model()
        try:
            for step, name, number in [("reserve", "a", 1), *steps]:
                if step == "seed":
                    await counters.seed(budget, number, DAY_S)
                    model.spent = number if model.spent is None else model.spent
                elif step == "reserve":
                    decision = await counters.reserve(budget, name, number, limit, ttl)
                    assert (decision.status, decision.available) == model.reserve(name, number, limit, ttl)
                elif step == "settle":
                    await counters.settle(budget, name, number)
                    model.settle(name, number)
                elif clock is not None:  # a server's time cannot be moved
                    clock.advance(timedelta(seconds=number))
                    model.pass_time(number, ttl)
                assert await counters.spent(budget) == model.spent
        finally:
            await counters.close()

    asyncio.run(run())


# --- several processes ---

shared_adapters = pytest.mark.parametrize("bench", SHARED, indirect=True)

_RESERVE_MANY = """
async def main():
    budget, name, times = arguments[0], arguments[1], int(arguments[2])
    decisions = await asyncio.gather(*(counters.reserve(budget, f"{name}-{n}", 10, 3000, 600) for n in range(times)))
    print(json.dumps(sum(decision.status == "held" for decision in decisions)))
    await counters.close()
asyncio.run(main())
"""

_RESERVE_AND_DIE = """
async def main():
    await counters.reserve(arguments[0], "of the dead", 60, 100, int(arguments[1]))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


@shared_adapters
async def test_workers_in_several_processes_overspend_by_nothing(bench: Bench, budget: str) -> None:
    counters = counters_for(bench.url, 2, bench.directory)
    await counters.seed(budget, 0, DAY_S)
    workers = [await bench.worker(_RESERVE_MANY, budget, str(n), "200") for n in range(3)]
    held = [json.loads((await worker.communicate())[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sum(held) == 300
    assert (await counters.reserve(budget, "one more", 1, 3000, 60)).status is ReservationStatus.REFUSED
    await counters.close()


@shared_adapters
async def test_what_a_killed_worker_held_is_spent_when_its_time_is_over(bench: Bench, budget: str) -> None:
    counters = counters_for(bench.url, 2, bench.directory)
    await counters.seed(budget, 0, DAY_S)
    worker = await bench.worker(_RESERVE_AND_DIE, budget, "1")
    await worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    assert (await counters.reserve(budget, "r2", 41, 100, 60)).status is ReservationStatus.REFUSED

    async def spent() -> bool:
        return await counters.spent(budget) == 60

    deadline = time.monotonic() + 5
    while not await spent():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await counters.close()


@every_adapter
async def test_counters_answer_a_ping(counters: Counters) -> None:
    await asyncio.wait_for(counters.ping(), 1)

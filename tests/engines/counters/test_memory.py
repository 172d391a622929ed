"""Counters inside the process must not grow with traffic."""

from datetime import UTC, datetime, timedelta

from auterity.engines.counters.memory import MemoryCounters
from auterity.engines.counters.port import Rate
from auterity.kit.clock import ManualClock


def size_of(counters: MemoryCounters) -> int:
    """Entries of all containers, one level into the budgets."""
    containers = [value for value in vars(counters).values() if hasattr(value, "__len__")]
    budgets: dict[str, object] = vars(counters)["_budgets"]
    return sum(map(len, containers)) + sum(len(getattr(budget, "holds")) for budget in budgets.values())  # noqa: B009


async def test_rates_nobody_uses_any_more_are_forgotten() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    counters, rate = MemoryCounters(clock), Rate(60, 60)
    for n in range(20_000):
        await counters.take(f"key-{n}", rate)
        clock.advance(timedelta(milliseconds=10))
    # Each is drained after one second, i.e. a hundred keys later.
    assert size_of(counters) < 500


async def test_a_rate_in_use_is_not_forgotten_among_many_new_ones() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    counters, rate = MemoryCounters(clock), Rate(1, 3600)
    await counters.take("busy", rate)
    for n in range(1000):
        await counters.take(f"key-{n}", rate)
    assert not (await counters.take("busy", rate)).allowed


async def test_settled_reservations_leave_nothing_behind() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    counters = MemoryCounters(clock)
    await counters.seed("budget", 0, 10**6)
    for n in range(20_000):
        await counters.reserve("budget", f"r{n}", 1, 10**9, 600)
        await counters.settle("budget", f"r{n}", 1)
    assert size_of(counters) < 3000
    assert await counters.spent("budget") == 20_000


async def test_reservations_nobody_settles_are_forgotten_in_the_end() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    counters = MemoryCounters(clock)
    await counters.seed("budget", 0, 10**6)
    for n in range(2000):
        await counters.reserve("budget", f"r{n}", 1, 10**9, 60)
        clock.advance(timedelta(seconds=1))
    assert size_of(counters) < 400

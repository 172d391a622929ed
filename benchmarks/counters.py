"""What a step of the shared counters costs: ``python -m benchmarks.counters``.

One after another (latency, as a call feels it) and fifty at a time (cost, as a busy worker feels it), on each adapter;
for Redis also how many round trips a step takes, by the server's own count.
"""

import asyncio
import itertools
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from auterity.engines.counters import counters_for
from auterity.engines.counters.port import Counters, Rate
from auterity.kit.ids import new_id
from tests.fixtures.redis import RedisCluster, RedisServer, cluster_node

_ROUNDS = 7
_RATE = Rate(10**6, 60)
_AT_ONCE = 50


async def alone(step: Callable[[int], Awaitable[object]], times: int) -> float:
    """Microseconds of a step when each waits for the one before it; the median of the rounds."""
    rounds: list[float] = []
    for index in range(_ROUNDS):
        started = time.perf_counter()
        for n in range(times):
            await step(index * times + n)
        rounds.append((time.perf_counter() - started) / times * 1e6)
    return statistics.median(rounds)


async def together(step: Callable[[int], Awaitable[object]], times: int) -> float:
    """Microseconds of a step when fifty are under way at any time; the median of the rounds."""
    rounds: list[float] = []
    for index in range(_ROUNDS):
        numbers = iter(range(index * times, (index + 1) * times))

        async def lane(numbers: Iterator[int]) -> None:
            for n in numbers:
                await step(n)

        started = time.perf_counter()
        await asyncio.gather(*(lane(numbers) for _ in range(_AT_ONCE)))
        rounds.append((time.perf_counter() - started) / times * 1e6)
    return statistics.median(rounds)


async def measure(name: str, counters: Counters, times: int) -> None:
    """Print one line of figures."""
    key, budget = new_id("key"), new_id("key")
    await counters.seed(budget, 0, 3600)

    names = itertools.count()

    async def take(_: int) -> None:
        await counters.take(key, _RATE)

    async def reserve_and_settle(n: int) -> None:
        await counters.reserve(budget, str(n), 100, 10**15, 600)
        await counters.settle(budget, str(n), 50)

    async def reserve(_: int) -> None:
        await counters.reserve(budget, f"r{next(names)}", 100, 10**15, 600)

    figures = [
        await measured(step, times) for step in (take, reserve, reserve_and_settle) for measured in (alone, together)
    ]
    print(f"{name:15}" + "".join(f"{figure:14.1f}" for figure in figures))
    await counters.close()


async def round_trips(server: RedisServer) -> None:
    """Print how many commands the server saw for each step."""
    counters = counters_for(server.url, 1, Path())
    await counters.seed("trips", 0, 3600)
    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "take": lambda: counters.take("trips", _RATE),
        "reserve": lambda: counters.reserve("trips", new_id("req"), 1, 10**9, 60),
        "settle": lambda: counters.settle("trips", "r", 1),
        "spent": lambda: counters.spent("trips"),
    }
    for name, step in steps.items():
        await step()  # the first one loads the script
        server.command("CONFIG", "RESETSTAT")
        for _ in range(100):
            await step()
        seen = re.findall(r"cmdstat_(evalsha|eval|script)\S*:calls=(\d+)", server.command("INFO", "commandstats"))
        print(f"{name:15}{sum(int(calls) for _, calls in seen) / 100:.2f} round trips")
    await counters.close()


async def measure_all(directory: Path) -> None:
    columns = ("take", "take ∥50", "reserve", "reserve ∥50", "+ settle", "+ settle ∥50")
    print(f"{'µs per step':15}" + "".join(f"{column:>14}" for column in columns))
    await measure("memory", counters_for(None, 1, directory), 20_000)
    await measure("sqlite", counters_for(None, 2, directory), 3_000)
    server = RedisServer(directory / "redis")
    server.start()
    cluster = RedisCluster([cluster_node(directory / f"node-{index}") for index in range(6)])
    try:
        await measure("redis", counters_for(server.url, 1, directory), 1_500)
        cluster.start()
        await measure("redis cluster", counters_for(cluster.url, 1, directory), 1_500)
        await round_trips(server)
    finally:
        cluster.kill()
        server.kill()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="auterity-counters-") as directory:
        asyncio.run(measure_all(Path(directory)))


if __name__ == "__main__":
    main()

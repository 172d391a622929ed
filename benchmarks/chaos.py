"""Crashes at length: everything that ``tests/crash`` does once, again and again on the same home.

``python -m benchmarks.chaos --rounds 20`` prints a line for each thing done and, after each round, the comparison
of what clients were answered with the event store, the roll-ups and the command line. The first disagreement ends it.
"""

import argparse
import asyncio
import random
import sys

from tests.crash.node import add_twin, nodes, own_twin
from tests.crash.scenarios import PARTS, Crashes, kill_part, kill_whole, stop_under_load, tell, warm

__all__: list[str] = []


async def _run(rounds: int, callers: int, workers: int, seed: int) -> None:
    chance = random.Random(seed)
    with nodes() as start, own_twin() as twin:
        node = await asyncio.to_thread(start, workers=workers)
        await asyncio.to_thread(add_twin, node, twin)
        crashes = Crashes(node)
        for number in range(rounds):
            twin.reset()
            twin.faults(delay_s=0.1 + 0.4 * chance.random(), drip_s=0.03 * chance.random())
            database = chance.random() < 0.5
            traffic = await kill_whole(
                crashes, label=f"{number}-whole", callers=callers, chance=chance, database=database
            )
            killed = "the whole server and its database" if database else "the whole server"
            tell(f"round {number + 1}: killed {killed}; {traffic.done} calls answered, {traffic.failed.total()} not")
            for part in chance.sample(sorted(PARTS), len(PARTS)):
                await warm(crashes, f"{number}-warm-{part}")
                tell(await kill_part(crashes, part, label=f"{number}-{part}", callers=max(20, callers // 20)))
            tell(await stop_under_load(crashes, label=f"{number}-stop", callers=max(20, callers // 10)))
            tell(await crashes.account())
        if crashes.node.stop() != 0:
            raise AssertionError("the last stop was not in good order")


def main() -> int:
    """Run; 0 where every comparison agreed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", type=int, default=1000, help="calls under way at once when everything is killed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    tell(f"seed {given.seed}")
    asyncio.run(_run(given.rounds, given.callers, given.workers, given.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())

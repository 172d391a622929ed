"""How fast usage moves from a call's end to the committed roll-up: ``python -m benchmarks.usage_pipeline``.

One process records as fast as it can; the collector, in its own process, carries the events on; an embedded PostgreSQL
with its usual durability takes the roll-ups. The rate is events over the time from the first ``record`` to the commit
that holds the last.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.migration import upgrade
from auterity.engines.database.sessions import COLLECTOR_ROLE, Database
from auterity.engines.spool.writer import SpoolWriter
from auterity.platform.usage.generator import EventGenerator
from auterity.platform.usage.recording import SpoolRecorder
from benchmarks.promises import record

_COLLECTOR = """
import asyncio, sys
from pathlib import Path
from auterity.app.collector import collect
asyncio.run(collect(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), asyncio.Event()))
"""


async def collected(database: Database) -> int:
    async with database.unscoped() as scope:
        return int(await scope.session.scalar(text("SELECT coalesce(sum(calls), 0) FROM usage_daily")) or 0)


async def measure(folder: Path, events: int, rounds: int) -> None:
    """Print and register the medians."""
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    await upgrade(server.url)
    database = Database(server.url, role=COLLECTOR_ROLE, pool_size=1)
    spool = folder / "spool"
    collector = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _COLLECTOR, server.url, str(spool), str(folder / "events")
    )
    writer = SpoolWriter(spool)
    recorder = SpoolRecorder(writer)
    # All in one hour, as live traffic is; about 2,400 combinations of dimensions.
    tenants = [f"ten_{number:032x}" for number in range(20)]
    generator = EventGenerator(tenants=tenants, keys=2, span_us=600_000_000)
    rates: list[float] = []
    costs: list[float] = []
    try:
        for number in range(rounds + 1):
            # The first round warms up and waits for the collector to start.
            batch = generator.events(events if number else 1000)
            before = await collected(database)
            started = time.perf_counter()
            for event in batch:
                recorder.admit()
                await recorder.record(event)
            recorded = time.perf_counter()
            while await collected(database) < before + len(batch):  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.02)
            if number:
                rates.append(len(batch) / (time.perf_counter() - started))
                costs.append((recorded - started) / len(batch) * 1e6)
    finally:
        writer.close()
        collector.kill()
        await collector.wait()
        await database.close()
        server.stop()
    rate = statistics.median(rates)
    print(f"admit + encode + record: {statistics.median(costs):.2f} µs per event, best {min(costs):.2f}")
    print(f"record to committed roll-up: {rate:,.0f} events/s, {min(rates):,.0f} to {max(rates):,.0f}")
    record("usage.pipeline.rate", round(rate), note=f"{events:,} events a round, {rounds} rounds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="events in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="auterity-usage-") as folder:
        asyncio.run(measure(Path(folder), arguments.events, arguments.rounds))


if __name__ == "__main__":
    main()

"""How fast questions about usage are answered: ``python -m benchmarks.usage_queries --events 10000000``.

Made-up events of November 2026, the same number for each tenant: one file per day, as compaction leaves a day behind,
and the roll-ups of exactly these events. Then one tenant's month is asked for, from a cold start of the query process
and again, in the way that the management API asks.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
from sqlalchemy import text

from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.migration import upgrade
from auterity.engines.database.sessions import COLLECTOR_ROLE, Database
from auterity.kit.clock import ManualClock
from auterity.platform.usage.dimensions import DIMENSIONS, LATENCY_BUCKETS, MEASURES, SUMMED_FIELDS
from auterity.platform.usage.query import Filter, Question
from auterity.platform.usage.rollups import DAY_US, HOUR_US
from auterity.platform.usage.service import Report, UsageService
from benchmarks.promises import record

_DAYS = 30
_FIRST_US = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 1_000_000
_NOW = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)

_EVENTS = """
SELECT
    format('evt_{{:012x}}{{:020x}}', {begin} // 1000 + n * {step} // 1000, n) AS id,
    {begin} + n * {step} AS time_us,
    format('req_{{:032x}}', n) AS request_id,
    format('ten_{{:032x}}', n % {tenants}) AS tenant_id,
    format('key_{{:032x}}', (n // {tenants}) % 5) AS key_id,
    '' AS user_id,
    format('user-{{}}', h % 50) AS end_user,
    MAP {{'team': ['search', 'ads', 'core'][h % 3 + 1], 'env': 'prod'}} AS tags,
    'chat.completions' AS endpoint,
    h % 2 = 0 AS stream,
    ['gpt-5', 'gpt-5-mini', 'claude-haiku', 'claude-sonnet'][h % 4 + 1] AS requested_model,
    requested_model AS model,
    format('dep_{{:032x}}', h % 4) AS deployment_id,
    ['openai', 'openai', 'anthropic', 'anthropic'][h % 4 + 1] AS provider,
    requested_model || '-2026-10' AS upstream_model,
    [{{deployment_id: deployment_id, provider: provider, status: 200, latency_us: h % 9000000, error_code: ''}}]
        AS attempts,
    h % 4000 AS input_tokens,
    h % 700 AS output_tokens,
    0 AS cache_read_tokens,
    0 AS cache_write_tokens,
    0 AS input_audio_tokens,
    0 AS cache_read_audio_tokens,
    0 AS output_audio_tokens,
    0 AS reasoning_tokens,
    false AS tokens_estimated,
    h % 4000 * 250 + h % 700 * 2000 AS cost_nano,
    'genai-prices' AS price_source,
    '1' AS price_version,
    false AS unpriced,
    h % 9000000 AS latency_us,
    h % 900000 AS first_byte_us,
    h % 800 AS overhead_us,
    200 AS status,
    CASE WHEN h % 50 = 0 THEN 'error' ELSE 'ok' END AS outcome,
    '' AS error_code,
    'off' AS cache
FROM (SELECT range AS n, (hash(range + {begin}) % 1000000007)::BIGINT AS h FROM range({count}))
ORDER BY tenant_id, time_us
"""
_COUNTED = {
    "calls": "true",
    "first_byte_calls": "first_byte_us > 0",
    "streamed_calls": "stream",
    "cache_hits": "cache = 'hit'",
    "unpriced_calls": "unpriced",
    "estimated_calls": "tokens_estimated",
    **{name: f"latency_us <= {bound}" for name, bound in LATENCY_BUCKETS.items()},
}


def write_days(store: Path, events: int, tenants: int) -> list[tuple[str, date, int]]:
    """One sorted file per day; returns path, day and rows."""
    connection = duckdb.connect()
    connection.execute("SET memory_limit = '4GB'")
    per_day = events // _DAYS
    files: list[tuple[str, date, int]] = []
    for number in range(_DAYS):
        day = date(2026, 11, number + 1)
        (store / day.isoformat()).mkdir(parents=True)
        path = f"{day.isoformat()}/evf_{number:032x}.v1.bench.parquet"
        query = _EVENTS.format(
            begin=_FIRST_US + number * DAY_US, step=DAY_US // per_day, tenants=tenants, count=per_day
        )
        target = f"'{store / path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384)"
        connection.execute(f"COPY ({query}) TO {target}")
        files.append((path, day, per_day))
    return files


def write_rollup(store: Path, table: str, unit: int, target: Path) -> None:
    """The roll-up of all files as CSV in the table's order of columns."""
    measured = {name: f"sum({name})" for name in SUMMED_FIELDS}
    measured |= {name: f"count(*) FILTER ({condition})" for name, condition in _COUNTED.items()}
    measured["attempts"] = "sum(len(attempts))"
    sums = ", ".join(f"{measured[name]} AS {name}" for name in MEASURES)
    groups = ", ".join(DIMENSIONS)
    duckdb.execute(
        f"""
        COPY (
            SELECT tenant_id, to_timestamp((time_us - time_us % {unit}) // 1000000) AS starts_at,
                '\\x' || md5(concat_ws('/', {groups})) AS series, {groups}, {sums}
            FROM read_parquet('{store}/*/*.parquet') GROUP BY ALL ORDER BY 1, 2, 3
        ) TO '{target / table}' (FORMAT csv, HEADER false, FORCE_QUOTE ({groups}))
        """
    )


async def load(server: EmbeddedPostgres, folder: Path, files: list[tuple[str, date, int]]) -> None:
    """Fill the tables; the roll-ups as the superuser, whom row security lets ``COPY``."""
    store = folder / "events"
    owner = Database(server.url_for("auterity", login="postgres"), role="postgres")
    database = Database(server.url, role=COLLECTOR_ROLE)
    try:
        for table, unit in (("usage_hourly", HOUR_US), ("usage_daily", DAY_US)):
            await asyncio.to_thread(write_rollup, store, table, unit, folder)
            (folder / table).chmod(0o644)
            async with owner.unscoped() as scope:
                await scope.session.execute(text(f"COPY {table} FROM '{folder / table}' (FORMAT csv)"))
        async with owner.unscoped() as scope:
            await scope.session.execute(text("ANALYZE usage_hourly, usage_daily"))
        async with database.unscoped() as scope:
            for number, (path, day, rows) in enumerate(files):
                await scope.session.execute(
                    text("INSERT INTO usage_files VALUES (:path, 'bench', :day, 3, :rows, 0, :first, :last)"),
                    {
                        "path": path,
                        "day": day,
                        "rows": rows,
                        "first": _FIRST_US + number * DAY_US,
                        "last": _FIRST_US + (number + 1) * DAY_US - 1,
                    },
                )
    finally:
        await owner.close()
        await database.close()


async def median_ms(ask: Callable[[], Awaitable[Report]], source: str, times: int = 15) -> float:
    """The median time of a question that must be answered from ``source``."""
    taken: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        report = await ask()
        taken.append((time.perf_counter() - started) * 1e3)
        if report.source != source or report.totals.measures[0] == 0:
            raise SystemExit(f"expected calls from {source}, got {report.totals.measures[0]} from {report.source}")
    return statistics.median(taken)


async def ask_all(server: EmbeddedPostgres, store: Path, events: int, tenants: int) -> None:
    """Print and register the figures."""
    database = Database(server.url)
    service = UsageService(database, store, clock=ManualClock(_NOW))
    tenant = f"ten_{tenants // 2:032x}"
    by_tag = ("day", "tag:team")
    try:
        started = time.perf_counter()
        await service.report(tenant, Question(), by_tag)
        print(f"first question to the event store, process started: {(time.perf_counter() - started) * 1e3:.0f} ms")
        month = await median_ms(lambda: service.report(tenant, Question(), by_tag), "events")
        filtered = Question(filters=(Filter("end_user", ("user-7",)),))
        end_user = await median_ms(lambda: service.report(tenant, filtered, ("model",)), "events")
        totals = await median_ms(lambda: service.report(tenant, Question()), "rollups")
        grouped = await median_ms(lambda: service.report(tenant, Question(), ("day", "model")), "rollups")
        hourly = await median_ms(lambda: service.report(tenant, Question(), ("hour",)), "rollups")
        started = time.perf_counter()
        page = await service.events(tenant, Question())
        newest = (time.perf_counter() - started) * 1e3
    finally:
        await service.close()
        await database.close()
    print(f"{events:,} events, {tenants} tenants; one tenant's month of {events // tenants:,} events, medians:")
    print(f"  event store, by day and tag        {month:8.1f} ms")
    print(f"  event store, one end user by model {end_user:8.1f} ms")
    print(f"  event store, newest {len(page.events)} events     {newest:8.1f} ms")
    print(f"  roll-ups, totals                   {totals:8.1f} ms")
    print(f"  roll-ups, by day and model         {grouped:8.1f} ms")
    print(f"  roll-ups, by hour                  {hourly:8.1f} ms")
    note = f"{events:,} events, {tenants} tenants"
    record("usage.query.month", round(month, 1), note=note)
    record("usage.query.totals", round(totals, 1), note=note)


async def measure(folder: Path, events: int, tenants: int) -> None:
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    try:
        await upgrade(server.url)
        started = time.perf_counter()
        files = await asyncio.to_thread(write_days, folder / "events", events, tenants)
        await load(server, folder, files)
        print(f"made {events:,} events in {time.perf_counter() - started:.0f} s")
        await ask_all(server, folder / "events", events, tenants)
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--tenants", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="auterity-usage-") as folder:
        Path(folder).chmod(0o755)
        asyncio.run(measure(Path(folder), arguments.events, arguments.tenants))


if __name__ == "__main__":
    main()

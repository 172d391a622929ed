"""Adding events up to roll-up rows, per hour and per day. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from operator import add

from auterity.platform.usage.dimensions import LATENCY_BUCKETS
from auterity.platform.usage.event import UsageEvent

__all__ = ["DAY_US", "HOUR_US", "Rollup", "Totals", "by_day", "by_hour", "measures_of", "rows_of"]

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOUNDS = tuple(LATENCY_BUCKETS.values())

Totals = Mapping[tuple[str, int, tuple[str, ...]], Sequence[int]]
"""Tenant, begin of the hour or day in microseconds since the Unix epoch, and dimensions to measures."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """Roll-up rows as columns of equal length, in the order of the tables' primary key."""

    tenant_id: Sequence[str]
    starts_at: Sequence[datetime]
    series: Sequence[bytes]
    dimensions: Sequence[Sequence[str]]
    """One column for each of ``DIMENSIONS``, or none where there are no rows."""
    measures: Sequence[Sequence[int]]
    """One column for each of ``MEASURES``, or none where there are no rows."""


def measures_of(event: UsageEvent) -> tuple[int, ...]:
    """What one event adds to each of ``MEASURES``."""
    latency = event.latency_us
    first_byte = event.first_byte_us
    return (
        1,
        event.input_tokens,
        event.output_tokens,
        event.cache_read_tokens,
        event.cache_write_tokens,
        event.input_audio_tokens,
        event.cache_read_audio_tokens,
        event.output_audio_tokens,
        event.reasoning_tokens,
        event.cost_nano,
        latency,
        first_byte,
        event.overhead_us,
        len(event.attempts),
        first_byte > 0,
        event.stream,
        event.cache == "hit",
        event.unpriced,
        event.tokens_estimated,
        *[latency <= bound for bound in _BOUNDS],
    )


def by_hour(events: Iterable[UsageEvent]) -> Totals:
    """Group events by tenant, hour of their start (UTC) and dimensions."""
    totals: dict[tuple[str, int, tuple[str, ...]], Sequence[int]] = {}
    for event in events:
        key = (
            event.tenant_id,
            event.time_us - event.time_us % HOUR_US,
            (
                event.key_id,
                event.user_id,
                event.requested_model,
                event.model,
                event.provider,
                event.endpoint,
                event.outcome,
            ),
        )
        before = totals.get(key)
        added = measures_of(event)
        totals[key] = added if before is None else list(map(add, before, added))
    return totals


def by_day(hours: Totals) -> Totals:
    """Group what :func:`by_hour` returned by days."""
    totals: dict[tuple[str, int, tuple[str, ...]], Sequence[int]] = {}
    for (tenant_id, hour, dimensions), added in hours.items():
        key = (tenant_id, hour - hour % DAY_US, dimensions)
        before = totals.get(key)
        totals[key] = added if before is None else list(map(add, before, added))
    return totals


def rows_of(totals: Totals) -> Rollup:
    """The rows for PostgreSQL. Their order is the primary key's, so that two collectors never deadlock."""
    rows = sorted(
        (tenant_id, begin, _series(dimensions), dimensions, measures)
        for (tenant_id, begin, dimensions), measures in totals.items()
    )
    return Rollup(
        tenant_id=[row[0] for row in rows],
        starts_at=[_EPOCH + timedelta(microseconds=row[1]) for row in rows],
        series=[row[2] for row in rows],
        dimensions=list(zip(*(row[3] for row in rows), strict=True)),
        measures=list(zip(*(row[4] for row in rows), strict=True)),
    )


def _series(values: Sequence[str]) -> bytes:
    digest = blake2b(digest_size=16)
    for value in values:
        data = value.encode()
        digest.update(len(data).to_bytes(4, "little") + data)
    return digest.digest()

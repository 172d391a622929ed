"""The usage tables: roll-ups per hour and day, the manifest of the event store, and how far each segment is read.

The collector writes all four in one transaction. The roll-ups are the ledger that money and budgets are read from; the
manifest and the positions belong to the platform and hold nothing of a tenant's.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from auterity.engines.database.tables import metadata
from auterity.platform.usage.dimensions import DIMENSIONS, MEASURES

__all__ = ["usage_daily", "usage_files", "usage_hourly", "usage_segments"]

_MOMENT = sa.TIMESTAMP(timezone=True)


def _rollup(name: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        # No reference to the tenants: what was used stays accounted for, and an event never waits for a tenant's row.
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("starts_at", _MOMENT, nullable=False, comment="Begin of the hour or day, UTC."),
        sa.Column("series", postgresql.BYTEA(), nullable=False, comment="BLAKE2b-128 of the dimensions."),
        *(sa.Column(dimension, sa.Text(), nullable=False) for dimension in DIMENSIONS),
        *(sa.Column(measure, sa.BigInteger(), nullable=False) for measure in MEASURES),
        sa.PrimaryKeyConstraint("tenant_id", "starts_at", "series"),
        sa.Index(None, "tenant_id", "key_id", "starts_at"),
        # Rows are updated many times while their hour runs; room in the page keeps that off the indexes (HOT).
        postgresql_with={"fillfactor": 70},
    )


usage_hourly = _rollup("usage_hourly")
usage_daily = _rollup("usage_daily")

usage_files = sa.Table(
    "usage_files",
    metadata,
    sa.Column("path", sa.Text(), primary_key=True, comment="Relative to the event store."),
    sa.Column("node", sa.Text(), nullable=False, comment="Whose collector wrote it, and alone removes it."),
    sa.Column("day", sa.Date(), nullable=False, comment="The UTC day of all its events."),
    sa.Column("level", sa.SmallInteger(), nullable=False, comment="0 as collected, higher after merging."),
    sa.Column("rows", sa.BigInteger(), nullable=False),
    sa.Column("bytes", sa.BigInteger(), nullable=False),
    sa.Column("min_time_us", sa.BigInteger(), nullable=False),
    sa.Column("max_time_us", sa.BigInteger(), nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("replaced_at", _MOMENT, comment="When it was merged into another; removed a while later."),
    sa.Index(None, "day", postgresql_where=sa.text("replaced_at IS NULL")),
)

usage_segments = sa.Table(
    "usage_segments",
    metadata,
    sa.Column("segment_id", sa.Text(), primary_key=True),
    sa.Column("node", sa.Text(), nullable=False),
    sa.Column("position", sa.BigInteger(), nullable=False, comment="Bytes that are in the roll-ups."),
    sa.Column("drained", sa.Boolean(), nullable=False, comment="Read to its end; a copy that turns up is a replay."),
    sa.Column("updated_at", _MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Index(None, "updated_at"),
)

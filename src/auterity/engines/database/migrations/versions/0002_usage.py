"""Usage: roll-ups per hour and day, the event store's manifest, the spool's positions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from auterity.engines.database.migrations.row_security import READ, WRITE, grant, guard
from auterity.engines.database.sessions import APP_ROLE, COLLECTOR_ROLE

revision = "0002"
down_revision = "0001"

_MOMENT = sa.TIMESTAMP(timezone=True)
_DIMENSIONS = ("key_id", "user_id", "requested_model", "model", "provider", "endpoint", "outcome")
_MEASURES = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "input_audio_tokens",
    "cache_read_audio_tokens",
    "output_audio_tokens",
    "reasoning_tokens",
    "cost_nano",
    "latency_us",
    "first_byte_us",
    "overhead_us",
    "attempts",
    "first_byte_calls",
    "streamed_calls",
    "cache_hits",
    "unpriced_calls",
    "estimated_calls",
    "latency_le_100ms",
    "latency_le_300ms",
    "latency_le_1s",
    "latency_le_3s",
    "latency_le_10s",
    "latency_le_30s",
)


def upgrade() -> None:
    _create_rollup("usage_hourly")
    _create_rollup("usage_daily")
    op.create_table(
        "usage_files",
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
    )
    op.create_index(None, "usage_files", ["day"], postgresql_where=sa.text("replaced_at IS NULL"))
    op.create_table(
        "usage_segments",
        sa.Column("segment_id", sa.Text(), primary_key=True),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False, comment="Bytes that are in the roll-ups."),
        sa.Column(
            "drained", sa.Boolean(), nullable=False, comment="Read to its end; a copy that turns up is a replay."
        ),
        sa.Column("updated_at", _MOMENT, nullable=False, server_default=sa.func.now()),
    )
    op.create_index(None, "usage_segments", ["updated_at"])
    for table in ("usage_files", "usage_segments"):
        grant(table, APP_ROLE, READ)
        grant(table, COLLECTOR_ROLE, WRITE)


def _create_rollup(name: str) -> None:
    op.create_table(
        name,
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("starts_at", _MOMENT, nullable=False, comment="Begin of the hour or day, UTC."),
        sa.Column("series", postgresql.BYTEA(), nullable=False, comment="BLAKE2b-128 of the dimensions."),
        *(sa.Column(dimension, sa.Text(), nullable=False) for dimension in _DIMENSIONS),
        *(sa.Column(measure, sa.BigInteger(), nullable=False) for measure in _MEASURES),
        sa.PrimaryKeyConstraint("tenant_id", "starts_at", "series"),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(None, name, ["tenant_id", "key_id", "starts_at"])
    guard(name, app=READ, operator=READ, collector=WRITE)

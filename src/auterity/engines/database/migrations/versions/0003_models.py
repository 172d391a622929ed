"""Providers, models, deployments and price overlays, some of which an operator shares with all tenants."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from auterity.engines.database.migrations.row_security import WRITE, allow, enforce, grant
from auterity.engines.database.sessions import APP_ROLE, OPERATOR_ROLE

revision = "0003"
down_revision = "0002"

_MOMENT = sa.TIMESTAMP(timezone=True)
_NONE = sa.text("'{}'::jsonb")


def upgrade() -> None:
    _create_providers()
    _create_models()
    _create_deployments()
    _create_price_overlays()


def _create_providers() -> None:
    op.create_table(
        "providers",
        *_owned(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary()),
        sa.Column("key_hint", sa.Text()),
        sa.Column("sealed_headers", sa.LargeBinary()),
        sa.Column("header_names", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("query", sa.Text(), nullable=False, server_default=""),
        sa.Column("stream_options", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("price_provider", sa.Text()),
        sa.Column("timeouts", postgresql.JSONB(), nullable=False, server_default=_NONE),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        *_shared_and_dated(),
        sa.UniqueConstraint("tenant_id", "name"),
        sa.UniqueConstraint("tenant_id", "id"),
    )
    _guard("providers")


def _create_models() -> None:
    op.create_table(
        "models",
        *_owned(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("allow_unpriced", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        *_shared_and_dated(),
        sa.UniqueConstraint("tenant_id", "name"),
        sa.UniqueConstraint("tenant_id", "id"),
    )
    _guard("models")


def _create_deployments() -> None:
    op.create_table(
        "deployments",
        *_owned(),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False, index=True),
        sa.Column("upstream_model", sa.Text(), nullable=False),
        sa.Column("listed_as", sa.Text()),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("context_window", sa.BigInteger()),
        sa.Column("max_output_tokens", sa.BigInteger()),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        *_shared_and_dated(),
        sa.CheckConstraint("weight >= 0", name="weight"),
        sa.UniqueConstraint("model_id", "provider_id", "upstream_model"),
        sa.ForeignKeyConstraint(["tenant_id", "model_id"], ["models.tenant_id", "models.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "provider_id"], ["providers.tenant_id", "providers.id"]),
    )
    _guard("deployments")


def _create_price_overlays() -> None:
    op.create_table(
        "price_overlays",
        *_owned(),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("provider_id", sa.Text(), index=True),
        sa.Column("upstream_model", sa.Text()),
        sa.Column("discount_percent", sa.Numeric(9, 6), nullable=False),
        sa.Column("prices", postgresql.JSONB(), nullable=False),
        sa.Column("per_request", sa.Numeric(24, 12)),
        sa.Column("batch_multiplier", sa.Numeric(9, 6), nullable=False),
        sa.Column("valid_from", _MOMENT),
        sa.Column("valid_to", _MOMENT),
        *_shared_and_dated(),
        sa.CheckConstraint("valid_to > valid_from", name="validity"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "provider_id"], ["providers.tenant_id", "providers.id"], ondelete="CASCADE"
        ),
    )
    _guard("price_overlays")


def _owned() -> tuple[sa.Column[str], sa.Column[str]]:
    return (
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True),
    )


def _shared_and_dated() -> tuple[sa.Column[bool], sa.Column[object], sa.Column[object]]:
    return (
        sa.Column("shared", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", _MOMENT, nullable=False),
    )


def _guard(table: str) -> None:
    """A tenant reads its own rows and the shared ones, and writes its own that are not shared."""
    own = "tenant_id = current_setting('app.tenant', true)"
    shared = "shared AND current_setting('app.tenant', true) <> ''"
    op.create_index(f"ix_{table}_shared", table, ["tenant_id"], postgresql_where=sa.text("shared"))
    enforce(table)
    allow(table, "read", APP_ROLE, f"{own} OR ({shared})", command="SELECT")
    allow(table, "insert", APP_ROLE, f"{own} AND NOT shared", command="INSERT")
    allow(table, "update", APP_ROLE, f"{own} AND NOT shared", command="UPDATE")
    allow(table, "delete", APP_ROLE, f"{own} AND NOT shared", command="DELETE")
    allow(table, "operator", OPERATOR_ROLE, "true")
    grant(table, APP_ROLE, WRITE)
    grant(table, OPERATOR_ROLE, WRITE)

"""Virtual keys and their secrets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from auterity.engines.database.migrations.row_security import READ, allow, guard
from auterity.engines.database.sessions import APP_ROLE

revision = "0005"
down_revision = "0004"

_MOMENT = sa.TIMESTAMP(timezone=True)
_PRESENTED = "hash = decode(current_setting('app.key_hash', true), 'hex')"
_ITS_KEY = "id = (SELECT key_id FROM key_secrets WHERE hash = decode(current_setting('app.key_hash', true), 'hex'))"


def upgrade() -> None:
    op.create_table(
        "virtual_keys",
        sa.Column("tenant_id", sa.Text(), sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
        sa.Column("allowed_models", postgresql.ARRAY(sa.Text())),
        sa.Column("requests_per_minute", sa.BigInteger()),
        sa.Column("monthly_budget_nano", sa.BigInteger()),
        sa.Column("expires_at", _MOMENT),
        sa.Column("revoked_at", _MOMENT),
        sa.Column("tags", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("last_used_at", _MOMENT),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("tenant_id", "id"),
        sa.CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
        sa.CheckConstraint("monthly_budget_nano >= 0", name="monthly_budget_nano"),
    )
    op.create_table(
        "key_secrets",
        sa.Column("tenant_id", sa.Text(), sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("hash", sa.LargeBinary(), primary_key=True),
        sa.Column("key_id", sa.Text(), nullable=False, index=True),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.ForeignKeyConstraint(
            ["tenant_id", "key_id"], ["virtual_keys.tenant_id", "virtual_keys.id"], ondelete="CASCADE"
        ),
    )
    guard("virtual_keys")
    guard("key_secrets")
    # Who presents a secret sees its one row, before anybody knows whose it is.
    allow("key_secrets", "presented", APP_ROLE, _PRESENTED, command=READ)
    allow("virtual_keys", "presented", APP_ROLE, _ITS_KEY, command=READ)

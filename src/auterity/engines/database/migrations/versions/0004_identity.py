"""People, their memberships of tenants, the keys that sign their tokens, and failed logins."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from auterity.engines.database.migrations.row_security import READ, WRITE, allow, enforce, grant, guard
from auterity.engines.database.sessions import APP_ROLE, OPERATOR_ROLE

revision = "0004"
down_revision = "0003"

_MOMENT = sa.TIMESTAMP(timezone=True)
_HERSELF = "{column} = current_setting('app.user', true)"


def upgrade() -> None:
    _create_users()
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_private_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "login_attempts",
        sa.Column("subject", sa.LargeBinary(), primary_key=True),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
    )
    for table in ("signing_keys", "login_attempts"):
        enforce(table)
        allow(table, "operator", OPERATOR_ROLE, "true")
        grant(table, OPERATOR_ROLE, WRITE)


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False, unique=True),
        sa.Column("name", sa.Text(), nullable=False, server_default=""),
        sa.Column("password_hash", sa.Text()),
        sa.Column("operator", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("email = lower(email)", name="email"),
    )
    op.create_table(
        "memberships",
        sa.Column("tenant_id", sa.Text(), sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user_id", sa.Text(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
    )
    guard("memberships")
    allow("memberships", "herself", APP_ROLE, _HERSELF.format(column="user_id"), command=READ)

    # A person belongs to no tenant: she is seen by herself and by those who share a tenant with her.
    enforce("users")
    colleagues = "SELECT user_id FROM memberships WHERE tenant_id = current_setting('app.tenant', true)"
    allow("users", "herself", APP_ROLE, _HERSELF.format(column="id"), command=READ)
    allow("users", "colleagues", APP_ROLE, f"id IN ({colleagues})", command=READ)
    allow("users", "operator", OPERATOR_ROLE, "true")
    grant("users", APP_ROLE, "SELECT (id, email, name, operator, created_at)")
    grant("users", OPERATOR_ROLE, WRITE)

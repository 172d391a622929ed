"""The program's roles and the tenants."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from auterity.engines.database.migrations.row_security import READ, WRITE, allow, enforce, grant
from auterity.engines.database.sessions import APP_ROLE, COLLECTOR_ROLE, OPERATOR_ROLE

revision = "0001"
down_revision: str | None = None

_MOMENT = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    _create_roles()
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("slug", sa.Text(), nullable=False, unique=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="active"),
        sa.Column("settings", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("status IN ('active', 'suspended')", name="status"),
    )
    enforce("tenants")
    allow("tenants", "self", APP_ROLE, "id = current_setting('app.tenant', true)")
    allow("tenants", "operator", OPERATOR_ROLE, "true")
    grant("tenants", APP_ROLE, "SELECT, UPDATE (name, settings)")
    grant("tenants", OPERATOR_ROLE, WRITE)
    grant("alembic_version", f"{APP_ROLE}, {OPERATOR_ROLE}, {COLLECTOR_ROLE}", READ)


def _create_roles() -> None:
    """Make the roles and let the login role take them on.

    Roles belong to the whole cluster: another database of it may be making them at this moment, or a DBA has made
    and granted them before. From PostgreSQL 16 on, who creates a role is its member without the right to take it on,
    and that right can be given without letting the login role itself see what the role sees.
    """
    for role in (APP_ROLE, OPERATOR_ROLE, COLLECTOR_ROLE):
        op.execute(
            f"""
            DO $$
            BEGIN
                BEGIN
                    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                        CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
                    END IF;
                EXCEPTION WHEN duplicate_object OR unique_violation THEN
                    NULL;
                END;
                IF current_setting('server_version_num')::int < 160000 THEN
                    IF NOT pg_has_role(session_user, '{role}', 'MEMBER') THEN
                        EXECUTE format('GRANT {role} TO %I', session_user);
                    END IF;
                ELSIF NOT pg_has_role(session_user, '{role}', 'SET') THEN
                    EXECUTE format('GRANT {role} TO %I WITH INHERIT FALSE, SET TRUE', session_user);
                END IF;
                EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', current_schema());
            END
            $$
            """
        )

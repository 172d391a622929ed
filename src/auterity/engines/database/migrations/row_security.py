"""Row-level security for a table that a migration has just made: who may touch which of its rows.

In a step::

    op.create_table("virtual_keys", sa.Column("tenant_id", sa.Text(), …), …)
    guard("virtual_keys")

The application's role then sees the rows of the tenant that the transaction names (``app.tenant``) and no others,
the operator's role sees all. A table has no rights for a role that is not named here.
"""

from alembic import op

from auterity.engines.database.sessions import APP_ROLE, COLLECTOR_ROLE, OPERATOR_ROLE

__all__ = ["READ", "WRITE", "allow", "enforce", "grant", "guard"]

READ = "SELECT"
WRITE = "SELECT, INSERT, UPDATE, DELETE"


def guard(
    table: str,
    *,
    column: str = "tenant_id",
    app: str = WRITE,
    operator: str = WRITE,
    collector: str = "",
) -> None:
    """Enable and force row-level security on a tenant's table and write its policies and grants.

    Args:
        table: the table's name.
        column: the column that holds the tenant's id.
        app: SQL privileges of the application within one tenant; ``""`` for none.
        operator: privileges of the operator over all tenants; ``""`` for none.
        collector: privileges of the usage collector over all tenants; ``""`` for none.
    """
    enforce(table)
    if app:
        allow(table, "tenant", APP_ROLE, f"{column} = current_setting('app.tenant', true)")
        grant(table, APP_ROLE, app)
    if operator:
        allow(table, "operator", OPERATOR_ROLE, "true")
        grant(table, OPERATOR_ROLE, operator)
    if collector:
        allow(table, "collector", COLLECTOR_ROLE, "true")
        grant(table, COLLECTOR_ROLE, collector)


def enforce(table: str) -> None:
    """Turn row-level security on, for the table's owner too. Without a policy nobody sees a row."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def allow(table: str, name: str, role: str, condition: str, *, command: str = "ALL") -> None:
    """Write a policy: ``role`` may do ``command`` to the rows for which ``condition`` (SQL) holds."""
    clauses = f"USING ({condition})"
    if command == "INSERT":
        clauses = f"WITH CHECK ({condition})"
    elif command in {"ALL", "UPDATE"}:
        clauses += f" WITH CHECK ({condition})"
    op.execute(f"CREATE POLICY {table}_{name} ON {table} FOR {command} TO {role} {clauses}")


def grant(table: str, role: str, privileges: str) -> None:
    """Give a role SQL privileges; for a table without a tenant this is all it needs."""
    op.execute(f"GRANT {privileges} ON {table} TO {role}")

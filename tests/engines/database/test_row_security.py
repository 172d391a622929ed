"""Row-level security alone, without any repository's condition, keeps tenants apart."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from auterity.engines.database.connection import PlainConnection, connect
from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.sessions import APP_ROLE, COLLECTOR_ROLE, OPERATOR_ROLE, Database

_TENANTS_TABLES = """
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    WHERE c.relkind IN ('r', 'p')
      AND (c.relname = 'tenants' OR EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))
    ORDER BY 1
"""


async def _tenants_tables(url: str) -> list[tuple[str, bool, bool]]:
    async with connect(url) as connection:
        return [(row[0], row[1], row[2]) for row in await connection.fetch(_TENANTS_TABLES)]


async def test_every_table_with_a_tenant_has_its_row_security_forced(database_url: str) -> None:
    tables = await _tenants_tables(database_url)
    assert "tenants" in {name for name, _, _ in tables}
    assert [name for name, enabled, forced in tables if not (enabled and forced)] == []


async def test_no_role_of_the_program_can_pass_row_security(database_url: str) -> None:
    async with connect(database_url) as connection:
        strong = await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE (rolsuper OR rolbypassrls OR rolcreatedb) AND rolname = ANY($1)",
            [APP_ROLE, OPERATOR_ROLE, COLLECTOR_ROLE, "auterity"],
        )
        assert strong == []
        members = await connection.fetchval(
            "SELECT pg_has_role($1, $2, 'MEMBER') OR pg_has_role($1, $3, 'MEMBER')",
            APP_ROLE,
            OPERATOR_ROLE,
            COLLECTOR_ROLE,
        )
        assert members is False


async def test_another_tenant_sees_nothing_and_can_take_nothing(
    database: Database, tenant_id: str, other_tenant_id: str
) -> None:
    async with database.tenant(tenant_id) as scope:
        assert list(await scope.session.scalars(text("SELECT id FROM tenants"))) == [tenant_id]
    async with database.tenant(other_tenant_id) as scope:
        changed = await scope.session.execute(
            text("UPDATE tenants SET name = 'taken' WHERE id = :id RETURNING id"), {"id": tenant_id}
        )
        assert changed.all() == []
    async with database.platform() as scope:
        assert set(await scope.session.scalars(text("SELECT name FROM tenants"))) == {"Acme", "Globex"}


_COLUMNS = """
    SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''
"""
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname FROM pg_constraint
    WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace
"""


def _some_value(column_type: str) -> str:
    """SQL of a value of this type."""
    if column_type.endswith("[]"):
        return "'{}'"
    if column_type.startswith(("timestamp", "date")):
        return "now()"
    return {"jsonb": "'{}'", "json": "'{}'", "bytea": "'x'", "boolean": "false"}.get(column_type, "'1'")


async def _insertion(connection: PlainConnection, table: str, tenant_id: str) -> str:
    values = {row[0]: _some_value(row[1]) for row in await connection.fetch(_COLUMNS, table)}
    values["id" if table == "tenants" else "tenant_id"] = f"'{tenant_id}'"
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})"


async def test_in_every_tenants_table_another_tenant_sees_changes_deletes_and_inserts_nothing(
    postgres_server: EmbeddedPostgres, database_url: str, database: Database
) -> None:
    insertions: dict[str, str] = {}
    name = database_url.partition("@/")[2].partition("?")[0]
    async with connect(postgres_server.url_for(name, login="postgres")) as connection:
        # The rows need not make sense: only the policies are asked here.
        for table, constraint in await connection.fetch(_CONSTRAINTS):
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint} CASCADE")
        for table, _, _ in await _tenants_tables(database_url):
            insertions[table] = await _insertion(connection, table, "ten_owner")
            await connection.execute(insertions[table])

    async def attempt(statement: str) -> int:
        """Rows touched by a stranger's statement; -1 where it is refused."""
        try:
            async with database.tenant("ten_stranger") as scope:
                return len((await scope.session.execute(text(statement))).all())
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != "42501":
                raise
            return -1

    for table, insertion in insertions.items():
        owner = "id" if table == "tenants" else "tenant_id"
        assert await attempt(f"SELECT 1 FROM {table}") <= 0, table
        assert await attempt(f"UPDATE {table} SET {owner} = {owner} RETURNING 1") <= 0, table
        assert await attempt(f"UPDATE {table} SET {owner} = 'ten_stranger' RETURNING 1") <= 0, table
        assert await attempt(f"DELETE FROM {table} RETURNING 1") <= 0, table
        assert await attempt(f"{insertion} RETURNING 1") == -1, table
        async with connect(postgres_server.url_for(name, login="postgres")) as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {owner} = 'ten_owner'") == 1, table


async def test_no_one_in_particular_sees_no_tenants_rows(database_url: str, database: Database, tenant_id: str) -> None:
    for table, _, _ in await _tenants_tables(database_url):
        async with connect(database_url) as owner:
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    with pytest.raises(DBAPIError):
        async with database.tenant(tenant_id) as scope:
            await scope.session.execute(text("INSERT INTO tenants (id, slug, name) VALUES ('ten_x', 'x', 'X')"))

"""Transactions commit, roll back and stay in their scope."""

import asyncio

import pytest
from sqlalchemy import text

from auterity.engines.database.errors import DatabaseRefused, DatabaseUnavailable, TextNotStorable
from auterity.engines.database.sessions import APP_ROLE, OPERATOR_ROLE, Database, Scope


async def _one(scope: Scope, statement: str) -> object:
    return await scope.session.scalar(text(statement))


async def test_a_block_that_ends_is_committed_and_one_that_fails_is_rolled_back(
    database: Database, tenant_id: str
) -> None:
    async with database.tenant(tenant_id) as scope:
        await scope.session.execute(text("UPDATE tenants SET name = 'kept'"))
    with pytest.raises(RuntimeError, match="no"):  # noqa: PT012 - the block is what fails
        async with database.tenant(tenant_id) as scope:
            await scope.session.execute(text("UPDATE tenants SET name = 'lost'"))
            raise RuntimeError("no")
    async with database.tenant(tenant_id) as scope:
        assert await _one(scope, "SELECT name FROM tenants") == "kept"


async def test_a_scope_ends_with_its_transaction(database_url: str, tenant_id: str) -> None:
    database = Database(database_url, pool_size=1)
    async with database.tenant(tenant_id) as scope:
        assert await _one(scope, "SELECT current_user") == APP_ROLE
        assert await _one(scope, "SELECT count(*) FROM tenants") == 1
    async with database.platform() as scope:
        assert await _one(scope, "SELECT current_user") == OPERATOR_ROLE
    async with database.unscoped() as scope:
        assert await _one(scope, "SELECT current_user") == APP_ROLE
        assert await _one(scope, "SELECT count(*) FROM tenants") == 0
        with pytest.raises(LookupError):
            _ = scope.tenant_id
    await database.close()


async def test_the_scopes_of_a_key_and_of_a_person_are_set(database: Database) -> None:
    async with database.key_lookup(b"\x01\xff") as scope:
        assert await _one(scope, "SELECT current_setting('app.key_hash')") == "01ff"
    async with database.user("usr_1") as scope:
        assert await _one(scope, "SELECT current_setting('app.user')") == "usr_1"


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    await database.close()


async def test_a_database_that_does_not_exist_refuses(database_url: str) -> None:
    database = Database(database_url.replace("/db_", "/nodb_"))
    with pytest.raises(DatabaseRefused):
        await database.ping()
    await database.close()


async def test_a_role_that_does_not_exist_refuses(database_url: str) -> None:
    database = Database(database_url, role="auterity_nobody")
    with pytest.raises(DatabaseRefused, match="db upgrade"):
        await database.ping()
    await database.close()


async def test_a_connection_that_breaks_amid_a_transaction_is_unavailable_and_the_next_one_works(
    database: Database, tenant_id: str
) -> None:
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012 - the block is what fails
        async with database.tenant(tenant_id) as scope:
            await scope.session.execute(text("SET LOCAL ROLE auterity"))
            await scope.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    await database.ping()


async def test_a_pool_without_a_free_connection_is_unavailable(database_url: str) -> None:
    database = Database(database_url, pool_size=1, pool_timeout_s=0.05)
    async with database.unscoped(), database.unscoped():
        with pytest.raises(DatabaseUnavailable, match="busy"):
            await database.ping()
    await database.ping()
    await database.close()


async def test_a_failure_of_the_caller_inside_a_block_passes_unchanged(database: Database) -> None:
    with pytest.raises(FileNotFoundError):
        async with database.unscoped():
            raise FileNotFoundError
    with pytest.raises(asyncio.CancelledError):
        async with database.unscoped():
            raise asyncio.CancelledError
    await database.ping()


@pytest.mark.parametrize("statement", ["SELECT CAST(:given AS text)", "SELECT CAST(:given AS jsonb)"])
async def test_a_text_that_postgresql_cannot_keep_is_the_callers_mistake(database: Database, statement: str) -> None:
    given = '{"a": "\\u0000"}' if "json" in statement else "a\0b"
    with pytest.raises(TextNotStorable):
        async with database.unscoped() as scope:
            await scope.session.execute(text(statement), {"given": given})

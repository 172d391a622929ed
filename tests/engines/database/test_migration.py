"""The schema is applied once, whoever starts, and never to a database that is newer than the program."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from auterity.engines.database import migration
from auterity.engines.database.connection import connect
from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.errors import DatabaseNewerThanProgram, DatabaseUnavailable, DatabaseUnsuitable
from auterity.engines.database.migration import status, upgrade

Superuser = Callable[[str], Awaitable[None]]


_STARTER = """
import asyncio, sys
from auterity.engines.database.migration import upgrade
print("ready", flush=True)
sys.stdin.read(1)
print(len(asyncio.run(upgrade(sys.argv[1])).pending))
"""


async def test_an_empty_database_is_brought_to_the_head_and_then_left_alone(empty_database_url: str) -> None:
    before = await status(empty_database_url)
    assert before.current is None
    assert before.pending[0] == "0001"
    assert before.pending[-1] == before.head
    await upgrade(empty_database_url)
    after = await status(empty_database_url)
    assert after.current == after.head == before.head
    assert after.pending == ()
    assert (await upgrade(empty_database_url)).pending == ()


async def test_of_two_processes_that_start_at_once_exactly_one_migrates(empty_database_url: str) -> None:
    starters = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _STARTER,
            empty_database_url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for starter in starters:
        assert starter.stdout is not None
        assert await starter.stdout.readline() == b"ready\n"
    applied = [int(said) for said, _ in await asyncio.gather(*(starter.communicate(b"!") for starter in starters))]
    steps = len((await status(empty_database_url)).applied)
    assert sorted(applied) == [0, steps]


async def test_many_starters_in_one_process_agree_too(empty_database_url: str) -> None:
    pending = [before.pending for before in await asyncio.gather(*(upgrade(empty_database_url) for _ in range(5)))]
    assert sorted(map(bool, pending)) == [False, False, False, False, True]


async def test_a_database_of_a_later_release_is_refused_and_left_as_it_is(database_url: str) -> None:
    async with connect(database_url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseNewerThanProgram, match="schema 9999"):
        await upgrade(database_url)
    with pytest.raises(DatabaseNewerThanProgram):
        await status(database_url)
    async with connect(database_url) as connection:
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"


async def test_a_login_without_rights_is_told_the_sql_that_mends_it(
    postgres_server: EmbeddedPostgres, as_superuser: Superuser, empty_database_url: str
) -> None:
    await as_superuser("CREATE ROLE plain LOGIN")
    database = empty_database_url.partition("@/")[2].partition("?")[0]
    url = postgres_server.url_for(database, login="plain")
    try:
        with pytest.raises(DatabaseUnsuitable) as refused:
            await upgrade(url)
        mending = refused.value.message.partition(": ")[2]
        async with connect(postgres_server.url_for(database, login="postgres")) as dba:
            for statement in filter(None, map(str.strip, mending.split(";"))):
                if not statement.startswith("CREATE ROLE"):  # another database of this server has made them
                    await dba.execute(statement)
        await upgrade(url)
        assert (await status(url)).pending == ()
    finally:
        async with connect(postgres_server.url_for(database, login="postgres")) as dba:
            await dba.execute("DROP OWNED BY plain CASCADE")
        await as_superuser("DROP ROLE plain")


async def test_no_server_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        await upgrade("postgresql://127.0.0.1:1/nothing")


async def test_a_server_that_is_too_old_is_refused(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "OLDEST_SERVER", 99)
    with pytest.raises(DatabaseUnsuitable, match=r"This server is PostgreSQL 1[0-9]; Auterity needs 99 or later"):
        await upgrade(empty_database_url)
    async with connect(empty_database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0

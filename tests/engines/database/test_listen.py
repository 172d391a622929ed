"""Plan changes are heard by all who listen, and a gap is never silent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest_asyncio
from sqlalchemy import text

from auterity.engines.database.connection import connect
from auterity.engines.database.listen import PlanListener
from auterity.engines.database.sessions import Database


class _Heard:
    def __init__(self) -> None:
        self.changes: list[str] = []
        self.gaps = 0

    def gap(self) -> None:
        self.gaps += 1


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing to wait for but the condition
            await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def heard(database_url: str) -> AsyncIterator[_Heard]:
    heard = _Heard()
    listener = PlanListener(
        database_url, on_change=heard.changes.append, on_gap=heard.gap, first_pause_s=0.01, heartbeat_s=0.05
    )
    task = asyncio.create_task(listener.run())
    await _until(lambda: listener.listening)
    yield heard
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not listener.listening


async def test_a_change_is_heard_when_its_transaction_commits_and_not_before(
    database: Database, tenant_id: str, heard: _Heard
) -> None:
    with suppress(RuntimeError):
        async with database.tenant(tenant_id) as scope:
            await scope.plan_changed("ten_rolled_back")
            raise RuntimeError
    async with database.tenant(tenant_id) as scope:
        await scope.plan_changed()
    async with database.platform() as scope:
        await scope.plan_changed("*")
    await _until(lambda: len(heard.changes) >= 2)
    assert heard.changes == [tenant_id, "*"]


async def test_a_lost_connection_is_taken_up_again_and_the_gap_is_told(
    database_url: str, database: Database, tenant_id: str, heard: _Heard
) -> None:
    assert heard.gaps == 1
    async with connect(database_url) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%' OR query = 'SELECT 1'"
        )
    await _until(lambda: heard.gaps == 2)
    async with database.tenant(tenant_id) as scope:
        await scope.plan_changed()
    await _until(lambda: heard.changes == [tenant_id])


async def test_a_silent_connection_is_kept(database: Database, heard: _Heard) -> None:
    async with database.unscoped() as scope:
        await scope.session.execute(text("SELECT pg_sleep(0.3)"))  # several heartbeats
    assert heard.gaps == 1

"""The doctor's look at the database: reachable, fit, migrated, walled off by row-level security, on our clock."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from auterity.app.doctor import Check, Finding, State
from auterity.app.settings import Settings
from auterity.engines.database import migration
from auterity.engines.database.connection import PlainConnection, connect
from auterity.engines.database.sessions import APP_ROLE, COLLECTOR_ROLE, OPERATOR_ROLE

__all__ = ["check_database"]

_SKEW_WARN_S, _SKEW_FAIL_S = 1.0, 60.0
_CONNECTIONS_PER_WORKER = 12
"""A pool of five that may double for a moment, and the listener."""
_ROLES = (APP_ROLE, OPERATOR_ROLE, COLLECTOR_ROLE)

_BYPASSING = "SELECT rolname FROM pg_roles WHERE rolname = ANY($1) AND (rolsuper OR rolbypassrls)"
_SUPERUSER = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user"
_UNGUARDED = """
SELECT c.relname FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = current_schema()
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
ORDER BY 1
"""
_ROOM = """
SELECT current_setting('max_connections')::int,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int
"""


def check_database(settings: Settings, url: str) -> dict[str, Check]:
    """The checks of the database at this address."""

    async def schema() -> Sequence[Finding]:
        found = await migration.status(url)
        if found.pending:
            return [
                Finding(
                    "schema",
                    State.FAIL,
                    f"at {found.current or '(empty)'}, {len(found.pending)} steps behind this release",
                    "Run `auterity db upgrade`, or start the server.",
                )
            ]
        return [Finding("schema", State.OK, f"at {found.head}, as this release needs it")]

    async def server() -> Sequence[Finding]:
        begun = asyncio.get_running_loop().time()
        async with connect(url) as connection:
            took = (asyncio.get_running_loop().time() - begun) * 1000
            version = cast(str, await connection.fetchval("SHOW server_version"))
            return [
                Finding("database", State.OK, f"PostgreSQL {version.split()[0]} answers in {took:.1f} ms"),
                await _clock(connection),
                await _room(connection, settings.workers),
                *await _walls(connection),
            ]

    return {"database": server, "schema": schema}


async def _clock(connection: PlainConnection) -> Finding:
    before = datetime.now(UTC)
    theirs = cast(datetime, await connection.fetchval("SELECT clock_timestamp()"))
    after = datetime.now(UTC)
    skew = (before + (after - before) / 2 - theirs).total_seconds()
    told = f"{abs(skew) * 1000:.0f} ms {'ahead of' if skew > 0 else 'behind'} the database's"
    if abs(skew) <= _SKEW_WARN_S:
        return Finding("clock", State.OK, told)
    state = State.FAIL if abs(skew) > _SKEW_FAIL_S else State.WARN
    return Finding("clock", state, told, "Keep both machines on time (NTP): expiry, budgets and reports depend on it.")


async def _room(connection: PlainConnection, workers: int) -> Finding:
    ((most, used),) = await connection.fetch(_ROOM)
    wanted = workers * _CONNECTIONS_PER_WORKER
    told = f"{used} of {most} connections are taken; {workers} workers may take {wanted}"
    if wanted > most:
        return Finding("connections", State.WARN, told, "Raise max_connections of PostgreSQL, or lower --workers.")
    return Finding("connections", State.OK, told)


async def _walls(connection: PlainConnection) -> list[Finding]:
    found: list[Finding] = []
    bypassing = [cast(str, row[0]) for row in await connection.fetch(_BYPASSING, list(_ROLES))]
    if bypassing:
        statements = " ".join(f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS;" for role in bypassing)
        detail = f"{', '.join(bypassing)} may bypass row-level security"
        found.append(Finding("tenant walls", State.FAIL, detail, f"Let a superuser run: {statements}"))
    unguarded = [cast(str, row[0]) for row in await connection.fetch(_UNGUARDED)]
    if unguarded:
        statements = " ".join(
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"
            for table in unguarded
        )
        detail = f"row-level security is off for {', '.join(unguarded)}"
        found.append(Finding("tenant walls", State.FAIL, detail, f"Run in the database: {statements}"))
    if await connection.fetchval(_SUPERUSER):
        found.append(
            Finding(
                "tenant walls",
                State.WARN,
                "the login role of the database URL is a superuser or may bypass row-level security",
                "Give Auterity a login role of its own: CREATE ROLE auterity LOGIN CREATEROLE, owner of its database.",
            )
        )
    return found or [Finding("tenant walls", State.OK, "row-level security is forced, and our roles cannot bypass it")]

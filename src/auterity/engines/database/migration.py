"""Bring a database to this program's schema, or say how far it is from it.

Several servers may start at once: the first takes an advisory lock, all steps run in its one transaction, and the
others find nothing left to do.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from auterity.engines.database.address import parse_address
from auterity.engines.database.errors import DatabaseNewerThanProgram, DatabaseUnsuitable
from auterity.engines.database.failures import translate_failures, translate_opening_failures
from auterity.engines.database.sessions import APP_ROLE, COLLECTOR_ROLE, OPERATOR_ROLE

__all__ = ["OLDEST_SERVER", "MigrationStatus", "status", "upgrade"]

OLDEST_SERVER = 15
"""The oldest major version of PostgreSQL that is supported."""

_LOCK = 0x6175746572697479 & 0x7FFFFFFFFFFFFFFF
"""Key of the advisory lock; the letters "auterity"."""
_INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How far a database is."""

    current: str | None
    """The last step applied; None for an empty database."""
    head: str
    """The last step this program knows."""
    applied: tuple[str, ...]
    """Steps that have been applied, in order."""
    pending: tuple[str, ...]
    """Steps still to apply, in order."""


async def upgrade(url: str) -> MigrationStatus:
    """Apply all pending steps, in one transaction, and return what was found before.

    Raises:
        DatabaseNewerThanProgram: a later release has migrated this database.
        DatabaseUnsuitable: the server is too old, or the login role lacks a right; the message has the SQL to run.
        DatabaseUnavailable: the server cannot be reached.
        DatabaseRefused: the server does not let us in.
    """
    async with _connection(url) as connection:
        await _require_version(connection)
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before = await connection.run_sync(_read_status)
        if before.pending:
            try:
                await connection.run_sync(_apply)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _INSUFFICIENT_PRIVILEGE:
                    raise
                raise DatabaseUnsuitable(_rights_needed(url)) from error
        return before


async def status(url: str) -> MigrationStatus:
    """Compare the database with this program; changes nothing.

    Raises:
        As :func:`upgrade`.
    """
    async with _connection(url) as connection:
        await _require_version(connection)
        return await connection.run_sync(_read_status)


@asynccontextmanager
async def _connection(url: str) -> AsyncGenerator[AsyncConnection]:
    engine = create_async_engine(parse_address(url), poolclass=NullPool)
    try:
        with translate_opening_failures():
            connection = await engine.connect()
        try:
            with translate_failures():
                async with connection.begin():
                    yield connection
        finally:
            await connection.close()
    finally:
        await engine.dispose()


async def _require_version(connection: AsyncConnection) -> None:
    version = int(await connection.scalar(text("SELECT current_setting('server_version_num')::int")))
    if version < OLDEST_SERVER * 10_000:
        raise DatabaseUnsuitable(
            f"This server is PostgreSQL {version // 10_000}; Auterity needs {OLDEST_SERVER} or later."
        )


def _read_status(connection: Connection) -> MigrationStatus:
    scripts = ScriptDirectory.from_config(_configuration(connection))
    order = [script.revision for script in scripts.walk_revisions()][::-1]
    current: str | None = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current is not None and current not in order:
        raise DatabaseNewerThanProgram(
            f"The database is at schema {current}, which this program does not know (its own is {order[-1]}): a later "
            "release of Auterity has migrated it. Start that release, or restore a backup taken before it."
        )
    done = 0 if current is None else order.index(current) + 1
    return MigrationStatus(current=current, head=order[-1], applied=tuple(order[:done]), pending=tuple(order[done:]))


def _apply(connection: Connection) -> None:
    command.upgrade(_configuration(connection), "head")


def _configuration(connection: Connection) -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    configuration.attributes["connection"] = connection
    return configuration


def _rights_needed(url: str) -> str:
    address = parse_address(url)
    login, database = address.username or "CURRENT_USER", address.database
    roles = ", ".join((APP_ROLE, OPERATOR_ROLE, COLLECTOR_ROLE))
    creates = " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in roles.split(", "))
    return (
        f'The login role "{login}" may not prepare the database. Let a superuser run, in the database "{database}": '
        f'{creates} GRANT {roles} TO "{login}"; GRANT CREATE, USAGE ON SCHEMA public TO "{login}";'
    )

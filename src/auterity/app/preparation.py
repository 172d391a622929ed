"""A process of the server's start: migrates the database and makes the first access, where that is still to do.

Where nothing is to do, as on most starts, a glance at the database tells, and the migrations' and the services' code is
not even loaded.
"""

import asyncio
import importlib
import logging
import os
import re
import sys
from pathlib import Path

import msgspec

from auterity.app import child, logs
from auterity.app.banner import FirstRun
from auterity.app.child import Launch
from auterity.app.preparing import Prepared
from auterity.engines.database import migrations
from auterity.engines.database.connection import connect
from auterity.engines.database.errors import DatabaseRefused, DatabaseUnavailable
from auterity.kit.errors import AuterityError

__all__ = ["is_ready", "main", "newest_schema"]

_PATIENCE_S = 30
"""How long a start waits for a database that is starting too, as in a group of containers."""
_STEP = re.compile(r"(\d{4})_\w+\.py")

_logger = logging.getLogger(__name__)


def newest_schema() -> str:
    """The last migration of this release, read from the files' names."""
    folder = Path(migrations.__file__ or "").with_name("versions")
    return max(found[1] for path in folder.iterdir() if (found := _STEP.fullmatch(path.name)))


async def is_ready(url: str) -> bool:
    """The schema is this release's and somebody may log in: nothing is to be prepared.

    Raises:
        DatabaseUnavailable: nothing answers.
    """
    try:
        async with connect(url, role="auterity_operator") as connection:
            if not await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
                return False
            if await connection.fetchval("SELECT version_num FROM alembic_version") != newest_schema():
                return False
            return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM users)"))
    except DatabaseRefused:
        return False  # before the first migration there is no such role


async def _prepare(launch: Launch) -> FirstRun | None:
    for left in range(_PATIENCE_S, -1, -1):
        try:
            if await is_ready(launch.database_url):
                return None
            break
        except DatabaseUnavailable as error:
            if not left:
                raise
            _logger.warning("%s Trying for another %d s.", error, left)
            await asyncio.sleep(1)
    # Loaded here, because most starts do without: together they take longer than all else in a start.
    migration = importlib.import_module("auterity.engines.database.migration")
    bootstrap = importlib.import_module("auterity.app.bootstrap")
    found = await migration.upgrade(launch.database_url)
    if found.pending:
        _logger.info("the database was brought from schema %s to %s", found.current or "(empty)", found.head)
    return await bootstrap.bootstrap(launch.settings, launch.database_url)


def main() -> None:
    """Prepare, and tell the parent on stdout."""
    launch = child.begin()
    # Only the answer may go to the parent's pipe, whatever else is printed.
    answer = os.dup(1)
    os.dup2(2, 1)
    logs.configure(launch.settings, launch.name)
    try:
        prepared = Prepared(first=asyncio.run(_prepare(launch)))
    except AuterityError as error:
        prepared = Prepared(error=error.message)
    os.write(answer, msgspec.json.encode(prepared))
    sys.exit(1 if prepared.error else 0)


if __name__ == "__main__":
    main()

"""This node's database, opened by something other than its server: a command, or the doctor."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from auterity.app.home import Home, HomeUnusable
from auterity.app.settings import Settings
from auterity.engines.database.embedded import EmbeddedPostgres

__all__ = ["database_address"]


@asynccontextmanager
async def database_address(settings: Settings) -> AsyncGenerator[str]:
    """The database's URL. The embedded one is started for as long as this lasts, unless the server has it running.

    Raises:
        HomeUnusable: there is no home folder yet.
        EmbeddedDatabaseFailed: it does not start.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    home = Home(settings.home)
    if not home.exists:
        raise HomeUnusable(
            f"There is no Auterity home at {home.path}. Start with `auterity serve` or `auterity init`, or name "
            "another folder with --home."
        )
    postgres = EmbeddedPostgres(home.postgres)
    try:
        await asyncio.to_thread(postgres.start)
        yield postgres.url
    finally:
        await asyncio.to_thread(postgres.stop)

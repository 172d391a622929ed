"""The mapped tables and the migrated schema are the same."""

import importlib
import pkgutil

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import auterity
from auterity.engines.database.tables import metadata


def _differences(connection: Connection) -> list[object]:
    # Defaults are not compared: one that only the database has does no harm.
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_the_migrated_schema_is_what_the_tables_say(database_url: str) -> None:
    for module in pkgutil.walk_packages(auterity.__path__, "auterity."):
        if module.name.endswith(".models") and not module.ispkg:
            importlib.import_module(module.name)
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        differences = await connection.run_sync(_differences)
    await engine.dispose()
    assert differences == []

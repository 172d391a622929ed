"""Alembic's entry: runs the steps on the connection that ``engines.database.migration`` hands over."""

from typing import cast

from alembic import context
from sqlalchemy import Connection

from auterity.engines.database.tables import metadata

context.configure(
    connection=cast(Connection, context.config.attributes["connection"]),
    target_metadata=metadata,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()

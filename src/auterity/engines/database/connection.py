"""A plain asyncpg connection, for what SQLAlchemy does not do: LISTEN, COPY, statements outside a transaction.

asyncpg carries no types; this is the typed view of the part that is used.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import asyncpg
from sqlalchemy import URL

from auterity.engines.database.address import connect_arguments
from auterity.engines.database.failures import translate_opening_failures

__all__ = ["PlainConnection", "connect"]


class PlainConnection(Protocol):
    """What is used of ``asyncpg.Connection``."""

    async def execute(self, query: str, *args: object) -> str: ...

    async def fetch(self, query: str, *args: object) -> Sequence[Sequence[Any]]: ...

    async def fetchval(self, query: str, *args: object) -> Any: ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str: ...

    async def add_listener(
        self, channel: str, callback: Callable[["PlainConnection", int, str, str], None]
    ) -> None: ...

    def add_termination_listener(self, callback: Callable[["PlainConnection"], None]) -> None: ...

    def is_closed(self) -> bool: ...


@asynccontextmanager
async def connect(url: str | URL, *, role: str | None = None) -> AsyncGenerator[PlainConnection]:
    """A connection for the length of a block.

    Raises:
        DatabaseUnavailable: nothing answers.
        DatabaseRefused: the server turns the login away.
    """
    settings = {"application_name": "auterity", "timezone": "UTC"}
    if role is not None:
        settings["role"] = role
    with translate_opening_failures():
        connection = await cast(Any, asyncpg).connect(**connect_arguments(url), timeout=10, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)

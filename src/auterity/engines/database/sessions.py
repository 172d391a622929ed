"""Database transactions, each in the scope of one tenant, of a key that is being looked up, or of the platform.

One use-case is one transaction: leaving the block commits, an exception rolls back, and nobody calls ``commit``.
The scope is set per transaction and enforced by row-level security (see the migrations), a second wall behind the
repositories' own conditions. The program's roles cannot bypass it.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from auterity.engines.database.address import parse_address
from auterity.engines.database.errors import DatabaseUnavailable
from auterity.engines.database.failures import translate_failures, translate_opening_failures

__all__ = ["APP_ROLE", "COLLECTOR_ROLE", "OPERATOR_ROLE", "PLAN_CHANNEL", "Database", "DatabaseUnavailable", "Scope"]

APP_ROLE = "auterity_app"
"""Sees the rows of the tenant that the transaction names, and no others."""
OPERATOR_ROLE = "auterity_operator"
"""Sees all tenants' administrative rows; for what the platform's operator does."""
COLLECTOR_ROLE = "auterity_collector"
"""Writes usage roll-ups and their manifest for all tenants; sees nothing else."""

PLAN_CHANNEL = "auterity_plan"
"""NOTIFY channel; the payload is the id of the tenant whose compiled plan is out of date, or ``*`` for all."""


class Scope:
    """A transaction and whose it is. Repositories take one."""

    def __init__(self, session: AsyncSession, tenant_id: str | None) -> None:
        self.session = session
        self._tenant_id = tenant_id

    @property
    def tenant_id(self) -> str:
        """The tenant of this transaction.

        Raises:
            LookupError: the transaction is not a tenant's.
        """
        if self._tenant_id is None:
            raise LookupError("this transaction belongs to no tenant")
        return self._tenant_id

    async def plan_changed(self, tenant_id: str | None = None) -> None:
        """Tell every worker, on commit, that the tenant's compiled plan is out of date (``*``: all tenants')."""
        await self.session.execute(
            text("SELECT pg_notify(:channel, :tenant)"),
            {"channel": PLAN_CHANNEL, "tenant": tenant_id or self.tenant_id},
        )


class Database:
    """The connection pool."""

    def __init__(self, url: str | URL, *, role: str = APP_ROLE, pool_size: int = 5, pool_timeout_s: float = 10) -> None:
        """
        Args:
            url: ``postgresql://…`` in any form that ``parse_address`` reads.
            role: the role that every connection takes on when it opens.
            pool_size: connections kept; twice as many may be open for a moment.
            pool_timeout_s: seconds to wait for a free connection.
        """
        self._engine: AsyncEngine = create_async_engine(
            parse_address(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=pool_timeout_s,
            connect_args={"server_settings": {"role": role, "application_name": "auterity", "timezone": "UTC"}},
        )

    @asynccontextmanager
    async def tenant(self, tenant_id: str) -> AsyncGenerator[Scope]:
        """A transaction that sees one tenant's rows."""
        async with self._transaction("SELECT set_config('app.tenant', :value, true)", tenant_id) as session:
            yield Scope(session, tenant_id)

    @asynccontextmanager
    async def key_lookup(self, secret_hash: bytes) -> AsyncGenerator[Scope]:
        """A transaction that sees the one virtual key whose secret has this hash, whoever owns it."""
        async with self._transaction("SELECT set_config('app.key_hash', :value, true)", secret_hash.hex()) as session:
            yield Scope(session, None)

    @asynccontextmanager
    async def user(self, user_id: str) -> AsyncGenerator[Scope]:
        """A transaction that sees one person's own memberships in all tenants."""
        async with self._transaction("SELECT set_config('app.user', :value, true)", user_id) as session:
            yield Scope(session, None)

    @asynccontextmanager
    async def platform(self) -> AsyncGenerator[Scope]:
        """A transaction of the platform's operator."""
        async with self._transaction(f"SET LOCAL ROLE {OPERATOR_ROLE}", None) as session:
            yield Scope(session, None)

    @asynccontextmanager
    async def unscoped(self) -> AsyncGenerator[Scope]:
        """A transaction in no one's scope: it sees only what row-level security does not guard."""
        async with self._transaction("SELECT 1", None) as session:
            yield Scope(session, None)

    async def ping(self) -> None:
        """Return if the database answers.

        Raises:
            DatabaseUnavailable: it does not.
        """
        async with self.unscoped():
            pass

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self, opening: str, value: str | None) -> AsyncGenerator[AsyncSession]:
        async with AsyncSession(self._engine, expire_on_commit=False, autoflush=False) as session:
            with translate_opening_failures():
                await session.execute(text(opening), {"value": value} if value is not None else {})
            with translate_failures():
                try:
                    yield session
                except BaseException:
                    await session.rollback()
                    raise
                await session.commit()

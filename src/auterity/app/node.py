"""This node's data, opened by something other than its server: a command of the operator, or the doctor."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from auterity.app.home import Home, HomeUnusable
from auterity.app.services import Services, open_services
from auterity.app.settings import Settings
from auterity.engines.database import migration
from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.errors import DatabaseUnsuitable
from auterity.platform.bootstrap import FIRST_TENANT
from auterity.platform.identity.principal import Principal

__all__ = ["DEFAULT_TENANT", "Node", "database_address", "open_node"]

DEFAULT_TENANT = FIRST_TENANT
"""The slug of the tenant that the first start makes, and that commands act in."""


@dataclass(frozen=True, slots=True)
class Node:
    """What commands work with, in the name of one tenant's operator."""

    settings: Settings
    services: Services
    actor: Principal

    @property
    def tenant_id(self) -> str:
        return self.actor.tenant_id


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


@asynccontextmanager
async def open_node(settings: Settings, tenant: str = DEFAULT_TENANT) -> AsyncGenerator[Node]:
    """The node's services, acting as the operator in a tenant named by its slug or id.

    Raises:
        HomeUnusable, EmbeddedDatabaseFailed, DatabaseUnavailable, DatabaseRefused: there is no database to work with.
        DatabaseUnsuitable: it has not been migrated.
        TenantNotFound: there is no such tenant.
        MasterKeyUnusable: there is no usable master key.
    """
    async with database_address(settings) as url:
        if (await migration.status(url)).pending:
            raise DatabaseUnsuitable("The database is behind this release. Run `auterity db upgrade` first.")
        async with open_services(settings, url) as services:
            found = await services.tenants.get(tenant)
            yield Node(settings, services, Principal("", found.id, frozenset({"owner"}), operator=True))

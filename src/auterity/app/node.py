"""This node's data, opened by something other than its server: a command of the operator, or the doctor."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import or_, select

from auterity.app.home import Home, HomeUnusable
from auterity.app.settings import Settings
from auterity.engines.database import migration
from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.errors import DatabaseUnsuitable
from auterity.engines.database.sessions import Database
from auterity.engines.database.tables import Tenant
from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import Transport
from auterity.engines.secrets.environment import VARIABLE, EnvironmentMasterKeys
from auterity.engines.secrets.file import FileMasterKeys
from auterity.engines.secrets.port import MasterKeys
from auterity.engines.secrets.sealing import Sealer
from auterity.kit.clock import Clock, SystemClock
from auterity.kit.errors import NotFound
from auterity.platform.identity.principal import Principal
from auterity.platform.keys.service import PEPPER_PURPOSE, KeyService
from auterity.platform.models.addresses import AddressPolicy
from auterity.platform.models.catalogue import Catalogue
from auterity.platform.models.credentials import ProviderCredentials
from auterity.platform.models.endpoints import CatalogueServices
from auterity.platform.models.providers import Providers
from auterity.platform.models.terms import Terms
from auterity.providers.catalogue import wires
from auterity.providers.sandbox.service import SandboxService, SandboxSettings
from auterity.providers.sandbox.transport import SandboxTransport

__all__ = ["DEFAULT_TENANT", "Node", "database_address", "master_keys", "open_node"]

DEFAULT_TENANT = "default"
"""The slug of the tenant that the first start makes, and that commands act in."""


@dataclass(frozen=True, slots=True)
class Node:
    """What commands work with, in the name of one tenant's operator."""

    settings: Settings
    database: Database
    keys: KeyService
    models: CatalogueServices
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


def master_keys(settings: Settings) -> MasterKeys:
    """What is sealed is sealed with: the variable's keys, else those in the home folder, made on first use."""
    if settings.master_key is not None:
        return EnvironmentMasterKeys({VARIABLE: settings.master_key})
    return FileMasterKeys(Home(settings.home).secrets / "master.key")


@asynccontextmanager
async def open_node(settings: Settings, tenant: str = DEFAULT_TENANT) -> AsyncGenerator[Node]:
    """The node's services, acting as the operator in a tenant named by its slug or id.

    Raises:
        HomeUnusable, EmbeddedDatabaseFailed, DatabaseUnavailable, DatabaseRefused: there is no database to work with.
        DatabaseUnsuitable: it has not been migrated.
        NotFound: there is no such tenant.
    """
    async with database_address(settings) as url:
        if (await migration.status(url)).pending:
            raise DatabaseUnsuitable("The database is behind this release. Run `auterity db upgrade` first.")
        database = Database(url, pool_size=2)
        clock = SystemClock()
        pool = HttpPool()
        try:
            actor = Principal("", await _tenant_id(database, tenant), frozenset({"owner"}), operator=True)
            sealer = Sealer(master_keys(settings))
            yield Node(
                settings=settings,
                database=database,
                keys=KeyService(database, pepper=sealer.derive(PEPPER_PURPOSE), clock=clock),
                models=_catalogue(settings, database, sealer, pool, clock),
                actor=actor,
            )
        finally:
            await pool.close()
            await database.close()


def _catalogue(
    settings: Settings, database: Database, sealer: Sealer, pool: HttpPool, clock: Clock
) -> CatalogueServices:
    kinds = wires(clock)
    sandbox = SandboxTransport(SandboxService(SandboxSettings(latency_scale=settings.sandbox_latency), clock))
    transports: dict[str, Transport] = {kind: sandbox if kind == "sandbox" else pool for kind in kinds}
    credentials = ProviderCredentials(sealer)
    addresses = AddressPolicy(allow_private=settings.allow_private_providers)
    return CatalogueServices(
        database=database,
        providers=Providers(credentials=credentials, addresses=addresses, clock=clock, kinds=kinds.keys()),
        catalogue=Catalogue(clock=clock),
        terms=Terms(clock=clock),
        credentials=credentials,
        wires=kinds,
        transports=transports,
        clock=clock,
    )


async def _tenant_id(database: Database, tenant: str) -> str:
    async with database.platform() as scope:
        found = await scope.session.scalar(select(Tenant.id).where(or_(Tenant.slug == tenant, Tenant.id == tenant)))
    if found is None:
        raise NotFound(f"There is no tenant {tenant!r}. The first start makes one; name another with --tenant.")
    return found

"""The program's services, built from the settings: the same for workers and for commands of the operator."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from auterity.app.home import Home
from auterity.app.settings import Settings
from auterity.engines.database.sessions import Database
from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import Transport
from auterity.engines.secrets.environment import VARIABLE, EnvironmentMasterKeys
from auterity.engines.secrets.file import FileMasterKeys
from auterity.engines.secrets.port import MasterKeys
from auterity.engines.secrets.sealing import Sealer
from auterity.kit.clock import Clock, SystemClock
from auterity.platform.identity.authenticator import TokenAuthenticator
from auterity.platform.identity.passwords import Passwords
from auterity.platform.identity.service import IdentityService
from auterity.platform.identity.signing import SigningKeys
from auterity.platform.identity.throttle import THROTTLE_PURPOSE, LoginThrottle
from auterity.platform.identity.tokens import AccessTokens
from auterity.platform.keys.service import PEPPER_PURPOSE, KeyService
from auterity.platform.models.addresses import AddressPolicy
from auterity.platform.models.catalogue import Catalogue
from auterity.platform.models.credentials import ProviderCredentials
from auterity.platform.models.endpoints import CatalogueServices
from auterity.platform.models.providers import Providers
from auterity.platform.models.terms import Terms
from auterity.platform.tenancy.service import TenantService
from auterity.providers.catalogue import wires
from auterity.providers.sandbox import SandboxService, SandboxSettings, SandboxTransport

__all__ = ["Services", "build_services", "master_keys", "open_services"]


@dataclass(frozen=True, slots=True)
class Services:
    """What endpoints and commands are made of."""

    database: Database
    sealer: Sealer
    key_pepper: bytes
    keys: KeyService
    tenants: TenantService
    identity: IdentityService
    signing_keys: SigningKeys
    authenticator: TokenAuthenticator
    models: CatalogueServices


def master_keys(settings: Settings) -> MasterKeys:
    """What is sealed is sealed with: the variable's keys, else those in the home folder, made on first use."""
    if settings.master_key is not None:
        return EnvironmentMasterKeys({VARIABLE: settings.master_key})
    return FileMasterKeys(Home(settings.home).secrets / "master.key")


def build_services(settings: Settings, database: Database, pool: HttpPool, clock: Clock) -> Services:
    """Build them; nothing is opened yet.

    Raises:
        MasterKeyUnusable: there is no usable master key.
    """
    sealer = Sealer(master_keys(settings))
    pepper = sealer.derive(PEPPER_PURPOSE)
    signing_keys = SigningKeys(database, sealer, clock)
    tokens = AccessTokens(signing_keys, clock)
    throttle = LoginThrottle(database, key=sealer.derive(THROTTLE_PURPOSE), clock=clock)
    return Services(
        database=database,
        sealer=sealer,
        key_pepper=pepper,
        keys=KeyService(database, pepper=pepper, clock=clock),
        tenants=TenantService(database),
        identity=IdentityService(database, passwords=Passwords(), throttle=throttle, tokens=tokens),
        signing_keys=signing_keys,
        authenticator=TokenAuthenticator(database, tokens, clock),
        models=_models(settings, database, sealer, _transports(settings, pool, clock), clock),
    )


@asynccontextmanager
async def open_services(settings: Settings, database_url: str) -> AsyncGenerator[Services]:
    """The services with connections of their own, for what is no worker: a command, or the first start.

    Raises:
        MasterKeyUnusable: there is no usable master key.
    """
    database = Database(database_url, pool_size=2)
    pool = HttpPool()
    try:
        yield build_services(settings, database, pool, SystemClock())
    finally:
        await pool.close()
        await database.close()


def _transports(settings: Settings, pool: HttpPool, clock: Clock) -> Mapping[str, Transport]:
    sandbox = SandboxTransport(SandboxService(SandboxSettings(latency_scale=settings.sandbox_latency), clock))
    return {kind: sandbox if kind == "sandbox" else pool for kind in wires(clock)}


def _models(
    settings: Settings, database: Database, sealer: Sealer, transports: Mapping[str, Transport], clock: Clock
) -> CatalogueServices:
    kinds = wires(clock)
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

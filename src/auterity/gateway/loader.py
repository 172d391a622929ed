"""Reads plans from the database for the :class:`~auterity.gateway.plan.PlanCache`: the cold path."""

from collections.abc import Mapping

from sqlalchemy import select

from auterity.engines.database.sessions import Database
from auterity.engines.database.tables import Tenant
from auterity.engines.http.port import Transport
from auterity.gateway.plan import TenantPlan
from auterity.kit.clock import Clock
from auterity.platform.keys.plan import KeyPlan
from auterity.platform.keys.service import KeyService
from auterity.platform.models.compile import compile_models
from auterity.platform.models.credentials import ProviderCredentials
from auterity.providers.contract import Wire

__all__ = ["DatabasePlanLoader"]

_ACTIVE = "active"


class DatabasePlanLoader:
    """Compiles what the packages below know of a tenant into one plan."""

    def __init__(
        self,
        database: Database,
        *,
        keys: KeyService,
        credentials: ProviderCredentials,
        wires: Mapping[str, Wire],
        transports: Mapping[str, Transport],
        clock: Clock,
    ) -> None:
        self._database = database
        self._keys = keys
        self._credentials = credentials
        self._wires = wires
        self._transports = transports
        self._clock = clock

    async def key(self, secret_hash: bytes) -> KeyPlan | None:
        """The virtual key with this hash, expired and revoked ones included."""
        return await self._keys.find_by_hash(secret_hash)

    async def tenant(self, tenant_id: str) -> TenantPlan:
        """The tenant's plan, in one transaction."""
        async with self._database.tenant(tenant_id) as scope:
            status = await scope.session.scalar(select(Tenant.status).where(Tenant.id == tenant_id))
            models = await compile_models(
                scope,
                credentials=self._credentials,
                wires=self._wires,
                transports=self._transports,
                at=self._clock.now(),
            )
        return TenantPlan(tenant_id, status != _ACTIVE, models, models.valid_until)

"""Use-cases of tenants."""

from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from auterity.engines.database.sessions import Database, Scope
from auterity.engines.database.tables import Tenant
from auterity.kit.ids import new_id
from auterity.kit.pagination import decode_cursor, encode_cursor
from auterity.platform.tenancy.errors import SlugTaken, TenantNotFound
from auterity.platform.tenancy.repository import TenantRepository
from auterity.platform.tenancy.schemas import TenantCreate, TenantPatch

__all__ = ["TenantPage", "TenantService"]


@dataclass(frozen=True, slots=True)
class TenantPage:
    """Some tenants, and where the next page begins."""

    tenants: tuple[Tenant, ...]
    next_cursor: str | None


class TenantService:
    """Each call is one transaction of the platform's operator, but for :meth:`read_self`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, wanted: TenantCreate) -> Tenant:
        """
        Raises:
            SlugTaken: another tenant has it.
        """
        async with self._database.platform() as scope:
            return await self.create_in(scope, wanted)

    async def create_in(self, scope: Scope, wanted: TenantCreate) -> Tenant:
        """As :meth:`create`, as a part of a larger use-case of the operator."""
        tenant = Tenant(id=new_id("ten"), slug=wanted.slug, name=wanted.name, settings=dict(wanted.settings))
        try:
            await TenantRepository(scope.session).add(tenant)
        except IntegrityError as error:
            raise SlugTaken(wanted.slug) from error
        return tenant

    async def list(self, *, cursor: str | None = None, limit: int = 100) -> TenantPage:
        """A page of all tenants, oldest first.

        Raises:
            InvalidRequest: the cursor is not one of this listing.
        """
        after = str(decode_cursor(cursor, 1)[0]) if cursor else None
        async with self._database.platform() as scope:
            found = await TenantRepository(scope.session).page(after=after, limit=limit + 1)
        tenants = tuple(found[:limit])
        return TenantPage(tenants, encode_cursor([tenants[-1].id]) if len(found) > limit else None)

    async def get(self, id_or_slug: str) -> Tenant:
        """
        Raises:
            TenantNotFound: there is none of this id or slug.
        """
        async with self._database.platform() as scope:
            return await _required(scope, id_or_slug)

    async def read_self(self, tenant_id: str) -> Tenant:
        """A tenant, as it sees itself; what the plan compiler asks.

        Raises:
            TenantNotFound: it has been removed.
        """
        async with self._database.tenant(tenant_id) as scope:
            return await _required(scope, tenant_id)

    async def update(self, tenant_id: str, patch: TenantPatch) -> Tenant:
        """Change what the patch names, and tell all workers.

        Raises:
            TenantNotFound: there is none.
        """
        async with self._database.platform() as scope:
            tenant = await _required(scope, tenant_id)
            for name in patch.model_fields_set:
                setattr(tenant, name, getattr(patch, name))
            await scope.session.flush()
            await scope.plan_changed(tenant.id)
            return tenant


async def _required(scope: Scope, id_or_slug: str) -> Tenant:
    tenant = await TenantRepository(scope.session).get(id_or_slug)
    if tenant is None:
        raise TenantNotFound(id_or_slug)
    return tenant

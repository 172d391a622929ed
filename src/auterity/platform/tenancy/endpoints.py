"""Tenants in the management API: the operator makes and lists them, a tenant reads and names itself."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import TypeAdapter

from auterity.engines.database.tables import Tenant
from auterity.kit.pagination import MAX_PAGE_SIZE
from auterity.kit.schemas import Page
from auterity.platform.identity.guard import Requires
from auterity.platform.identity.principal import Principal
from auterity.platform.tenancy.errors import StatusForbidden, TenantNotFound
from auterity.platform.tenancy.schemas import TenantCreate, TenantOut, TenantPatch, TenantStatus
from auterity.platform.tenancy.service import TenantService

__all__ = ["router", "tenant_out"]

_Creator = Annotated[Principal, Depends(Requires("tenants.create"))]
_Lister = Annotated[Principal, Depends(Requires("tenants.list"))]
_Reader = Annotated[Principal, Depends(Requires("tenants.read"))]
_Changer = Annotated[Principal, Depends(Requires("tenants.update"))]

_STATUS = TypeAdapter[TenantStatus](TenantStatus)


def router(service: TenantService) -> APIRouter:
    """The routes under ``/tenants``."""
    routes = APIRouter(prefix="/tenants", tags=["tenants"])

    @routes.post("", status_code=201, name="create")
    async def create(wanted: TenantCreate, _: _Creator) -> TenantOut:
        """Make a tenant. For the platform's operator."""
        return tenant_out(await service.create(wanted))

    @routes.get("", name="list")
    async def page(
        _: _Lister, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = 100
    ) -> Page[TenantOut]:
        """All tenants, oldest first. For the platform's operator."""
        found = await service.list(cursor=cursor, limit=limit)
        return Page[TenantOut](items=[tenant_out(tenant) for tenant in found.tenants], next_cursor=found.next_cursor)

    @routes.get("/{tenant_id}", name="get")
    async def get(tenant_id: str, actor: _Reader) -> TenantOut:
        """Your own tenant; the operator reads any."""
        if actor.operator:
            return tenant_out(await service.get(tenant_id))
        return tenant_out(await service.read_self(_own(actor, tenant_id)))

    @routes.patch("/{tenant_id}", name="update")
    async def update(tenant_id: str, patch: TenantPatch, actor: _Changer) -> TenantOut:
        """Change your own tenant's name and settings; the operator changes any, and its status too."""
        if not actor.operator:
            _own(actor, tenant_id)
            if patch.status is not None:
                raise StatusForbidden
        return tenant_out(await service.update(tenant_id, patch))

    return routes


def tenant_out(tenant: Tenant) -> TenantOut:
    """A tenant as the API shows it."""
    return TenantOut(
        id=tenant.id,
        slug=tenant.slug,
        name=tenant.name,
        status=_STATUS.validate_python(tenant.status),
        settings=tenant.settings,
        created_at=tenant.created_at,
    )


def _own(actor: Principal, tenant_id: str) -> str:
    """That others exist is not told."""
    if tenant_id != actor.tenant_id:
        raise TenantNotFound(tenant_id)
    return tenant_id

"""Virtual keys in the management API."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from auterity.kit.money import format_dollars
from auterity.kit.pagination import MAX_PAGE_SIZE
from auterity.kit.schemas import Page
from auterity.platform.identity.guard import Requires
from auterity.platform.identity.principal import Principal
from auterity.platform.keys.models import VirtualKey
from auterity.platform.keys.schemas import KeyCreate, KeyOut, KeyPatch, KeyWithSecret, RotationRequest, SecretOut
from auterity.platform.keys.service import KeyService, NewKey

__all__ = ["key_out", "router"]

_Creator = Annotated[Principal, Depends(Requires("keys.create"))]
_Reader = Annotated[Principal, Depends(Requires("keys.read"))]
_Changer = Annotated[Principal, Depends(Requires("keys.update"))]
_Rotator = Annotated[Principal, Depends(Requires("keys.rotate"))]
_Revoker = Annotated[Principal, Depends(Requires("keys.revoke"))]


def router(service: KeyService) -> APIRouter:
    """The routes under ``/keys``, of the principal's tenant."""
    routes = APIRouter(prefix="/keys", tags=["keys"])

    @routes.post("", status_code=201, name="create")
    async def create(wanted: KeyCreate, actor: _Creator) -> KeyWithSecret:
        """Make a key. Its secret is in this answer and nowhere else."""
        return _with_secret(await service.create(actor.tenant_id, wanted))

    @routes.get("", name="list")
    async def page(
        actor: _Reader,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = 100,
    ) -> Page[KeyOut]:
        """The tenant's keys, revoked ones too, oldest first."""
        found = await service.list(actor.tenant_id, cursor=cursor, limit=limit)
        return Page[KeyOut](items=[key_out(key) for key in found.keys], next_cursor=found.next_cursor)

    @routes.get("/{key_id}", name="get")
    async def get(key_id: str, actor: _Reader) -> KeyOut:
        """One key."""
        return key_out(await service.get(actor.tenant_id, key_id))

    @routes.patch("/{key_id}", name="update")
    async def update(key_id: str, patch: KeyPatch, actor: _Changer) -> KeyOut:
        """Change what is given; null takes a limit away."""
        return key_out(await service.update(actor.tenant_id, key_id, patch))

    @routes.post("/{key_id}/rotate", name="rotate")
    async def rotate(key_id: str, wanted: RotationRequest, actor: _Rotator) -> KeyWithSecret:
        """Give the key a new secret; the old one works until the grace ends."""
        return _with_secret(await service.rotate(actor.tenant_id, key_id, grace_s=wanted.grace_s))

    @routes.post("/{key_id}/revoke", name="revoke")
    async def revoke(key_id: str, actor: _Revoker) -> KeyOut:
        """Stop the key for good."""
        return key_out(await service.revoke(actor.tenant_id, key_id))

    return routes


def key_out(key: VirtualKey) -> KeyOut:
    """A key as the API shows it."""
    return KeyOut(
        id=key.id,
        name=key.name,
        user_id=key.user_id,
        allowed_models=key.allowed_models,
        requests_per_minute=key.requests_per_minute,
        monthly_budget_usd=_dollars(key.monthly_budget_nano),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        tags=key.tags,
        last_used_at=key.last_used_at,
        created_at=key.created_at,
        secrets=[SecretOut(hint=secret.hint, expires_at=secret.expires_at) for secret in key.secrets],
    )


def _dollars(nano: int | None) -> Decimal | None:
    """Without trailing zeros: ``25``, not ``25.000000000``."""
    return None if nano is None else Decimal(format_dollars(nano))


def _with_secret(made: NewKey) -> KeyWithSecret:
    return KeyWithSecret(**key_out(made.key).model_dump(), secret=made.secret)

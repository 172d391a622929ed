"""Login, oneself, and the public keys that verify access tokens."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from auterity.platform.identity.guard import Authenticated
from auterity.platform.identity.principal import Principal
from auterity.platform.identity.schemas import LoginRequest, LoginResponse, MembershipOut, Person, PublicKey, PublicKeys
from auterity.platform.identity.service import IdentityService
from auterity.platform.identity.signing import SigningKeys
from auterity.platform.identity.tokens import LIFETIME

__all__ = ["router"]


def router(service: IdentityService, keys: SigningKeys) -> APIRouter:
    """The routes under ``/auth``."""
    routes = APIRouter(prefix="/auth", tags=["auth"])

    @routes.post("/login", name="login")
    async def login(credentials: LoginRequest, request: Request) -> LoginResponse:
        """Exchange e-mail address and password for an access token."""
        made = await service.login(
            credentials.email,
            credentials.password.get_secret_value(),
            address=request.client.host if request.client else "",
            tenant_id=credentials.tenant_id,
        )
        return LoginResponse(
            access_token=made.token.text,
            expires_in=int(LIFETIME.total_seconds()),
            tenant_id=made.principal.tenant_id,
        )

    @routes.get("/me", name="me")
    async def me(actor: Annotated[Principal, Depends(Authenticated())]) -> Person:
        """Who you are, as far as this access token goes."""
        found = await service.me(actor)
        return Person(
            id=found.user.id,
            email=found.user.email,
            name=found.user.name,
            operator=found.user.operator,
            created_at=found.user.created_at,
            tenant_id=actor.tenant_id,
            roles=sorted(actor.roles),
            memberships=[
                MembershipOut(tenant_id=membership.tenant_id, roles=membership.roles)
                for membership in found.memberships
            ],
        )

    @routes.get("/jwks.json", name="jwks")
    async def jwks() -> PublicKeys:
        """The public keys that verify access tokens, as a JSON Web Key Set."""
        return PublicKeys(keys=[PublicKey(kid=key_id, x=x) for key_id, x in (await keys.public()).items()])

    return routes

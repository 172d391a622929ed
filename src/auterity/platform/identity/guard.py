"""Every management endpoint declares its action: ``Annotated[Principal, Depends(Requires("keys.create"))]``."""

from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from auterity.kit.errors import Forbidden
from auterity.platform.identity.principal import Principal
from auterity.platform.identity.roles import allows

__all__ = ["Authenticated", "Authenticator", "Requires"]


class Authenticator(Protocol):
    """Turns an ``Authorization`` header into a principal."""

    async def principal(self, authorization: str | None) -> Principal:
        """
        Raises:
            Unauthenticated: the header is missing, or the token is expired or not ours.
        """
        ...


_Shown = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(
        HTTPBearer(auto_error=False, bearerFormat="JWT", description="The access token of POST /api/v1/auth/login.")
    ),
]
"""Says in the OpenAPI document that a token is needed; reading it is the authenticator's."""


class Authenticated:
    """A FastAPI dependency that lets every principal through; for what concerns nobody but the actor."""

    async def __call__(self, request: Request, _shown: _Shown = None) -> Principal:
        authenticator: Authenticator = request.app.state.authenticator
        return await authenticator.principal(request.headers.get("authorization"))


class Requires(Authenticated):
    """A FastAPI dependency that lets a principal through who may do ``action``."""

    def __init__(self, action: str) -> None:
        self.action = action

    async def __call__(self, request: Request, _shown: _Shown = None) -> Principal:
        principal = await super().__call__(request)
        if not allows(principal, self.action):
            raise Forbidden(f"Your roles do not allow {self.action}; ask an administrator of your tenant.")
        return principal

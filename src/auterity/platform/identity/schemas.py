"""Shapes of identity in the management API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from auterity.kit.schemas import Schema

__all__ = ["Email", "LoginRequest", "LoginResponse", "MembershipOut", "Person", "PublicKey", "PublicKeys"]

Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$"),
    AfterValidator(str.lower),
]
"""Kept in lower case; whether mail arrives there is not for a pattern to say."""


class LoginRequest(Schema):
    """Credentials."""

    email: Email
    password: SecretStr = Field(max_length=1024)
    tenant_id: str | None = Field(default=None, max_length=64, description="For members of several; else the oldest.")


class LoginResponse(Schema):
    """An access token (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a scheme, no secret
    expires_in: int = Field(description="Seconds.")
    tenant_id: str


class MembershipOut(Schema):
    """A tenant one belongs to."""

    tenant_id: str
    roles: list[str]


class PublicKey(Schema):
    """A JSON Web Key (RFC 8037)."""

    kid: str
    x: str
    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    alg: Literal["Ed25519"] = "Ed25519"
    use: Literal["sig"] = "sig"


class PublicKeys(Schema):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[PublicKey]


class Person(Schema):
    """Who you are."""

    id: str
    email: str
    name: str
    operator: bool
    created_at: datetime
    tenant_id: str = Field(description="The tenant of this access token.")
    roles: list[str] = Field(description="Your roles in it.")
    memberships: list[MembershipOut]

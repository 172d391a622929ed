"""Access tokens: JWTs (RFC 9068) signed with Ed25519 (RFC 9864) that last an hour."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError

from auterity.kit.clock import Clock
from auterity.kit.ids import new_id
from auterity.platform.identity.errors import TokenRefused
from auterity.platform.identity.principal import Principal
from auterity.platform.identity.signing import SigningKeys

__all__ = ["AUDIENCE", "ISSUER", "LIFETIME", "AccessToken", "AccessTokens"]

ISSUER = "auterity"
AUDIENCE = "auterity-api"
LIFETIME = timedelta(hours=1)

_ALGORITHM = "Ed25519"
_TYPE = "at+jwt"
_SKEW_S = 60
"""Clocks of two nodes may differ by this much."""
_LONGEST = 4096


class _Header(msgspec.Struct, frozen=True):
    alg: str
    typ: str
    kid: str


class _Claims(msgspec.Struct, frozen=True):
    """All claims are required; one of another type refuses the token."""

    iss: str
    aud: str
    sub: str
    tenant: str
    roles: list[str]
    operator: bool
    iat: int
    exp: int
    jti: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and when it ends."""

    text: str
    expires_at: datetime


class AccessTokens:
    """Issues and verifies."""

    def __init__(self, keys: SigningKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def issue(self, principal: Principal) -> AccessToken:
        """A token that says who acts, for which tenant and in which roles."""
        key = await self._keys.signing()
        issued = int(self._clock.now().timestamp())
        expires = issued + int(LIFETIME.total_seconds())
        claims = _Claims(
            iss=ISSUER,
            aud=AUDIENCE,
            sub=principal.user_id,
            tenant=principal.tenant_id,
            roles=sorted(principal.roles),
            operator=principal.operator,
            iat=issued,
            exp=expires,
            jti=new_id("tok"),
        )
        header = {"alg": _ALGORITHM, "typ": _TYPE, "kid": cast(str, key.kid)}
        text = jwt.encode(header, msgspec.to_builtins(claims), key, algorithms=[_ALGORITHM])
        return AccessToken(text, datetime.fromtimestamp(expires, UTC))

    async def verify(self, token: str) -> Principal:
        """Who the token speaks for. Only our own algorithm, type, issuer and audience are taken.

        Raises:
            TokenRefused: it is not one of ours, or its time is over.
        """
        if len(token) > _LONGEST:
            raise TokenRefused("The access token is not valid.")
        try:
            # The header is read for the key's id alone; the algorithm is fixed below, whatever the header says.
            header = msgspec.convert(jws.extract_compact(token.encode()).headers(), _Header)
            if header.alg != _ALGORITHM or header.typ != _TYPE:
                raise TokenRefused("The access token is not valid.")
            key = await self._keys.verifying(header.kid)
            if key is None:
                raise TokenRefused("The access token is not valid.")
            claims = msgspec.convert(jwt.decode(token, key, algorithms=[_ALGORITHM]).claims, _Claims)
        except (JoseError, ValueError, msgspec.ValidationError) as error:
            raise TokenRefused("The access token is not valid.") from error
        now = self._clock.now().timestamp()
        if claims.iss != ISSUER or claims.aud != AUDIENCE or claims.iat > now + _SKEW_S:
            raise TokenRefused("The access token is not valid.")
        if claims.exp <= now:
            raise TokenRefused("The access token has expired.")
        return Principal(claims.sub, claims.tenant, frozenset(claims.roles), claims.operator)

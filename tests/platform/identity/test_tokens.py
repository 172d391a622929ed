"""Access tokens: only ours are taken, only for their time, only while the membership lasts."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from fastapi import APIRouter
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey
from sqlalchemy import text

from auterity.engines.database.sessions import Database
from auterity.engines.secrets.errors import SealBroken
from auterity.kit.clock import ManualClock
from auterity.platform.identity.authenticator import TokenAuthenticator
from auterity.platform.identity.endpoints import router
from auterity.platform.identity.errors import TokenRefused
from auterity.platform.identity.principal import Principal
from auterity.platform.identity.service import IdentityService
from auterity.platform.identity.signing import SigningKeys
from auterity.platform.identity.tokens import LIFETIME, AccessTokens


@pytest_asyncio.fixture
async def member(people: IdentityService, tenant_id: str) -> Principal:
    user = await people.create_user("ann@acme.example", "pw", tenant_id=tenant_id, roles=["developer"])
    return Principal(user.id, tenant_id, frozenset({"developer"}))


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _read(token: str, part: int) -> dict[str, Any]:
    written = token.split(".")[part]
    return json.loads(base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)))


async def _signed(signing_keys: SigningKeys, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token with our own signature, whatever it says."""
    key = await signing_keys.signing()
    return jwt.encode(
        {"alg": "Ed25519", "typ": "at+jwt", "kid": key.kid, **header}, claims, key, algorithms=["Ed25519"]
    )


async def test_a_token_carries_its_claims(tokens: AccessTokens, identity_clock: ManualClock, tenant_id: str) -> None:
    principal = Principal("usr_1", tenant_id, frozenset({"viewer", "finance"}), operator=True)
    token = await tokens.issue(principal)
    issued = int(identity_clock.now().timestamp())
    claims = _read(token.text, 1)
    assert claims.pop("jti").startswith("tok_")
    assert claims == {
        "iss": "auterity",
        "aud": "auterity-api",
        "sub": "usr_1",
        "tenant": tenant_id,
        "roles": ["finance", "viewer"],
        "operator": True,
        "iat": issued,
        "exp": issued + 3600,
    }
    assert await tokens.verify(token.text) == principal


async def test_a_token_lasts_an_hour(tokens: AccessTokens, identity_clock: ManualClock, tenant_id: str) -> None:
    token = (await tokens.issue(Principal("usr_1", tenant_id, frozenset()))).text
    identity_clock.advance(LIFETIME - timedelta(seconds=1))
    await tokens.verify(token)
    identity_clock.advance(timedelta(seconds=1))
    with pytest.raises(TokenRefused, match="expired"):
        await tokens.verify(token)


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({}, {"aud": "another"}),
        ({}, {"aud": ["auterity-api", "another"]}),
        ({}, {"iss": "another"}),
        ({}, {"iat": 2_000_000_000, "exp": 2_000_003_600}),
        ({}, {"exp": None}),
        ({}, {"exp": "never"}),
        ({}, {"operator": "true"}),
        ({}, {"operator": None}),
        ({}, {"roles": "owner"}),
        ({"typ": "JWT"}, {}),
        ({"kid": "jwk_unknown"}, {}),
    ],
)
async def test_a_token_that_was_not_meant_for_us_is_refused_even_with_our_signature(
    tokens: AccessTokens, signing_keys: SigningKeys, tenant_id: str, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    good = _read((await tokens.issue(Principal("usr_1", tenant_id, frozenset()))).text, 1)
    await tokens.verify(await _signed(signing_keys, {}, good))
    changed = {name: value for name, value in {**good, **claims}.items() if value is not None}
    with pytest.raises(TokenRefused):
        await tokens.verify(await _signed(signing_keys, header, changed))


async def test_no_other_signature_is_taken(tokens: AccessTokens, signing_keys: SigningKeys, tenant_id: str) -> None:
    token = (await tokens.issue(Principal("usr_1", tenant_id, frozenset()))).text
    header, claims = _read(token, 0), _read(token, 1)
    head, body, signature = token.split(".")
    key = await signing_keys.signing()
    public = str(key.as_dict(private=False)["x"])
    forger = OKPKey.generate_key("Ed25519", {"kid": header["kid"]})
    hmac_header = {**header, "alg": "HS256"}
    forged = [
        f"{_part({**header, 'alg': 'none'})}.{body}.",
        f"{_part({**header, 'alg': 'none'})}.{body}.{signature}",
        f"{_part({'alg': 'none', 'typ': 'at+jwt'})}.{body}.",
        # The public key taken for a shared secret.
        jwt.encode(hmac_header, claims, OctKey.import_key(public), algorithms=["HS256"]),
        jwt.encode(header, claims, forger, algorithms=["Ed25519"]),
        # Keys that the token brings along.
        jwt.encode({**header, "jwk": forger.as_dict(private=False)}, claims, forger, algorithms=["Ed25519"]),
        f"{head}.{_part({**claims, 'operator': True})}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature}.{signature}",
        f"{_part({**header, 'crit': ['exp']})}.{body}.{signature}",
        "",
        "a.b.c",
        "ak-" + "x" * 46,
        "é" * 10,
        token + "x" * 5000,
    ]
    for forgery in forged:
        with pytest.raises(TokenRefused):
            await tokens.verify(forgery)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b.c", "\x00"])
async def test_a_header_without_a_token_is_refused(
    authenticator: TokenAuthenticator, authorization: str | None
) -> None:
    with pytest.raises(TokenRefused):
        await authenticator.principal(authorization)


async def test_who_loses_the_membership_or_a_role_loses_the_access_within_a_minute(
    member: Principal,
    tokens: AccessTokens,
    authenticator: TokenAuthenticator,
    identity_clock: ManualClock,
    database: Database,
) -> None:
    authorization = f"bearer {(await tokens.issue(member)).text}"
    assert await authenticator.principal(authorization) == member
    async with database.platform() as scope:
        await scope.session.execute(text("UPDATE memberships SET roles = '{viewer}'"))
    assert (await authenticator.principal(authorization)).roles == {"developer"}
    identity_clock.advance(timedelta(seconds=60))
    assert (await authenticator.principal(authorization)).roles == {"viewer"}
    async with database.platform() as scope:
        await scope.session.execute(text("DELETE FROM memberships"))
    identity_clock.advance(timedelta(seconds=60))
    with pytest.raises(TokenRefused, match="no longer a member"):
        await authenticator.principal(authorization)


async def test_a_token_never_gives_more_than_the_membership(
    member: Principal, tokens: AccessTokens, authenticator: TokenAuthenticator
) -> None:
    token = await tokens.issue(Principal(member.user_id, member.tenant_id, frozenset({"owner"}), operator=True))
    assert await authenticator.principal(f"Bearer {token.text}") == member


async def test_another_worker_takes_our_tokens_and_those_of_a_key_made_later(
    tokens: AccessTokens,
    signing_keys: SigningKeys,
    identity_clock: ManualClock,
    make_signing_keys: Callable[[], SigningKeys],
) -> None:
    other = AccessTokens(make_signing_keys(), identity_clock)
    principal = Principal("usr_1", "ten_1", frozenset())
    assert await other.verify((await tokens.issue(principal)).text) == principal
    old = (await tokens.issue(principal)).text
    identity_clock.advance(timedelta(seconds=10))
    await signing_keys.rotate()
    new = (await tokens.issue(principal)).text
    assert _read(new, 0)["kid"] != _read(old, 0)["kid"]
    for token in (old, new):
        assert await other.verify(token) == principal
        assert await tokens.verify(token) == principal


async def test_signing_keys_are_sealed_and_their_public_parts_are_published(
    people: IdentityService,
    signing_keys: SigningKeys,
    make_signing_keys: Callable[[], SigningKeys],
    database: Database,
    api_client: Callable[[APIRouter], httpx2.AsyncClient],
) -> None:
    client = api_client(router(people, signing_keys))
    published = (await client.get("/auth/jwks.json")).json()
    assert [set(key) for key in published["keys"]] == [{"kty", "crv", "x", "kid", "use", "alg"}]
    key = await signing_keys.signing()
    private = base64.urlsafe_b64decode(str(key.as_dict(private=True)["d"]) + "=")
    async with database.platform() as scope:
        sealed = await scope.session.scalar(text("SELECT sealed_private_key FROM signing_keys"))
        assert private not in sealed
        await scope.session.execute(text("UPDATE signing_keys SET sealed_private_key = '\\x01' || sealed_private_key"))
    with pytest.raises(SealBroken):
        await make_signing_keys().signing()

"""Logging in: right credentials give a token, all wrong ones look alike, and guessing is slowed."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter
from sqlalchemy import text

from auterity.engines.database.sessions import Database
from auterity.kit.clock import ManualClock
from auterity.platform.identity.endpoints import router
from auterity.platform.identity.errors import EmailTaken, LoginFailed, NoTenant, TooManyLogins, UserNotFound
from auterity.platform.identity.passwords import Passwords
from auterity.platform.identity.service import IdentityService
from auterity.platform.identity.signing import SigningKeys
from auterity.platform.identity.throttle import MOST_PER_ACCOUNT, MOST_PER_ADDRESS, WINDOW, LoginThrottle

_PASSWORD = "correct horse battery staple"


@pytest.fixture
def client(
    people: IdentityService, signing_keys: SigningKeys, api_client: Callable[[APIRouter], httpx2.AsyncClient]
) -> httpx2.AsyncClient:
    return api_client(router(people, signing_keys))


async def _ann(people: IdentityService, tenant_id: str) -> str:
    user = await people.create_user("Ann@Acme.example", _PASSWORD, tenant_id=tenant_id, roles=["developer"])
    return user.id


async def test_the_right_password_gives_a_token_that_says_who_one_is(
    people: IdentityService, tenant_id: str, client: httpx2.AsyncClient
) -> None:
    user_id = await _ann(people, tenant_id)
    answer = await client.post("/auth/login", json={"email": " ANN@acme.example", "password": _PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 3600
    token = answer.json()["access_token"]
    me = await client.get("/auth/me", headers={"authorization": f"Bearer {token}"})
    assert me.status_code == 200
    said = me.json()
    del said["created_at"]
    assert said == {
        "id": user_id,
        "email": "ann@acme.example",
        "name": "",
        "operator": False,
        "tenant_id": tenant_id,
        "roles": ["developer"],
        "memberships": [{"tenant_id": tenant_id, "roles": ["developer"]}],
    }


async def test_an_unknown_person_and_a_wrong_password_look_alike(
    people: IdentityService, tenant_id: str, client: httpx2.AsyncClient
) -> None:
    await _ann(people, tenant_id)
    bodies: list[dict[str, Any]] = []
    for email in ("ann@acme.example", "nobody@acme.example"):
        answer = await client.post("/auth/login", json={"email": email, "password": "wrong"})
        assert answer.status_code == 401
        bodies.append({name: value for name, value in answer.json().items() if name != "request_id"})
    assert bodies[0] == bodies[1]
    assert bodies[0]["code"] == "login_failed"


async def test_an_unknown_person_costs_as_much_work_as_a_wrong_password(passwords: Passwords) -> None:
    stored = await passwords.hash("right")

    async def shortest(hashed: str | None) -> float:
        times: list[float] = []
        for _ in range(5):
            start = time.perf_counter()
            assert await passwords.verify(hashed, "wrong") is False
            times.append(time.perf_counter() - start)
        return min(times)

    known, unknown = await shortest(stored), await shortest(None)
    assert 0.3 < unknown / known < 3


async def test_a_person_without_a_password_cannot_log_in(
    people: IdentityService, database: Database, tenant_id: str
) -> None:
    await _ann(people, tenant_id)
    async with database.platform() as scope:
        await scope.session.execute(text("UPDATE users SET password_hash = NULL"))
    for password in ("", _PASSWORD):
        with pytest.raises(LoginFailed):
            await people.login("ann@acme.example", password, address="192.0.2.1")


async def test_a_member_of_several_tenants_chooses_and_a_stranger_is_turned_away(
    people: IdentityService, database: Database, tenant_id: str, other_tenant_id: str
) -> None:
    user_id = await _ann(people, tenant_id)

    async def login(tenant: str | None) -> str:
        made = await people.login("ann@acme.example", _PASSWORD, address="192.0.2.1", tenant_id=tenant)
        return made.principal.tenant_id

    with pytest.raises(NoTenant):
        await login(other_tenant_id)
    async with database.platform() as scope:
        await scope.session.execute(
            text("INSERT INTO memberships (tenant_id, user_id, roles) VALUES (:t, :u, '{viewer}')"),
            {"t": other_tenant_id, "u": user_id},
        )
    assert await login(None) == tenant_id
    assert await login(other_tenant_id) == other_tenant_id


async def test_an_address_belongs_to_one_person(people: IdentityService, tenant_id: str) -> None:
    await _ann(people, tenant_id)
    with pytest.raises(EmailTaken):
        await _ann(people, tenant_id)


async def test_a_password_can_be_replaced(people: IdentityService, tenant_id: str) -> None:
    await _ann(people, tenant_id)
    await people.set_password("ANN@acme.example", "another")
    with pytest.raises(LoginFailed):
        await people.login("ann@acme.example", _PASSWORD, address="192.0.2.1")
    await people.login("ann@acme.example", "another", address="192.0.2.1")
    with pytest.raises(UserNotFound):
        await people.set_password("nobody@acme.example", "x")


async def test_the_application_cannot_read_password_hashes(
    people: IdentityService, database: Database, tenant_id: str
) -> None:
    await _ann(people, tenant_id)
    async with database.tenant(tenant_id) as scope:
        granted = await scope.session.scalar(text("SELECT has_column_privilege('users', 'password_hash', 'SELECT')"))
        assert granted is False
        assert await scope.session.scalar(text("SELECT email FROM users")) == "ann@acme.example"


async def test_colleagues_see_each_other_and_strangers_do_not(
    people: IdentityService, database: Database, tenant_id: str, other_tenant_id: str
) -> None:
    await _ann(people, tenant_id)
    async with database.tenant(other_tenant_id) as scope:
        assert await scope.session.scalar(text("SELECT count(id) FROM users")) == 0
    async with database.unscoped() as scope:
        assert await scope.session.scalar(text("SELECT count(id) FROM users")) == 0
        assert await scope.session.scalar(text("SELECT count(*) FROM memberships")) == 0


async def test_after_ten_attempts_an_account_waits_a_quarter_of_an_hour(
    people: IdentityService,
    throttle: LoginThrottle,
    identity_clock: ManualClock,
    tenant_id: str,
    client: httpx2.AsyncClient,
) -> None:
    await _ann(people, tenant_id)
    wrong = {"email": "ann@acme.example", "password": "wrong"}
    right = {"email": "ann@acme.example", "password": _PASSWORD}
    assert (await client.post("/auth/login", json=wrong)).status_code == 401
    for _ in range(MOST_PER_ACCOUNT - 1):
        await throttle.admit("ann@acme.example", "192.0.2.1")
    identity_clock.advance(timedelta(minutes=5))
    refused = await client.post("/auth/login", json=right)
    assert refused.status_code == 429
    assert refused.json()["code"] == "too_many_logins"
    assert refused.headers["retry-after"] == "600"
    identity_clock.advance(timedelta(minutes=10))
    assert (await client.post("/auth/login", json=right)).status_code == 200


async def test_a_login_that_succeeds_clears_its_account(
    people: IdentityService, throttle: LoginThrottle, tenant_id: str
) -> None:
    await _ann(people, tenant_id)
    for _ in range(2):
        for _ in range(MOST_PER_ACCOUNT - 1):
            await throttle.admit("ann@acme.example", "192.0.2.1")
        await people.login("ann@acme.example", _PASSWORD, address="192.0.2.1")


async def test_guesses_that_are_made_at_once_are_all_counted(throttle: LoginThrottle) -> None:
    attempts = (throttle.admit("ann@acme.example", f"192.0.2.{number}") for number in range(MOST_PER_ACCOUNT * 2))
    refused = [error for error in await asyncio.gather(*attempts, return_exceptions=True) if error is not None]
    assert len(refused) == MOST_PER_ACCOUNT
    assert all(isinstance(error, TooManyLogins) for error in refused)


async def test_one_address_cannot_try_many_accounts(
    throttle: LoginThrottle, identity_clock: ManualClock, database: Database
) -> None:
    for number in range(MOST_PER_ADDRESS):
        await throttle.admit(f"user{number}@acme.example", "192.0.2.7")
    with pytest.raises(TooManyLogins):
        await throttle.admit("fresh@acme.example", "192.0.2.7")
    await throttle.admit("fresh@acme.example", "192.0.2.8")
    async with database.platform() as scope:
        assert "acme" not in str((await scope.session.execute(text("SELECT subject::text FROM login_attempts"))).all())
    identity_clock.advance(WINDOW)
    await throttle.admit("user1@acme.example", "192.0.2.7")
    await throttle.admit("user2@acme.example", "192.0.2.7")
    async with database.platform() as scope:
        assert await scope.session.scalar(text("SELECT count(*) FROM login_attempts")) < 10


@pytest.mark.parametrize(
    "credentials",
    [
        {"email": "no address", "password": "x"},
        {"email": "a@b.example"},
        {"email": "a@b.example", "password": "x" * 1025},
        {"email": "a@b.example", "password": "x", "unknown": 1},
        {"email": "\x00@b.example", "password": "x"},
    ],
)
async def test_malformed_credentials_are_refused_and_not_repeated(
    client: httpx2.AsyncClient, credentials: dict[str, object]
) -> None:
    answer = await client.post("/auth/login", json=credentials)
    assert answer.status_code == 422
    assert "x" * 1025 not in answer.text

"""Virtual keys over HTTP: who may, what is shown, and that a secret is shown once."""

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import APIRouter

from auterity.engines.database.sessions import Database
from auterity.kit.clock import SystemClock
from auterity.platform.keys.endpoints import router
from auterity.platform.keys.secret import is_well_formed
from auterity.platform.keys.service import KeyService

Authorization = Callable[..., Awaitable[dict[str, str]]]


@pytest.fixture
def client(database: Database, api_client: Callable[[APIRouter], httpx2.AsyncClient]) -> httpx2.AsyncClient:
    return api_client(router(KeyService(database, pepper=b"p" * 32, clock=SystemClock())))


async def test_the_life_of_a_key(client: httpx2.AsyncClient, tenant_id: str, authorization_of: Authorization) -> None:
    client.headers.update(await authorization_of(tenant_id, "developer"))
    wanted = {"name": "app", "monthly_budget_usd": "25", "allowed_models": ["fast"], "tags": {"team": "search"}}
    made = await client.post("/keys", json=wanted)
    assert made.status_code == 201
    secret, key_id = made.json()["secret"], made.json()["id"]
    assert is_well_formed(secret)
    assert made.json()["monthly_budget_usd"] == "25"

    shown = await client.get(f"/keys/{key_id}")
    assert secret not in shown.text
    assert shown.json()["secrets"] == [{"hint": secret[-4:], "expires_at": None}]
    assert {name: shown.json()[name] for name in wanted} == wanted

    changed = await client.patch(f"/keys/{key_id}", json={"monthly_budget_usd": None, "requests_per_minute": 9})
    assert (changed.json()["monthly_budget_usd"], changed.json()["requests_per_minute"]) == (None, 9)

    rotated = await client.post(f"/keys/{key_id}/rotate", json={"grace_s": 60})
    assert rotated.json()["secret"] != secret
    assert [each["expires_at"] is None for each in rotated.json()["secrets"]] == [True, False]

    assert (await client.post(f"/keys/{key_id}/revoke")).json()["revoked_at"] is not None
    assert (await client.post(f"/keys/{key_id}/revoke")).status_code == 200
    assert (await client.post(f"/keys/{key_id}/rotate", json={})).json()["code"] == "key_revoked"
    listed = await client.get("/keys", params={"limit": 1})
    assert [key["id"] for key in listed.json()["items"]] == [key_id]
    assert listed.json()["next_cursor"] is None


async def test_another_tenants_key_is_not_there(
    client: httpx2.AsyncClient, tenant_id: str, other_tenant_id: str, authorization_of: Authorization
) -> None:
    mine = await authorization_of(tenant_id, "owner")
    theirs = await authorization_of(other_tenant_id, "owner")
    key_id = (await client.post("/keys", json={"name": "k"}, headers=mine)).json()["id"]
    for method, path in (
        ("GET", f"/keys/{key_id}"),
        ("PATCH", f"/keys/{key_id}"),
        ("POST", f"/keys/{key_id}/rotate"),
        ("POST", f"/keys/{key_id}/revoke"),
    ):
        answer = await client.request(method, path, headers=theirs, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "key_not_found")
    assert (await client.get("/keys", headers=theirs)).json()["items"] == []


@pytest.mark.parametrize("role", ["viewer", "finance"])
async def test_roles_without_the_right_are_refused(
    client: httpx2.AsyncClient, tenant_id: str, authorization_of: Authorization, role: str
) -> None:
    client.headers.update(await authorization_of(tenant_id, role))
    for method, path in (
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("GET", "/keys/key_1"),
        ("PATCH", "/keys/key_1"),
        ("POST", "/keys/key_1/rotate"),
        ("POST", "/keys/key_1/revoke"),
    ):
        answer = await client.request(method, path, json={"name": "k"} if path == "/keys" else {})
        assert answer.status_code == 403, (method, path)


async def test_nobody_in_particular_is_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/keys")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_refused")


async def test_a_secret_that_is_refused_is_not_repeated(
    client: httpx2.AsyncClient, tenant_id: str, authorization_of: Authorization
) -> None:
    client.headers.update(await authorization_of(tenant_id, "owner"))
    for body in ({"name": "k", "secret": "hunter2"}, {"name": 7, "secret": "hunter2-hunter2-hunter2"}):
        answer = await client.post("/keys", json=body)
        assert answer.status_code in {400, 422}
        assert "hunter2" not in answer.text


@pytest.mark.parametrize("query", [{"cursor": "!"}, {"cursor": "WyJhIiwiYiJd"}, {"limit": "0"}, {"limit": "1001"}])
async def test_a_listing_that_cannot_be_is_refused(
    client: httpx2.AsyncClient, tenant_id: str, authorization_of: Authorization, query: dict[str, str]
) -> None:
    client.headers.update(await authorization_of(tenant_id, "owner"))
    assert (await client.get("/keys", params=query)).status_code in {400, 422}

"""Tenants: the operator makes and suspends them, each reads and names itself, and none learns of another."""

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import APIRouter
from pydantic import ValidationError

from auterity.engines.database.sessions import Database
from auterity.platform.tenancy.endpoints import router
from auterity.platform.tenancy.errors import SlugTaken, TenantNotFound
from auterity.platform.tenancy.schemas import TenantCreate, TenantPatch
from auterity.platform.tenancy.service import TenantService

Authorization = Callable[..., Awaitable[dict[str, str]]]


@pytest.fixture
def tenants(database: Database) -> TenantService:
    return TenantService(database)


@pytest.fixture
def client(tenants: TenantService, api_client: Callable[[APIRouter], httpx2.AsyncClient]) -> httpx2.AsyncClient:
    return api_client(router(tenants))


async def test_an_operator_makes_lists_and_suspends_tenants(
    client: httpx2.AsyncClient, tenant_id: str, authorization_of: Authorization
) -> None:
    client.headers.update(await authorization_of(tenant_id, "owner", operator=True))
    made = await client.post("/tenants", json={"slug": "initech", "name": " Initech ", "settings": {"seats": 3}})
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["status"], made.json()["settings"]) == ("Initech", "active", {"seats": 3})
    path = f"/tenants/{made.json()['id']}"
    assert (await client.patch(path, json={"status": "suspended"})).json()["status"] == "suspended"
    assert (await client.get(path)).json()["status"] == "suspended"

    first = (await client.get("/tenants", params={"limit": 1})).json()
    rest = (await client.get("/tenants", params={"cursor": first["next_cursor"]})).json()
    assert [tenant["slug"] for tenant in first["items"] + rest["items"]] == ["acme", "initech"]
    assert rest["next_cursor"] is None
    again = await client.post("/tenants", json={"slug": "initech", "name": "Again"})
    assert (again.status_code, again.json()["code"]) == (409, "tenant_slug_taken")


async def test_an_owner_reads_and_names_her_own_tenant_and_no_other(
    client: httpx2.AsyncClient, tenant_id: str, other_tenant_id: str, authorization_of: Authorization
) -> None:
    client.headers.update(await authorization_of(tenant_id, "owner"))
    assert (await client.get(f"/tenants/{tenant_id}")).json()["slug"] == "acme"
    changed = await client.patch(f"/tenants/{tenant_id}", json={"name": "Acme Ltd"})
    assert changed.json()["name"] == "Acme Ltd"
    suspension = await client.patch(f"/tenants/{tenant_id}", json={"status": "suspended"})
    assert (suspension.status_code, suspension.json()["code"]) == (403, "tenant_status_forbidden")
    for other in (other_tenant_id, "ten_unknown", "globex"):
        for answer in (await client.get(f"/tenants/{other}"), await client.patch(f"/tenants/{other}", json={})):
            assert (answer.status_code, answer.json()["code"]) == (404, "tenant_not_found")
    assert (await client.get("/tenants")).status_code == 403
    assert (await client.post("/tenants", json={"slug": "x", "name": "X"})).status_code == 403


async def test_a_viewer_reads_and_does_not_change(
    client: httpx2.AsyncClient, tenant_id: str, authorization_of: Authorization
) -> None:
    client.headers.update(await authorization_of(tenant_id, "viewer"))
    assert (await client.get(f"/tenants/{tenant_id}")).status_code == 200
    assert (await client.patch(f"/tenants/{tenant_id}", json={"name": "X"})).status_code == 403


async def test_a_tenant_sees_itself_and_is_found_by_slug_by_the_operator(
    tenants: TenantService, tenant_id: str, other_tenant_id: str
) -> None:
    assert (await tenants.read_self(tenant_id)).slug == "acme"
    assert (await tenants.get("globex")).id == other_tenant_id
    with pytest.raises(TenantNotFound):
        await tenants.read_self("ten_unknown")
    with pytest.raises(TenantNotFound):
        await tenants.update("ten_unknown", TenantPatch(name="X"))
    with pytest.raises(SlugTaken):
        await tenants.create(TenantCreate(slug="acme", name="Another"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"slug": "Upper"},
        {"slug": "-dash"},
        {"slug": "x" * 64},
        {"name": ""},
        {"name": "line\nbreak"},
        {"settings": {"text": "x" * 16384}},
        {"settings": []},
        {"status": "active"},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TenantCreate.model_validate({"slug": "good", "name": "Good", **wrong})

"""Promises of the catalogue's API, over a real database with row-level security."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError
from sqlalchemy import text

from auterity.engines.database.sessions import Database
from auterity.platform.identity.principal import Principal
from auterity.platform.models.schemas import ProviderCreate

Client = Callable[[Principal], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeAdmin = Callable[..., Principal]

_KEY = "sk-live-0123456789abcdef"
_OPENAI = {
    "name": "openai",
    "kind": "openai_compatible",
    "base_url": "https://api.openai.com/v1/",
    "api_key": _KEY,
    "headers": {"X-Team": "blue-secret"},
    "timeouts": {"connect": 2.5},
}
_MINI: dict[str, Any] = {
    "name": "openai/mini",
    "deployments": [{"provider": "openai", "upstream_model": "gpt-4o-mini", "max_output_tokens": 16_000}],
}
_SANDBOX = {"name": "sandbox", "kind": "sandbox"}


@pytest.fixture
def admin(tenant_id: str, make_admin: MakeAdmin) -> Principal:
    return make_admin(tenant_id)


@pytest.fixture
def operator(other_tenant_id: str, make_admin: MakeAdmin) -> Principal:
    return make_admin(other_tenant_id, operator=True)


async def _make(client: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_credential_goes_in_and_never_comes_out(
    catalogue_client: Client, admin: Principal, database: Database
) -> None:
    async with catalogue_client(admin) as client:
        made = await client.post("/providers", json=_OPENAI)
        read = await client.get("/providers/openai")
        listed = await client.get("/providers")
    assert made.status_code == 201
    assert made.json()["has_credential"] is True
    assert made.json()["credential_hint"] == "cdef"
    assert made.json()["header_names"] == ["x-team"]
    assert made.json()["base_url"] == "https://api.openai.com/v1"
    assert read.json() == made.json()
    for answer in (made, read, listed):
        assert _KEY not in answer.text
        assert "blue-secret" not in answer.text
    async with database.tenant(admin.tenant_id) as scope:
        row = (await scope.session.execute(text("SELECT * FROM providers"))).one()
    assert _KEY not in str(row)
    assert "blue-secret" not in str(row)


async def test_a_refused_credential_is_not_repeated_in_the_error(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        answer = await client.post("/providers", json={**_OPENAI, "api_key": "sk-top\nsecret"})
    assert answer.status_code == 422
    assert "sk-top" not in answer.text


async def test_a_short_key_gives_no_hint(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        made = await _make(client, "/providers", {**_OPENAI, "api_key": "short"})
    assert (made["has_credential"], made["credential_hint"]) == (True, "")


async def test_a_key_can_be_replaced_and_removed(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _OPENAI)
        replaced = await client.patch("/providers/openai", json={"api_key": "sk-another-0123456789wxyz"})
        kept = await client.patch("/providers/openai", json={"enabled": False})
        removed = await client.patch("/providers/openai", json={"api_key": None})
    assert replaced.json()["credential_hint"] == "wxyz"
    assert kept.json()["credential_hint"] == "wxyz"
    assert kept.json()["enabled"] is False
    assert removed.json()["has_credential"] is False


async def test_a_provider_that_cannot_be_is_refused(catalogue_client: Client, admin: Principal) -> None:
    changes: list[tuple[str, dict[str, Any]]] = [
        ("kind", {"kind": "carrier-pigeon"}),
        ("base_url", {"base_url": None}),
        ("base_url", {"base_url": "ftp://api.openai.com"}),
        ("base_url", {"base_url": "http://internal.example/v1"}),
        ("base_url", {"base_url": "http://127.0.0.1:11434/v1"}),
    ]
    async with catalogue_client(admin) as client:
        for param, change in changes:
            answer = await client.post("/providers", json={**_OPENAI, **change})
            assert (answer.status_code, answer.json()["param"]) == (400, param)


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"Host": "elsewhere"}},
        {"headers": {"x-a": "b\r\nx-c: d"}},
        {"headers": {"x a": "b"}},
        {"query": "api_key=1"},
        {"query": "a b"},
        {"name": "two words"},
        {"timeouts": {"connect": 0}},
        {"colour": "red"},
    ],
)
def test_odd_fields_are_refused(change: dict[str, Any]) -> None:
    ProviderCreate.model_validate(_OPENAI)
    with pytest.raises(ValidationError):
        ProviderCreate.model_validate({**_OPENAI, **change})


async def test_names_are_unique_within_a_tenant_and_free_in_another(
    catalogue_client: Client, admin: Principal, other_tenant_id: str, make_admin: MakeAdmin
) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _OPENAI)
        await _make(client, "/models", _MINI)
        assert (await client.post("/providers", json=_OPENAI)).status_code == 409
        assert (await client.post("/models", json=_MINI)).status_code == 409
    async with catalogue_client(make_admin(other_tenant_id)) as client:
        await _make(client, "/providers", _OPENAI)


async def test_another_tenants_catalogue_does_not_exist(
    catalogue_client: Client, admin: Principal, other_tenant_id: str, make_admin: MakeAdmin
) -> None:
    async with catalogue_client(admin) as client:
        provider = await _make(client, "/providers", _OPENAI)
        model = await _make(client, "/models", _MINI)
        overlay = await _make(client, "/prices/overlays", {"discount_percent": "5"})
    async with catalogue_client(make_admin(other_tenant_id)) as client:
        for path in (
            f"/providers/{provider['id']}",
            f"/models/{model['id']}",
            "/models/openai/mini",
            f"/prices/overlays/{overlay['id']}",
        ):
            assert (await client.get(path)).status_code == 404
            assert (await client.patch(path, json={})).status_code == 404
            assert (await client.delete(path)).status_code == 404
        for path in ("/providers", "/models", "/prices/overlays"):
            assert (await client.get(path)).json()["items"] == []
        stolen = {"name": "stolen", "deployments": [{"provider": provider["id"], "upstream_model": "gpt-4o"}]}
        assert (await client.post("/models", json=stolen)).status_code == 404


async def test_a_provider_in_use_cannot_be_deleted(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _OPENAI)
        await _make(client, "/models", _MINI)
        refused = await client.delete("/providers/openai")
        assert (refused.status_code, refused.json()["code"]) == (409, "provider_in_use")
        assert "openai/mini" in refused.json()["detail"]
        assert (await client.delete("/models/openai/mini")).status_code == 204
        assert (await client.delete("/providers/openai")).status_code == 204
        assert (await client.get("/providers/openai")).status_code == 404


async def test_a_models_deployments_are_kept_in_order_and_changed_one_by_one(
    catalogue_client: Client, admin: Principal
) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _OPENAI)
        await _make(client, "/models", _MINI)
        added = await _make(
            client,
            "/models/openai/mini/deployments",
            {"provider": "openai", "upstream_model": "gpt-4.1-mini", "position": 1, "weight": 0},
        )
        again = await client.post(
            "/models/openai/mini/deployments", json={"provider": "openai", "upstream_model": "gpt-4.1-mini"}
        )
        model = (await client.get("/models/openai/mini")).json()
        first, second = (each["id"] for each in model["deployments"])
        moved = await client.patch(f"/models/openai/mini/deployments/{first}", json={"position": 2})
        reordered = (await client.get("/models/openai/mini")).json()
        gone = await client.delete(f"/models/openai/mini/deployments/{second}")
        left = (await client.get("/models/openai/mini")).json()
    assert again.status_code == 409
    assert second == added["id"]
    assert moved.json()["position"] == 2
    assert [each["id"] for each in reordered["deployments"]] == [second, first]
    assert gone.status_code == 204
    assert [each["id"] for each in left["deployments"]] == [first]


async def test_a_failed_creation_leaves_nothing_behind(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _OPENAI)
        twice = {**_MINI, "deployments": _MINI["deployments"] * 2}
        assert (await client.post("/models", json=twice)).status_code == 409
        assert (await client.get("/models")).json()["items"] == []


async def test_lists_come_in_pages_that_hold_everything_once(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        for number in range(4):
            await _make(client, "/models", {"name": f"m{number}"})
        names: list[str] = []
        cursor: str | None = None
        pages = 0
        while pages == 0 or cursor:
            page = (await client.get("/models", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
            names += [item["name"] for item in page["items"]]
            cursor = page["next_cursor"]
            pages += 1
    assert (names, pages) == (["m0", "m1", "m2", "m3"], 2)


async def test_roles_decide_who_may_change_what(
    catalogue_client: Client, tenant_id: str, make_admin: MakeAdmin
) -> None:
    async with catalogue_client(make_admin(tenant_id, role="developer")) as client:
        assert (await client.get("/providers")).status_code == 200
        assert (await client.post("/providers", json=_OPENAI)).status_code == 403
    async with catalogue_client(make_admin(tenant_id, role="finance")) as client:
        assert (await client.post("/prices/overlays", json={"discount_percent": "5"})).status_code == 201
        assert (await client.post("/models", json={"name": "m"})).status_code == 403


async def test_only_an_operator_names_private_addresses(catalogue_client: Client, operator: Principal) -> None:
    async with catalogue_client(operator) as client:
        await _make(client, "/providers", {**_OPENAI, "name": "ollama", "base_url": "http://127.0.0.1:11434/v1"})
        refused = await client.post("/providers", json={**_OPENAI, "base_url": "http://169.254.169.254/latest"})
    assert refused.status_code == 400


async def test_a_shared_model_is_offered_to_all_and_changed_by_none_but_the_operator(
    catalogue_client: Client, admin: Principal, operator: Principal
) -> None:
    async with catalogue_client(operator) as client:
        await _make(client, "/providers", {**_OPENAI, "shared": True})
        await _make(client, "/models", {**_MINI, "shared": True})
    async with catalogue_client(admin) as client:
        (seen,) = (await client.get("/models")).json()["items"]
        assert (seen["name"], seen["shared"], seen["yours"], seen["deployments"]) == ("openai/mini", True, False, [])
        assert (await client.get("/models/openai/mini")).status_code == 200
        assert (await client.get("/providers")).json()["items"] == []
        assert (await client.get("/providers/openai")).status_code == 404
        for refused in (
            await client.patch("/models/openai/mini", json={"description": "mine now"}),
            await client.delete("/models/openai/mini"),
            await client.post("/models", json={"name": "m", "shared": True}),
            await client.post("/providers", json={**_OPENAI, "shared": True}),
            await client.post("/prices/overlays", json={"shared": True}),
        ):
            assert (refused.status_code, refused.json()["code"]) == (403, "operator_only")
        assert (await client.post("/models/openai/mini/test", json={})).status_code == 404
    async with catalogue_client(operator) as client:
        assert (await client.patch("/models/openai/mini", json={"description": "ours"})).status_code == 200


async def test_the_database_itself_keeps_tenants_from_writing_shared_rows(
    catalogue_client: Client, admin: Principal, operator: Principal, database: Database
) -> None:
    async with catalogue_client(operator) as client:
        await _make(client, "/providers", {**_OPENAI, "shared": True})
        await _make(client, "/models", {**_MINI, "shared": True})
        await _make(client, "/prices/overlays", {"shared": True})
    tables = ("price_overlays", "deployments", "models", "providers")
    async with database.tenant(admin.tenant_id) as scope:
        for table in tables:
            assert (await scope.session.scalar(text(f"SELECT count(*) FROM {table}"))) == 1
            for statement in (f"UPDATE {table} SET updated_at = now()", f"DELETE FROM {table}"):
                touched = await scope.session.execute(
                    text(f"WITH t AS ({statement} RETURNING 1) SELECT count(*) FROM t")
                )
                assert touched.scalar() == 0
    async with database.unscoped() as scope:
        for table in tables:
            assert (await scope.session.scalar(text(f"SELECT count(*) FROM {table}"))) == 0


async def test_a_shared_model_stands_on_shared_providers(catalogue_client: Client, operator: Principal) -> None:
    async with catalogue_client(operator) as client:
        await _make(client, "/providers", _OPENAI)
        assert (await client.post("/models", json={**_MINI, "shared": True})).json()["code"] == "sharing_conflict"
        await _make(client, "/models", _MINI)
        assert (await client.patch("/models/openai/mini", json={"shared": True})).status_code == 409
        await client.patch("/providers/openai", json={"shared": True})
        assert (await client.patch("/models/openai/mini", json={"shared": True})).status_code == 200
        refused = await client.patch("/providers/openai", json={"shared": False})
        assert (refused.status_code, refused.json()["code"]) == (409, "sharing_conflict")


async def test_a_model_is_tried_on_each_deployment_and_says_what_it_cost(
    catalogue_client: Client, admin: Principal
) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _SANDBOX)
        deployments = [
            {"provider": "sandbox", "upstream_model": "sandbox-small"},
            {"provider": "sandbox", "upstream_model": "no-such-model"},
        ]
        await _make(client, "/models", {"name": "m", "deployments": deployments})
        tried = (await client.post("/models/m/test", json={})).json()
    assert tried["ok"] is False
    good, bad = tried["deployments"]
    assert good["ok"] is True
    assert good["cost_nano"] == good["input_tokens"] * 100 + good["output_tokens"] * 400
    assert (good["price_source"], good["status"]) == ("sandbox", 200)
    assert (bad["ok"], bad["status"]) == (False, 404)
    assert bad["error"]


async def test_an_embedding_model_is_tried_with_embeddings(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _SANDBOX)
        deployments = [{"provider": "sandbox", "upstream_model": "sandbox-embed"}]
        await _make(client, "/models", {"name": "e", "deployments": deployments})
        tried = (await client.post("/models/e/test", json={"endpoint": "embeddings"})).json()
    assert tried["ok"] is True


async def test_a_price_is_explained(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _OPENAI)
        query = {"provider": "openai", "model": "gpt-4o-mini"}
        listed = (await client.get("/prices/resolve", params=query)).json()
        overlay = await _make(
            client, "/prices/overlays", {"provider": "openai", "discount_percent": "12.5", "prices": {"output": "0.5"}}
        )
        overlaid = (await client.get("/prices/resolve", params=query)).json()
        unknown = (await client.get("/prices/resolve", params={**query, "model": "nothing"})).json()
    assert (listed["known"], listed["source"], listed["per_million"]["input"]) == (True, "genai-prices", "0.15")
    assert (overlaid["source"], overlaid["overlay_id"]) == ("overlay", overlay["id"])
    assert overlaid["per_million"]["input"] == "0.13125"
    assert overlaid["per_million"]["output"] == "0.5"
    assert overlaid["version"].startswith(overlay["id"])
    assert (unknown["known"], unknown["source"]) == (False, None)


async def test_terms_are_changed_and_removed(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        made = await _make(
            client,
            "/prices/overlays",
            {
                "prices": {"input": "0.123456", "output": "1"},
                "per_request": "0.002",
                "valid_to": "2027-01-01T00:00:00Z",
            },
        )
        path = f"/prices/overlays/{made['id']}"
        changed = await client.patch(path, json={"discount_percent": "20", "valid_to": None, "per_request": None})
        backwards = await client.patch(
            path, json={"valid_from": "2027-01-01T00:00:00Z", "valid_to": "2026-01-01T00:00:00Z"}
        )
        gap = await client.patch(path, json={"prices": {"cache_read": "1", "input_audio": "1"}})
        read = (await client.get(path)).json()
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
    assert made["prices"] == {"input": "0.123456", "output": "1"}
    assert changed.json()["valid_to"] is None
    assert backwards.status_code == 400
    assert gap.status_code == 422
    assert read["discount_percent"] == "20.000000"


async def test_null_where_nothing_cannot_be_is_refused(catalogue_client: Client, admin: Principal) -> None:
    async with catalogue_client(admin) as client:
        await _make(client, "/providers", _OPENAI)
        assert (await client.patch("/providers/openai", json={"name": None})).status_code == 422
        assert (await client.patch("/providers/openai", json={"price_provider": None})).status_code == 200

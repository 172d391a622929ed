"""The management API as a program meets it: its document, its errors, its docs page, and the walls between tenants."""

import asyncio
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin

import openai
import pytest

from auterity.app.node import open_node
from auterity.app.settings import Settings

if TYPE_CHECKING:
    from tests.fixtures.server import Management, Say, Server

_METHODS = {"get", "post", "put", "patch", "delete"}
_PUBLIC = {("post", "/api/v1/auth/login"), ("get", "/api/v1/auth/jwks.json")}
_URL = re.compile(r"""https?://[^\s"'<>)]+""")


@pytest.fixture(scope="module")
def document(server: "Server") -> dict[str, Any]:
    return server.http.get("/api/v1/openapi.json").raise_for_status().json()


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in _METHODS & item.keys():
            yield method, path, item[method]


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in cast("dict[str, object]", value).items():
            if name == "$ref" and isinstance(member, str):
                yield member
            else:
                yield from _references(member)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            yield from _references(member)


def test_the_document_is_sound(document: dict[str, Any]) -> None:
    """By the OpenAPI 3.1 specification: required members, unique operation ids, declared path parameters, resolvable
    references."""
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"]
    assert document["info"]["version"]
    ids = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(ids) == len(set(ids)) > 20
    for method, path, operation in _operations(document):
        assert path.startswith("/api/v1/"), path
        assert operation["responses"], (method, path)
        declared = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert declared == {name.partition(":")[0] for name in re.findall(r"{([^}]+)}", path)}, (method, path)
    for reference in _references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        assert isinstance(found, dict), reference


def _is_problem(answer: Any, status: int | None = None) -> dict[str, Any]:
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json", answer.text
    problem = answer.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= problem.keys()
    assert problem["status"] == answer.status_code
    assert status is None or answer.status_code == status, answer.text
    assert re.fullmatch(r"[a-z_]+", problem["code"])
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return problem


def _filled(path: str, value: str) -> str:
    return re.sub(r"{[^}]+}", value, path)


def test_every_route_asks_who_is_there(server: "Server", document: dict[str, Any]) -> None:
    asked = 0
    for method, path, _ in _operations(document):
        if (method, path) not in _PUBLIC:
            for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": f"Bearer {server.api_key}"}):
                _is_problem(server.http.request(method, _filled(path, "x"), headers=headers), 401)
            asked += 1
    assert asked > 20


def test_every_route_answers_nonsense_with_a_problem_and_never_a_500(
    server: "Server", document: dict[str, Any]
) -> None:
    client = server.management.client
    bodies: list[dict[str, Any]] = [
        {"content": b"{"},
        {"content": b"\xff"},
        {"json": []},
        {"json": {"no_such_field": 1}},
        {"json": {"name": "a\0b", "slug": "a", "email": "a\0@b", "password": "x", "settings": {"a": "\0"}}},
        {"json": {"name": "nul", "description": "a\0b", "kind": "sandbox", "tags": {"a": "\0"}}},
        {"json": {"name": {"deep": [1]}, "limit": "many"}},
        {"content": b"[" * 50_000},
    ]
    for method, path, operation in _operations(document):
        for value in ("no-such-thing", "%00", "%ff", "a" * 300, "key_" + "0" * 32):
            for body in bodies if "requestBody" in operation else [{}]:
                answer = client.request(
                    method,
                    server.url + _filled(path, value),
                    headers={"content-type": "application/json"},
                    **body,
                )
                if not answer.is_success:
                    problem = _is_problem(answer)
                    assert answer.status_code < 500, (method, path, value, body, problem)
            if "{" not in path:
                break


@pytest.mark.parametrize(
    "query",
    [
        "cursor=nonsense",
        "limit=0",
        "limit=99999999999",
        "limit=x",
        "cursor=%00",
    ],
)
def test_wrong_queries_are_refused(server: "Server", query: str) -> None:
    for path in ("/keys", "/models", "/providers", "/usage/events", "/tenants"):
        answer = server.management.client.get(f"{path}?{query}")
        assert answer.status_code in (400, 422), (path, query, answer.text)
        _is_problem(answer)


@pytest.mark.parametrize(
    "query", ["from=yesterday", "tag=nocolon", "group_by=nonsense", "from=2030-01-02&to=2030-01-01", "nonsense=1"]
)
def test_wrong_questions_about_usage_are_refused(server: "Server", query: str) -> None:
    answer = server.management.client.get(f"/usage?{query}")
    assert answer.status_code in (400, 422), answer.text
    _is_problem(answer)


def test_other_paths_and_methods_are_problems_too(server: "Server") -> None:
    _is_problem(server.http.get("/api/v1/nothing"), 404)
    _is_problem(server.http.get("/nothing"), 404)
    _is_problem(server.management.client.put("/keys", json={}), 405)


def test_the_docs_are_served_without_the_outside_world(server: "Server") -> None:
    for start in ("/api/docs", "/api/reference"):
        page = server.http.get(start).raise_for_status()
        found = cast("list[str]", _URL.findall(page.text))
        assert not [url for url in found if not url.startswith(server.url)]
        needed = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
        assert needed
        for link in needed:
            asset = server.http.get(urljoin(server.url + start, link))
            assert asset.status_code == 200, link
            assert asset.content


def test_a_providers_credential_never_comes_back(server: "Server") -> None:
    manage = server.management
    secret = f"sk-{uuid.uuid4().hex}{uuid.uuid4().hex}"
    header = uuid.uuid4().hex
    made = manage.provider(
        "confidential", "openai_compatible", "http://127.0.0.1:9/v1", api_key=secret, headers={"x-private": header}
    )
    changed = manage.patch(f"/providers/{made['id']}", enabled=False)
    listed = manage.get("/providers", limit=1000)
    for shown in (made, changed, listed, manage.get(f"/providers/{made['id']}")):
        assert secret not in str(shown)
        assert header not in str(shown)
    assert made["has_credential"]
    assert made["credential_hint"] == secret[-4:]
    wrong = manage.client.post("/providers", json={"name": "x", "kind": "nonsense", "api_key": secret})
    assert wrong.status_code in (400, 422)
    assert secret not in wrong.text
    told = server.cli("models", "list", "--json").stdout
    assert secret not in told
    manage.delete(f"/providers/{made['id']}")


def test_login_tells_nobody_whether_an_account_exists(server: "Server") -> None:
    answers = [
        server.http.post("/api/v1/auth/login", json={"email": email, "password": "wrong"})
        for email in (server.admin_email, "nobody@example.com")
    ]
    first, second = (_is_problem(answer, 401) for answer in answers)
    assert (first["code"], first["detail"]) == (second["code"], second["detail"])


@pytest.fixture(scope="module")
def stranger(server: "Server") -> "Management":
    """An admin of another tenant."""
    made = server.management.post("/tenants", slug=f"other-{uuid.uuid4().hex[:6]}", name="Other")
    email, password = f"{uuid.uuid4().hex[:8]}@other.example", uuid.uuid4().hex

    async def add_person() -> None:
        # No route adds people to a tenant yet; the operator's services on the server's own machine do.
        async with open_node(Settings(home=server.home), made["id"]) as node:
            await node.services.identity.create_user(email, password, tenant_id=made["id"], roles=["admin"])

    asyncio.run(add_person())
    return server.management_as(server.log_in(email, password))


def test_one_tenant_does_not_see_another(
    server: "Server", stranger: "Management", sdk: openai.OpenAI, say: "Say"
) -> None:
    key = server.management.key()
    provider = server.management.get("/providers")["items"][0]
    answer = sdk.chat.completions.with_raw_response.create(model="sandbox-small", messages=say("Hello"))
    event = server.event(answer.headers["x-request-id"])
    ours = server.management.get("/auth/me")["tenant_id"]
    for path in ("/keys", "/usage/events"):
        assert stranger.get(path)["items"] == []
    assert provider["id"] not in str(stranger.get("/providers"))
    for path in (f"/keys/{key['id']}", f"/providers/{provider['id']}", f"/usage/events/{event['id']}"):
        _is_problem(stranger.client.get(path), 404)
    _is_problem(stranger.client.post(f"/keys/{key['id']}/revoke"), 404)
    _is_problem(stranger.client.get("/tenants"), 403)
    _is_problem(stranger.client.get(f"/tenants/{ours}"), 404)
    assert stranger.get("/usage")["totals"]["calls"] == 0


def test_keys_of_one_tenant_do_not_open_the_models_of_another(
    server: "Server", stranger: "Management", say: "Say"
) -> None:
    theirs = stranger.key()
    with server.sdk(theirs["secret"]) as client:
        assert list(client.models.list()) == []
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    assert missing.value.request_id is not None
    mine = f"/usage/events/{missing.value.request_id.replace('req_', 'evt_')}"
    assert stranger.get("/usage/events", key="key_x")["items"] == []
    _is_problem(server.management.client.get(mine), 404)
    assert server.management.get("/usage/events", key=theirs["id"])["items"] == []


def test_a_suspended_tenant_is_refused_at_once(server: "Server", stranger: "Management", say: "Say") -> None:
    tenant_id = stranger.get("/auth/me")["tenant_id"]
    client = server.sdk(stranger.key()["secret"])
    assert list(client.models.list()) == []
    server.management.patch(f"/tenants/{tenant_id}", status="suspended")
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.models.list()
    assert refused.value.code == "tenant_suspended"
    server.management.patch(f"/tenants/{tenant_id}", status="active")
    assert list(client.models.list()) == []

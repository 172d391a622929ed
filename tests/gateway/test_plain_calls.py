"""Plain calls: answered as the provider answered, priced, recorded before the answer, and refused clearly."""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from auterity.engines.http.port import FailureKind, TransportError
from auterity.providers.contract import ProviderRefusal

Bench = Any
Scripted = Callable[..., Any]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ANSWER = (
    b'{"id":"c1","object":"chat.completion","created":1,"model":"up-2026","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,'
    b'"total_tokens":15},"unheard_of":{"x": 1.50}}'
)
EMBEDDINGS = {"model": "m", "input": "text"}
VECTORS = b'{"object":"list","data":[],"model":"up","usage":{"prompt_tokens":3,"total_tokens":3}}'


async def test_the_providers_answer_passes_back_byte_for_byte(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, ANSWER[:50], ANSWER[50:]))
    heard = await bench.send(CHAT)
    assert heard.status == 200
    assert heard.body == ANSWER
    assert heard.headers["content-length"] == str(len(ANSWER))


async def test_the_headers_tell_who_served_and_what_it_cost(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, ANSWER))
    headers = (await bench.send(CHAT)).headers
    assert headers["x-auterity-model"] == "m"
    assert headers["x-auterity-cost"] == "0.00002"
    assert headers["x-request-id"] == bench.ledger.event.request_id
    assert 0 <= int(headers["x-auterity-overhead-us"]) < 1_000_000


async def test_the_call_is_recorded_before_its_last_byte(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, ANSWER))
    assert (await bench.send(CHAT)).recorded_before_end


async def test_the_event_says_all_about_the_call(bench: Bench, scripted: Scripted) -> None:
    bench.key = dataclasses.replace(bench.key, tags={"team": "search"})
    bench.plays(scripted(200, ANSWER))
    await bench.send({**CHAT, "user": "u9", "metadata": {"case": "7"}}, headers={"x-auterity-tags": "env=prod"})
    event = bench.ledger.event
    assert (event.tenant_id, event.key_id, event.user_id, event.end_user) == ("ten_1", "key_1", "usr_1", "u9")
    assert event.tags == {"team": "search", "env": "prod", "case": "7"}
    assert (event.requested_model, event.model, event.upstream_model, event.provider) == ("m", "m", "up", "acme")
    assert (event.input_tokens, event.output_tokens, event.cost_nano) == (10, 5, 20_000)
    assert (event.price_source, event.price_version, event.unpriced) == ("test", "7", False)
    assert (event.status, event.outcome, event.error_code, event.cache) == (200, "ok", "", "off")
    assert [(attempt.deployment_id, attempt.status) for attempt in event.attempts] == [("dep_1", 200)]
    assert event.latency_us >= event.overhead_us >= 0
    assert bench.ledger.claims == 0


async def test_unknown_request_fields_reach_the_provider(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, ANSWER))
    await bench.send({**CHAT, "unheard_of": {"deep": [1, 2.5]}, "temperature": 0})
    sent = json.loads(bench.provider.requests[0].body)
    assert sent == {**CHAT, "model": "up", "unheard_of": {"deep": [1, 2.5]}, "temperature": 0}


async def test_embeddings_are_served_and_metered(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, VECTORS))
    heard = await bench.send(EMBEDDINGS, path="/v1/embeddings")
    assert heard.body == VECTORS
    assert (bench.ledger.event.endpoint, bench.ledger.event.cost_nano) == ("embeddings", 3000)


async def test_usage_that_the_provider_does_not_tell_is_estimated_and_marked(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, b'{"choices":[]}'))
    await bench.send(CHAT)
    assert bench.ledger.event.tokens_estimated
    assert bench.ledger.event.cost_nano > 0


@pytest.mark.parametrize("failure", [500, 502, 503, 529, 429, 408, 401, 403, 404])
async def test_a_providers_failure_makes_the_next_one_serve(bench: Bench, scripted: Scripted, failure: int) -> None:
    bench.model(bench.deployment("first", weight=1), bench.deployment("second", weight=0))
    bench.plays(scripted(failure, b"{}"), scripted(200, ANSWER))
    assert (await bench.send(CHAT)).status == 200
    event = bench.ledger.event
    assert [(a.deployment_id, a.status, a.error_code) for a in event.attempts] == [
        ("first", failure, ProviderRefusal.code),
        ("second", 200, ""),
    ]
    assert event.deployment_id == "second"


async def test_an_answer_that_cannot_be_read_makes_the_next_one_serve(bench: Bench, scripted: Scripted) -> None:
    bench.model(bench.deployment("first", weight=1), bench.deployment("second", weight=0))
    bench.plays(scripted(200, b"<html>"), scripted(200, ANSWER))
    assert (await bench.send(CHAT)).status == 200
    assert [attempt.status for attempt in bench.ledger.event.attempts] == [200, 200]
    assert bench.ledger.event.deployment_id == "second"


@pytest.mark.parametrize("kind", list(FailureKind))
async def test_a_broken_connection_makes_the_next_one_serve(
    bench: Bench, scripted: Scripted, kind: FailureKind
) -> None:
    bench.model(bench.deployment("first", weight=1), bench.deployment("second", weight=0))
    bench.plays(scripted(TransportError(kind, "x")), scripted(200, ANSWER))
    assert (await bench.send(CHAT)).status == 200


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_the_clients_own_mistake_passes_back_and_is_not_tried_again(
    bench: Bench, scripted: Scripted, status: int
) -> None:
    bench.model(bench.deployment("first", weight=1), bench.deployment("second", weight=0))
    error = b'{"error":{"message":"bad thing","type":"invalid_request_error","param":"top_p","code":"bad_value"}}'
    bench.plays(scripted(status, error))
    heard = await bench.send(CHAT)
    assert heard.status == status
    error_told = heard.json()["error"]
    assert "bad thing" in error_told["message"]
    assert (error_told["type"], error_told["param"], error_told["code"]) == (
        "invalid_request_error",
        "top_p",
        "bad_value",
    )
    assert len(bench.ledger.event.attempts) == 1
    assert bench.ledger.event.cost_nano == 0


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        ((500, b"oops"), 503, "provider_unavailable"),
        ((429, b"{}"), 429, "rate_limit_exceeded"),
        ((401, b"{}"), 502, "provider_misconfigured"),
        ((404, b"{}"), 502, "provider_misconfigured"),
        ((200, b"<html>"), 503, "provider_unavailable"),
        ((TransportError(FailureKind.CONNECT, "x"),), 503, "provider_unavailable"),
        ((TransportError(FailureKind.TIMEOUT, "x"),), 504, "provider_timeout"),
    ],
)
async def test_when_nothing_can_serve_the_client_is_told_why(
    bench: Bench, scripted: Scripted, answer: tuple[Any, ...], status: int, code: str
) -> None:
    bench.plays(scripted(*answer))
    heard = await bench.send(CHAT)
    assert (heard.status, heard.json()["error"]["code"]) == (status, code)
    event = bench.ledger.event
    assert (event.status, event.error_code, event.outcome, event.cost_nano) == (status, code, "error", 0)


async def test_the_providers_retry_after_passes_through(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(429, b"{}", headers={b"retry-after": b"17"}))
    assert (await bench.send(CHAT)).headers["retry-after"] == "17"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"authorization": ""}, "Authorization: Bearer"),
        ({"authorization": "Basic abc"}, "Authorization: Bearer"),
        ({"authorization": "Bearer other"}, "Incorrect API key"),
        ({"authorization": "Bearer " + "x" * 600}, "didn't provide"),
    ],
)
async def test_without_a_good_key_nothing_is_served_or_recorded(
    bench: Bench, headers: dict[str, str], message: str
) -> None:
    heard = await bench.send(CHAT, headers=headers)
    assert (heard.status, heard.json()["error"]["code"]) == (401, "invalid_api_key")
    assert message in heard.json()["error"]["message"]
    assert heard.headers["x-request-id"].startswith("req_")
    assert bench.ledger.events == []


@pytest.mark.parametrize("name", ["x-api-key", "api-key"])
async def test_other_sdks_headers_carry_the_key_too(bench: Bench, scripted: Scripted, name: str) -> None:
    bench.plays(scripted(200, ANSWER))
    app_headers = {name: "ak-test"}
    heard = await bench.send(CHAT, headers=app_headers)
    assert heard.status == 200


async def test_a_revoked_key_is_refused_and_the_attempt_is_known(bench: Bench) -> None:
    bench.key = dataclasses.replace(bench.key, revoked=True)
    heard = await bench.send(CHAT)
    assert heard.status == 401
    assert "revoked" in heard.json()["error"]["message"]


async def test_an_expired_key_is_refused(bench: Bench) -> None:
    bench.key = dataclasses.replace(bench.key, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    heard = await bench.send(CHAT)
    assert "expired" in heard.json()["error"]["message"]


async def test_a_keys_use_is_noted(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, ANSWER))
    await bench.send(CHAT)
    assert bench.uses == {"key_1": bench.ledger.event.time_us}


async def test_a_suspended_tenant_is_refused(bench: Bench) -> None:
    bench.suspended = True
    heard = await bench.send(CHAT)
    assert (heard.status, heard.json()["error"]["code"]) == (403, "tenant_suspended")


async def test_an_unknown_model_is_not_found(bench: Bench) -> None:
    heard = await bench.send({**CHAT, "model": "nope"})
    assert (heard.status, heard.json()["error"]["code"]) == (404, "model_not_found")
    assert heard.json()["error"]["param"] == "model"
    assert bench.ledger.event.requested_model == "nope"


async def test_a_model_off_the_keys_list_is_forbidden(bench: Bench) -> None:
    bench.key = dataclasses.replace(bench.key, allowed_models=frozenset({"other"}))
    heard = await bench.send(CHAT)
    assert (heard.status, heard.json()["error"]["code"]) == (403, "model_not_allowed")


async def test_what_has_no_price_is_refused(bench: Bench) -> None:
    bench.model(bench.deployment(price=None))
    heard = await bench.send(CHAT)
    assert (heard.status, heard.json()["error"]["code"]) == (400, "price_unknown")


async def test_what_has_no_price_is_flagged_where_it_is_allowed(bench: Bench, scripted: Scripted) -> None:
    bench.model(bench.deployment(price=None), allow_unpriced=True)
    bench.plays(scripted(200, ANSWER))
    assert (await bench.send(CHAT)).status == 200
    event = bench.ledger.event
    assert (event.unpriced, event.cost_nano, event.price_source) == (True, 0, "")


async def test_invalid_json_is_recorded_too(bench: Bench) -> None:
    heard = await bench.send(b"{nonsense")
    assert (heard.status, heard.json()["error"]["type"]) == (400, "invalid_request_error")
    assert (bench.ledger.event.status, bench.ledger.claims) == (400, 0)


async def test_a_body_over_the_limit_is_refused_before_it_is_read(bench: Bench) -> None:
    heard = await bench.send(b"x", headers={"content-length": "100001"})
    assert (heard.status, heard.json()["error"]["code"]) == (413, "request_too_large")
    assert heard.headers["connection"] == "close"


async def test_without_room_for_usage_nothing_is_called(bench: Bench) -> None:
    bench.ledger.full = True
    heard = await bench.send(CHAT)
    assert (heard.status, heard.json()["error"]["code"]) == (503, "usage_backlog_full")
    assert heard.headers["retry-after"] == "1"
    assert bench.provider.requests == []


async def test_an_answer_that_cannot_be_recorded_is_not_given(bench: Bench, scripted: Scripted) -> None:
    bench.ledger.broken = True
    bench.plays(scripted(200, ANSWER))
    heard = await bench.send(CHAT)
    assert (heard.status, heard.json()["error"]["code"]) == (503, "usage_backlog_full")


async def test_a_defect_of_ours_is_answered_recorded_and_logged_with_the_calls_id(
    bench: Bench, scripted: Scripted, told: list[tuple[str, str]]
) -> None:
    bench.plays(scripted(200, ValueError("a defect, on purpose")))
    heard = await bench.send(CHAT)
    assert (heard.status, heard.json()["error"]["code"]) == (500, "internal_error")
    assert "on purpose" not in heard.json()["error"]["message"]
    assert told == [("a call failed", heard.headers["x-request-id"])]
    assert bench.ledger.claims == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/models/nope", 404),
    ],
)
async def test_other_urls_are_answered_in_openais_shape(bench: Bench, method: str, path: str, status: int) -> None:
    heard = await bench.send(method=method, path=path)
    assert heard.status == status
    assert set(heard.json()["error"]) == {"message", "type", "param", "code"}


async def test_the_model_list_shows_what_the_key_may_use(bench: Bench) -> None:
    bench.model(name="org/other")
    everything = (await bench.send(method="GET", path="/v1/models")).json()
    assert [model["id"] for model in everything["data"]] == ["m", "org/other"]
    bench.key = dataclasses.replace(bench.key, allowed_models=frozenset({"org/other"}))
    allowed = (await bench.send(method="GET", path="/v1/models")).json()
    assert allowed == {"object": "list", "data": [everything["data"][1]]}
    one = (await bench.send(method="GET", path="/v1/models/org/other")).json()
    assert one == {"id": "org/other", "object": "model", "created": 1, "owned_by": "acme"}

"""Each error of the gateway's reference as the typed exception that the official SDK makes of it."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixtures.server import Say, Server, TwinModels
    from tests.fixtures.twins import Twin


def _call(client: openai.OpenAI, say: "Say", model: str = "sandbox-small", text: str = "Hello", **extra: Any) -> None:
    client.chat.completions.create(model=model, messages=say(text), **extra)


@pytest.fixture
def flaky(server: "Server", twin_models: "TwinModels", openai_twin: "Twin") -> "Iterator[str]":
    """A model at a provider of its own, the twin, which gives up waiting after a second."""
    manage = server.management
    provider = manage.provider(
        "flaky",
        "openai_compatible",
        openai_twin.url,
        api_key="k-123456",
        price_provider="openai",
        timeouts={"first_byte": 1, "between_bytes": 1},
    )
    manage.model("flaky", {"provider": "flaky", "upstream_model": "gpt-4o-mini"})
    yield "flaky"
    manage.delete("/models/flaky")
    manage.delete(f"/providers/{provider['id']}")


@pytest.mark.parametrize("key", ["nonsense", "ak-" + "x" * 43, "kéy"])
def test_401_invalid_api_key(server: "Server", say: "Say", key: str) -> None:
    answer = httpx2.post(
        f"{server.url}/v1/chat/completions",
        json={"model": "sandbox-small", "messages": say("Hello")},
        headers={b"authorization": f"Bearer {key}".encode("latin-1")},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert key not in answer.text


def test_401_without_any_key(server: "Server", say: "Say") -> None:
    for headers in ({}, {"authorization": "Bearer"}, {"authorization": "Basic YTpi"}):
        answer = server.http.post(
            "/v1/chat/completions", json={"model": "sandbox-small", "messages": say("Hello")}, headers=headers
        )
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


def test_401_is_an_authentication_error(server: "Server", say: "Say") -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        _call(server.sdk("ak-nobodys"), say)
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id is not None
    assert refused.value.request_id.startswith("req_")


def test_401_for_a_key_that_has_expired(server: "Server", say: "Say") -> None:
    key = server.management.key(expires_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())
    with pytest.raises(openai.AuthenticationError, match="expired"):
        _call(server.sdk(key["secret"]), say)


def test_400_names_the_field(server: "Server", sdk: openai.OpenAI, say: "Say") -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"messages": "Hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "no role"}]}, "messages"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"n": 0}, "n"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ]
    for fields, param in wrong:
        with pytest.raises(openai.BadRequestError) as refused:
            _call(sdk, say, extra_body=fields)
        assert refused.value.code == "invalid_request"
        assert refused.value.param is not None
        assert refused.value.param.startswith(param), (fields, refused.value.param)
        assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_400_for_a_missing_field(server: "Server", say: "Say", missing: str) -> None:
    body = {"model": "sandbox-small", "messages": say("Hello")}
    del body[missing]
    answer = server.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {server.api_key}"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == missing


def test_400_price_unknown_unless_allowed(server: "Server", twin_models: "TwinModels", say: "Say") -> None:
    manage = server.management
    made = manage.model("house-made", {"provider": "openai-twin", "upstream_model": "house-made-7b"})
    client = server.sdk()
    with pytest.raises(openai.BadRequestError) as refused:
        _call(client, say, "house-made")
    assert refused.value.code == "price_unknown"
    manage.patch(f"/models/{made['id']}", allow_unpriced=True)
    answer = client.chat.completions.with_raw_response.create(model="house-made", messages=say("Hello"))
    event = server.event(answer.headers["x-request-id"])
    assert event["unpriced"]
    assert event["input_tokens"] > 0
    manage.delete(f"/models/{made['id']}")


def test_402_budget_exceeded(server: "Server", say: "Say") -> None:
    client = server.sdk(server.management.key(monthly_budget_usd="0.000000001")["secret"])
    with pytest.raises(openai.APIStatusError) as refused:
        _call(client, say)
    assert refused.value.status_code == 402
    assert refused.value.code == "budget_exceeded"
    assert refused.value.type == "insufficient_quota"


def test_403_model_not_allowed(server: "Server", say: "Say") -> None:
    client = server.sdk(server.management.key(allowed_models=["sandbox-large"])["secret"])
    _call(client, say, "sandbox-large")
    with pytest.raises(openai.PermissionDeniedError) as refused:
        _call(client, say)
    assert refused.value.code == "model_not_allowed"


def test_404_model_not_found(sdk: openai.OpenAI, say: "Say") -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        _call(sdk, say, "no-such-model")
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"


def test_404_and_405_for_other_paths_and_methods(server: "Server", sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.images.generate(model="sandbox-small", prompt="A house")
    assert missing.value.code == "unknown_url"
    answer = server.http.get("/v1/chat/completions")
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"


def test_413_request_too_large(sdk: openai.OpenAI, say: "Say") -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        _call(sdk, say, text="x" * (10 * 1024 * 1024))
    assert refused.value.status_code == 413
    assert refused.value.code == "request_too_large"


def test_429_says_when_to_come_back(server: "Server", say: "Say") -> None:
    client = server.sdk(server.management.key(requests_per_minute=1)["secret"])
    first = client.chat.completions.with_raw_response.create(model="sandbox-small", messages=say("Hello"))
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert re.fullmatch(r"(\d+m)?[\d.]+m?s", first.headers["x-ratelimit-reset-requests"])
    with pytest.raises(openai.RateLimitError) as refused:
        _call(client, say)
    assert refused.value.code == "rate_limit_exceeded"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def test_429_of_the_provider_passes_its_retry_after(
    flaky: str, openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    openai_twin.faults(status=429, headers={"retry-after": "7"})
    with pytest.raises(openai.RateLimitError) as refused:
        _call(sdk, say, flaky)
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_502_provider_misconfigured(
    flaky: str, openai_twin: "Twin", sdk: openai.OpenAI, say: "Say", status: int
) -> None:
    openai_twin.faults(status=status)
    with pytest.raises(openai.InternalServerError) as refused:
        _call(sdk, say, flaky)
    assert refused.value.status_code == 502
    assert refused.value.code == "provider_misconfigured"


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 529}, {"garbage": True}, {"die_after": 0}])
def test_503_provider_unavailable(
    flaky: str, openai_twin: "Twin", sdk: openai.OpenAI, say: "Say", fault: dict[str, Any]
) -> None:
    openai_twin.faults(**fault)
    with pytest.raises(openai.InternalServerError) as refused:
        _call(sdk, say, flaky)
    assert refused.value.status_code == 503
    assert refused.value.code == "provider_unavailable"


@pytest.mark.parametrize("stream", [False, True])
def test_504_provider_timeout(flaky: str, openai_twin: "Twin", sdk: openai.OpenAI, say: "Say", stream: bool) -> None:
    openai_twin.faults(hang=True)
    with pytest.raises(openai.InternalServerError) as refused:
        _call(sdk, say, flaky, stream=stream)
    assert refused.value.status_code == 504
    assert refused.value.code == "provider_timeout"


def test_what_the_provider_says_of_a_wrong_request_passes_back(
    twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        _call(sdk, say, twin_models.openai, temperature=7)
    assert refused.value.param == "temperature"
    assert "Invalid 'temperature'" in refused.value.message
    openai_twin.faults(status=422)
    with pytest.raises(openai.UnprocessableEntityError):
        _call(sdk, say, twin_models.openai)


def test_an_error_names_the_call_and_is_recorded(
    flaky: str, server: "Server", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    openai_twin.faults(status=500)
    with pytest.raises(openai.InternalServerError) as refused:
        _call(sdk, say, flaky)
    assert refused.value.request_id is not None
    event = server.event(refused.value.request_id)
    assert (event["status"], event["outcome"], event["error_code"]) == (503, "error", "provider_unavailable")
    assert [attempt["status"] for attempt in event["attempts"]] == [500]
    assert event["cost_nano"] == 0


def test_the_sdks_own_retries_get_through_a_provider_that_recovers(
    flaky: str, server: "Server", openai_twin: "Twin", say: "Say"
) -> None:
    openai_twin.faults(status=503, times=1, headers={"retry-after": "0"})
    with server.sdk(max_retries=2) as client:
        _call(client, say, flaky)
    assert openai_twin.state()["requests"] == 2

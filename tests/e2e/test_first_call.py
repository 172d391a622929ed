"""The main promise: from a fresh start to an answered and recorded call, with the official SDK."""

from typing import TYPE_CHECKING

import httpx2
import openai

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, TwinModels
    from tests.fixtures.twins import Twin


def test_the_first_start_prints_all_that_is_needed_for_a_first_call(server: "Server") -> None:
    assert server.admin_email
    assert server.admin_password
    assert server.api_key.startswith("ak-")
    assert f"curl {server.url}/v1/chat/completions" in server.said


def test_the_sandbox_answers_the_official_sdk(server: "Server", sdk: openai.OpenAI, say: "Say") -> None:
    answer = sdk.chat.completions.with_raw_response.create(model="sandbox-small", messages=say("Hello"))
    completion = answer.parse()
    assert "sandbox" in (completion.choices[0].message.content or "")
    assert completion.object == "chat.completion"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-auterity-model"] == "sandbox-small"
    assert float(answer.headers["x-auterity-cost"]) > 0
    assert int(answer.headers["x-auterity-overhead-us"]) > 0


async def test_the_sandbox_answers_the_asynchronous_sdk(async_sdk: openai.AsyncOpenAI, say: "Say") -> None:
    completion = await async_sdk.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    assert completion.choices[0].finish_reason == "stop"


def test_the_same_request_gets_the_same_answer_from_the_sandbox(sdk: openai.OpenAI, say: "Say") -> None:
    said = {
        sdk.chat.completions.create(model="sandbox-small", messages=say("Hello")).choices[0].message.content
        for _ in range(2)
    }
    assert len(said) == 1


def test_an_openai_compatible_provider_is_called_with_its_own_credential(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    completion = sdk.chat.completions.create(model=twin_models.openai, messages=say("Hello"), temperature=0.5)
    assert completion.choices[0].message.content
    assert completion.choices[0].message.content.startswith("Hello from the OpenAI twin.")
    asked = openai_twin.requests()[0]
    assert asked["path"] == "/v1/chat/completions"
    assert asked["headers"]["authorization"].startswith("Bearer sk-provider-")
    assert server.api_key not in str(asked)
    assert '"temperature":0.5' in asked["body"].replace(" ", "")


async def test_an_anthropic_model_answers_through_openai_shapes(
    twin_models: "TwinModels", anthropic_twin: "Twin", async_sdk: openai.AsyncOpenAI, say: "Say"
) -> None:
    completion = await async_sdk.chat.completions.create(
        model=twin_models.anthropic,
        messages=[{"role": "system", "content": "Be brief."}, *say("Hello")],
    )
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content
    assert completion.choices[0].message.content.startswith("Hello from the Anthropic twin.")
    asked = anthropic_twin.requests()[0]
    assert asked["path"] == "/v1/messages"
    assert asked["headers"]["x-api-key"].startswith("sk-provider-")
    assert "authorization" not in asked["headers"]


def test_the_key_is_taken_from_other_sdks_headers_too(server: "Server", say: "Say") -> None:
    for header in ("x-api-key", "api-key"):
        answer = httpx2.post(
            f"{server.url}/v1/chat/completions",
            json={"model": "sandbox-small", "messages": say("Hello")},
            headers={header: server.api_key},
            timeout=60,
            trust_env=False,
        )
        assert answer.status_code == 200

"""A client that leaves is noticed at once: the provider is let go, and what it used is billed."""

import time
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, TwinModels
    from tests.fixtures.twins import Twin

NOTICED_S = 1.0


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_stream_that_is_left_is_ended_upstream_within_a_second(
    *,
    kind: str,
    server: "Server",
    twin_models: "TwinModels",
    openai_twin: "Twin",
    anthropic_twin: "Twin",
    async_sdk: openai.AsyncOpenAI,
    say: "Say",
) -> None:
    twin, model = {
        "openai": (openai_twin, twin_models.openai),
        "anthropic": (anthropic_twin, twin_models.anthropic),
    }[kind]
    twin.faults(chunks=1000, drip_s=0.02)
    answer = await async_sdk.chat.completions.with_raw_response.create(model=model, messages=say("Hello"), stream=True)
    stream = answer.parse()
    seen = 0
    async for _ in stream:
        seen += 1
        if seen == 10:
            break
    await stream.close()
    left = time.monotonic()
    state = await twin.until(lambda state: state["aborted"] == 1)
    assert time.monotonic() - left < NOTICED_S
    assert state["in_flight"] == 0
    assert state["pieces"] < 200

    event = server.event(answer.headers["x-request-id"])
    assert (event["outcome"], event["status"]) == ("cancelled", 499)
    assert event["tokens_estimated"]
    assert event["output_tokens"] >= 7
    assert event["cost_nano"] > 0


async def test_a_silent_provider_does_not_hide_that_the_client_left(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", async_sdk: openai.AsyncOpenAI, say: "Say"
) -> None:
    openai_twin.faults(hang_after=3)
    answer = await async_sdk.chat.completions.with_raw_response.create(
        model=twin_models.openai, messages=say("Hello"), stream=True
    )
    stream = answer.parse()
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    left = time.monotonic()
    await openai_twin.until(lambda state: state["aborted"] == 1)
    assert time.monotonic() - left < NOTICED_S
    assert server.event(answer.headers["x-request-id"])["outcome"] == "cancelled"


async def test_a_client_that_leaves_before_the_first_byte_ends_the_stream_too(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", say: "Say"
) -> None:
    key = server.management.key()
    openai_twin.faults(hang=True)
    async with server.async_sdk(key["secret"], timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model=twin_models.openai, messages=say("Hello"), stream=True)
    left = time.monotonic()
    await openai_twin.until(lambda state: state["aborted"] == 1)
    assert time.monotonic() - left < NOTICED_S
    assert server.events(key=key["id"])[0]["outcome"] == "cancelled"


async def test_a_plain_call_whose_client_left_runs_to_its_end_and_is_billed_exactly(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", say: "Say"
) -> None:
    key = server.management.key()
    openai_twin.faults(delay_s=1)
    async with httpx2.AsyncClient(timeout=0.3, trust_env=False) as client:
        with pytest.raises(httpx2.TimeoutException):
            await client.post(
                f"{server.url}/v1/chat/completions",
                json={"model": twin_models.openai, "messages": say("Hello")},
                headers={"authorization": f"Bearer {key['secret']}"},
            )
    state = await openai_twin.until(lambda state: state["in_flight"] == 0)
    assert (state["completed"], state["aborted"]) == (1, 0)
    event = server.events(key=key["id"])[0]
    assert event["output_tokens"] == 10
    assert not event["tokens_estimated"]
    assert event["cost_nano"] > 0


async def test_connections_of_streams_that_were_left_are_not_leaked(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", async_sdk: openai.AsyncOpenAI, say: "Say"
) -> None:
    openai_twin.faults(chunks=1000, drip_s=0.02)
    for _ in range(20):
        stream = await async_sdk.chat.completions.create(model=twin_models.openai, messages=say("Hello"), stream=True)
        async for _ in stream:
            break
        await stream.close()
    await openai_twin.until(lambda state: state["aborted"] == 20)
    metrics = server.metrics()
    assert metrics.value("auterity_provider_connections", origin=openai_twin.origin, state="in_use") == 0
    assert metrics.value("auterity_calls_in_flight") == 0

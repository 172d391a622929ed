"""Streams: bytes go out as they come in, usage is always metered and shown on demand, ``[DONE]`` is last."""

import json
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, TwinModels
    from tests.fixtures.twins import Twin


def _raw(server: "Server", model: str, say: "Say", text: str = "Hello", **fields: object) -> tuple[str, list[Any]]:
    """A stream as it is on the wire: the request id and the events, ``[DONE]`` as text."""
    body = {"model": model, "messages": say(text), "stream": True, **fields}
    headers = {"authorization": f"Bearer {server.api_key}"}
    answer = server.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [frame.removeprefix("data: ") for frame in answer.text.split("\n\n") if frame]
    events = [frame if frame == "[DONE]" else json.loads(frame) for frame in frames]
    return answer.headers["x-request-id"], events


def test_the_sdk_reads_a_stream_of_the_sandbox(sdk: openai.OpenAI, say: "Say") -> None:
    plain = sdk.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    with sdk.chat.completions.create(model="sandbox-small", messages=say("Hello"), stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_asynchronous_sdk_reads_a_stream(async_sdk: openai.AsyncOpenAI, say: "Say") -> None:
    text = ""
    async with await async_sdk.chat.completions.create(
        model="sandbox-small", messages=say("Hello"), stream=True
    ) as stream:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert "sandbox" in text


@pytest.mark.parametrize("kind", ["sandbox", "openai", "anthropic"])
def test_usage_is_shown_only_to_those_who_ask(
    *, kind: str, server: "Server", twin_models: "TwinModels", openai_twin: "Twin", anthropic_twin: "Twin", say: "Say"
) -> None:
    model = {"sandbox": "sandbox-small", "openai": twin_models.openai, "anthropic": twin_models.anthropic}[kind]
    quiet_id, quiet = _raw(server, model, say)
    told_id, told = _raw(server, model, say, stream_options={"include_usage": True})

    assert quiet[-1] == told[-1] == "[DONE]"
    assert all(event["choices"] for event in quiet[:-1])
    assert all(not event.get("usage") for event in quiet[:-1])
    *content, last = told[:-1]
    assert all(event["choices"] for event in content)
    assert last["choices"] == []
    usage, billed = last["usage"], last["x_auterity"]
    assert billed["currency"] == "USD"

    # Metered alike, whether shown or not.
    for request_id in (quiet_id, told_id):
        event = server.event(request_id)
        assert event["stream"]
        assert not event["tokens_estimated"]
        assert event["input_tokens"] == usage["prompt_tokens"]
        assert event["output_tokens"] == usage["completion_tokens"]
        assert event["cost_usd"] == billed["cost"]
        assert event["cost_nano"] > 0


def test_the_provider_is_always_asked_for_usage(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", say: "Say"
) -> None:
    _raw(server, twin_models.openai, say)
    assert json.loads(openai_twin.requests()[0]["body"])["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_chunks_go_out_as_they_come_in(
    *, kind: str, twin_models: "TwinModels", openai_twin: "Twin", anthropic_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    twin, model = {
        "openai": (openai_twin, twin_models.openai),
        "anthropic": (anthropic_twin, twin_models.anthropic),
    }[kind]
    twin.faults(chunks=8, drip_s=0.1)
    with sdk.chat.completions.create(model=model, messages=say("Hello"), stream=True) as stream:
        arrived = [time.monotonic() for chunk in stream if chunk.choices[0].delta.content]
    assert len(arrived) == 8
    assert arrived[-1] - arrived[0] > 0.4, "the stream was held back and came at once"


@pytest.mark.parametrize("faults", [{"crlf": True}, {"split": 7}, {"usage_in_last": True}])
def test_a_stream_is_read_however_the_provider_cuts_it(
    *,
    faults: dict[str, object],
    server: "Server",
    twin_models: "TwinModels",
    openai_twin: "Twin",
    sdk: openai.OpenAI,
    say: "Say",
) -> None:
    openai_twin.faults(**faults)
    answer = sdk.chat.completions.with_raw_response.create(
        model=twin_models.openai, messages=say("Hello"), stream=True, stream_options={"include_usage": True}
    )
    with answer.parse() as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith('Hello from the OpenAI twin. It says "usage"')
    event = server.event(answer.headers["x-request-id"])
    assert chunks[-1].usage is not None
    assert event["output_tokens"] == chunks[-1].usage.completion_tokens == 10


@pytest.mark.parametrize("fault", ["die_after", "error_after"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_provider_that_dies_in_the_middle_gives_an_error_and_is_recorded_as_such(
    *,
    kind: str,
    fault: str,
    server: "Server",
    twin_models: "TwinModels",
    openai_twin: "Twin",
    anthropic_twin: "Twin",
    sdk: openai.OpenAI,
    say: "Say",
) -> None:
    twin, model = {
        "openai": (openai_twin, twin_models.openai),
        "anthropic": (anthropic_twin, twin_models.anthropic),
    }[kind]
    twin.faults(**{fault: 6})
    answer = sdk.chat.completions.with_raw_response.create(model=model, messages=say("Hello"), stream=True)
    with answer.parse() as stream:
        assert [next(stream).choices[0].delta.content for _ in range(3)] == ["", "Hello", " from"]
        with pytest.raises(openai.APIError):
            list(stream)

    event = server.event(answer.headers["x-request-id"])
    assert event["outcome"] == "interrupted"
    assert event["error_code"]
    assert event["tokens_estimated"]
    assert event["cost_nano"] > 0


def test_a_broken_stream_has_no_end_mark(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", say: "Say"
) -> None:
    openai_twin.faults(die_after=4)
    _, events = _raw(server, twin_models.openai, say)
    assert "[DONE]" not in events
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}


def test_an_anthropic_tool_call_streams_in_openai_shapes(
    twin_models: "TwinModels", anthropic_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    with sdk.chat.completions.create(
        model=twin_models.anthropic,
        messages=say("Weather in Bonn?"),
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
        tool_choice="required",
        stream=True,
    ) as stream:
        deltas = [choice for chunk in stream for choice in chunk.choices]
    calls = [call for choice in deltas for call in choice.delta.tool_calls or ()]
    assert [call.id for call in calls if call.id] == ["toolu_twin"]
    assert [call.function.name for call in calls if call.function and call.function.name] == ["weather"]
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert json.loads(arguments) == {"city": "Bonn"}
    assert deltas[-1].finish_reason == "tool_calls"

"""Each wire against a twin of its provider, over the real transport: both directions and every way to misbehave."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import FailureKind, HttpResponse, Timeouts, TransportError
from auterity.kit.tokens import TokenUsage
from auterity.providers.anthropic import AnthropicWire
from auterity.providers.contract import Endpoint, ModelCall, ProviderRefusal, StreamDecoder, Target, Wire
from auterity.providers.openai import OpenAIWire

if TYPE_CHECKING:
    from tests.fixtures.twins import Twin

HASTY = Timeouts(connect=5, first_byte=0.3, between_bytes=0.3, total=60)
PATIENT = Timeouts(connect=5, first_byte=20, between_bytes=20, total=60)
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


class Caller:
    """Calls a twin as the gateway does."""

    def __init__(self, wire: Wire, twin: "Twin", pool: HttpPool) -> None:
        self.wire = wire
        self.twin = twin
        self._pool = pool
        self.target = Target(
            base_url=twin.url, api_key="k", upstream_model="upstream-1", public_model="pub", max_output_tokens=500
        )

    def call(self, *, endpoint: Endpoint = "chat.completions", **fields: object) -> ModelCall:
        body = {"model": "pub"} | ({"messages": HELLO} if endpoint == "chat.completions" else {}) | fields
        raw = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])
        return ModelCall(endpoint=endpoint, model="pub", fields=raw, stream=bool(fields.get("stream")))

    async def send(self, call: ModelCall, timeouts: Timeouts = PATIENT) -> HttpResponse:
        return await self._pool.send(self.wire.request(call, self.target), timeouts)

    async def answer(self, **fields: Any) -> tuple[dict[str, Any], TokenUsage | None]:
        call = self.call(**fields)
        response = await self.send(call)
        body = await response.read(1_000_000)
        assert response.status == 200, body
        answer = self.wire.answer(call, self.target, body)
        return msgspec.json.decode(answer.body), answer.usage

    async def stream(self, timeouts: Timeouts = PATIENT, **fields: Any) -> tuple[list[dict[str, Any]], StreamDecoder]:
        call = self.call(stream=True, **fields)
        response = await self.send(call, timeouts)
        assert response.status == 200, await response.read(1_000_000)
        decoder = self.wire.decoder(call, self.target)
        out = b""
        try:
            while piece := await response.chunk():
                out += decoder.feed(piece)
            decoder.end()
        finally:
            response.abort()
        return [msgspec.json.decode(frame.removeprefix(b"data: ")) for frame in out.split(b"\n\n")[:-1]], decoder


@pytest.fixture
async def pool() -> AsyncGenerator[HttpPool]:
    pool = HttpPool()
    yield pool
    await pool.close()


@pytest.fixture(params=["openai", "anthropic"])
def caller(request: pytest.FixtureRequest, pool: HttpPool) -> Caller:
    wire = OpenAIWire() if request.param == "openai" else AnthropicWire()
    return Caller(wire, request.getfixturevalue(f"{request.param}_twin"), pool)


@pytest.fixture
def openai(openai_twin: "Twin", pool: HttpPool) -> Caller:
    return Caller(OpenAIWire(), openai_twin, pool)


@pytest.fixture
def anthropic(anthropic_twin: "Twin", pool: HttpPool) -> Caller:
    return Caller(AnthropicWire(), anthropic_twin, pool)


def text(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


async def test_a_plain_answer_is_metered_and_says_what_the_stream_says(caller: Caller) -> None:
    body, usage = await caller.answer()
    chunks, decoder = await caller.stream()
    assert usage is not None
    assert usage.output == 10
    assert usage.cache_read > 0
    assert decoder.usage == usage
    assert decoder.finished
    assert text(chunks) == body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == 10
    assert {asked["headers"]["accept"] for asked in caller.twin.requests()} == {"application/json", "text/event-stream"}


async def test_a_limit_reaches_the_provider(caller: Caller) -> None:
    body, usage = await caller.answer(max_tokens=3)
    assert body["choices"][0]["finish_reason"] == "length"
    assert usage is not None
    assert usage.output == 3


async def test_a_tool_that_is_demanded_is_called(caller: Caller) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    body, _ = await caller.answer(tools=[tool], tool_choice="required")
    message = body["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city":"Bonn"}'}
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    # And its result goes back the way it should.
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}
    followed, _ = await caller.answer(tools=[tool], messages=[*HELLO, message, result])
    assert followed["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("faults", [{"crlf": True}, {"split": 1}, {"split": 7}, {"drip_s": 0.001}], ids=repr)
async def test_a_stream_may_be_cut_and_ended_anyhow(caller: Caller, faults: dict[str, object]) -> None:
    expected, _ = await caller.stream()
    caller.twin.faults(**faults)
    chunks, decoder = await caller.stream()
    assert text(chunks) == text(expected)
    assert decoder.finished
    assert decoder.usage is not None


async def test_a_long_stream_is_metered_to_the_token(caller: Caller) -> None:
    caller.twin.faults(chunks=450)
    chunks, decoder = await caller.stream()
    assert decoder.usage is not None
    assert decoder.usage.output == 450
    assert len(chunks) == decoder.content_events == 452


async def test_usage_that_is_not_told_is_not_invented(caller: Caller) -> None:
    caller.twin.faults(no_usage=True)
    _, usage = await caller.answer()
    chunks, decoder = await caller.stream()
    assert usage is decoder.usage is None
    assert len(chunks) == decoder.content_events == 12


async def test_a_stream_without_an_end_mark_is_complete_once_it_has_a_finish_reason(caller: Caller) -> None:
    caller.twin.faults(no_end=True)
    _, decoder = await caller.stream()
    assert decoder.finished


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
async def test_every_error_status_is_read(caller: Caller, status: int) -> None:
    caller.twin.faults(status=status)
    response = await caller.send(caller.call())
    refusal = caller.wire.refusal(response.status, response.headers, await response.read(10_000))
    assert refusal.provider_status == status
    assert f"told to answer {status}" in refusal.message


async def test_a_rate_limit_tells_when_to_come_again(caller: Caller) -> None:
    caller.twin.faults(requests_per_minute=1)
    await caller.answer()
    response = await caller.send(caller.call())
    refusal = caller.wire.refusal(response.status, response.headers, await response.read(10_000))
    assert refusal.provider_status == 429
    assert refusal.retry_after is not None
    assert 50 <= refusal.retry_after <= 60


async def test_a_missing_model_is_the_providers_404(caller: Caller) -> None:
    caller.target = msgspec.structs.replace(caller.target, upstream_model="no-such-model")
    response = await caller.send(caller.call())
    assert response.status == 404
    assert caller.wire.refusal(404, response.headers, await response.read(10_000)).provider_status == 404


async def test_garbage_is_a_refusal(caller: Caller) -> None:
    caller.twin.faults(garbage=True)
    with pytest.raises(ProviderRefusal) as caught:
        await caller.answer()
    assert caught.value.provider_code == "invalid_provider_answer"
    chunks, decoder = await caller.stream()
    assert not chunks
    assert not decoder.finished


async def test_an_error_in_the_middle_of_a_stream_is_a_refusal(caller: Caller) -> None:
    caller.twin.faults(error_after=4)
    with pytest.raises(ProviderRefusal) as caught:
        await caller.stream()
    assert caught.value.provider_status in (502, 529)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_dies_in_the_middle_is_noticed(caller: Caller, stream: bool) -> None:
    caller.twin.faults(die_after=4)
    with pytest.raises(TransportError) as caught:
        await (caller.stream() if stream else caller.answer())
    assert caught.value.kind is FailureKind.BROKEN


@pytest.mark.parametrize("fault", [{"hang": True}, {"hang_after": 4}], ids=repr)
async def test_a_provider_that_falls_silent_is_left(caller: Caller, fault: dict[str, object]) -> None:
    caller.twin.faults(**fault)
    with pytest.raises(TransportError) as caught:
        await caller.stream(HASTY)
    assert caught.value.kind is FailureKind.TIMEOUT
    state = await caller.twin.until(lambda state: state["aborted"] == 1)
    assert state["in_flight"] == 0


async def test_a_stream_that_is_given_up_is_ended_at_the_provider(caller: Caller) -> None:
    caller.twin.faults(drip_s=0.01, chunks=100_000)
    call = caller.call(stream=True, max_tokens=200_000)
    response = await caller.send(call)
    assert await response.chunk()
    assert caller.twin.state()["in_flight"] == 1
    response.abort()
    state = await caller.twin.until(lambda state: state["aborted"] == 1)
    assert state["in_flight"] == state["completed"] == 0
    assert state["pieces"] < 1000


async def test_unknown_fields_reach_a_compatible_provider_and_come_back(openai: Caller) -> None:
    body, _ = await openai.answer(x_new={"b": [1, 2.50]}, temperature=0.1)
    assert body["x_unknown"] == {"kept": True}
    (asked,) = openai.twin.requests()
    assert asked["headers"]["authorization"] == "Bearer k"
    assert asked["path"] == "/v1/chat/completions"
    assert msgspec.json.decode(asked["body"]) == {
        "model": "upstream-1",
        "messages": HELLO,
        "x_new": {"b": [1, 2.5]},
        "temperature": 0.1,
    }


async def test_usage_in_the_last_chunk_is_metered_and_forwarded(openai: Caller) -> None:
    openai.twin.faults(usage_in_last=True)
    chunks, decoder = await openai.stream()
    assert decoder.usage is not None
    assert decoder.usage_chunk is None
    assert chunks[-1]["usage"]["completion_tokens"] == decoder.usage.output == 10


async def test_the_usage_chunk_is_withheld(openai: Caller) -> None:
    chunks, decoder = await openai.stream(stream_options={"include_usage": False})
    assert all(chunk["choices"] for chunk in chunks)
    assert decoder.usage_chunk is not None
    assert msgspec.json.decode(decoder.usage_chunk)["choices"] == []


async def test_embeddings_are_metered(openai: Caller) -> None:
    body, usage = await openai.answer(endpoint="embeddings", input=["a", "b"])
    assert usage == TokenUsage(input=6)
    assert [each["embedding"] for each in body["data"]] == [[0.5, -0.5, 0.5, -0.5]] * 2


async def test_models_can_be_listed(caller: Caller, pool: HttpPool) -> None:
    request = caller.wire.models_request(caller.target)
    assert request is not None
    response = await pool.send(request, PATIENT)
    assert response.status == 200
    assert msgspec.json.decode(await response.read(10_000))["data"]


async def test_a_whole_conversation_keeps_anthropics_rules(anthropic: Caller) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body, usage = await anthropic.answer(
        messages=[
            {"role": "developer", "content": "Rules"},
            {"role": "user", "content": "A"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
            {"role": "assistant", "content": "", "tool_calls": [call, call | {"id": "c2"}]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "c2", "content": ""},
            {"role": "user", "content": "Thanks"},
            {"role": "assistant", "content": "B"},
            {"role": "user", "content": "C"},
        ],
        tools=[{"type": "function", "function": {"name": "f"}}],
        thinking={"type": "adaptive"},
        user="u",
        stop=["x"],
        temperature=1,
    )
    assert body["choices"][0]["message"]["reasoning_content"] == "Let me think."
    assert usage is not None
    assert usage.input == body["usage"]["prompt_tokens"]
    assert usage.cache_write == 3
    (asked,) = anthropic.twin.requests()
    assert asked["headers"]["x-api-key"] == "k"
    assert asked["headers"]["anthropic-version"] == "2023-06-01"


async def test_thinking_and_tools_are_streamed(anthropic: Caller) -> None:
    chunks, _ = await anthropic.stream(
        thinking={"type": "adaptive"},
        tools=[{"type": "function", "function": {"name": "f"}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert {"reasoning_content": "Let me think."} in deltas
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["id"] == "toolu_twin"
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city": "Bonn"}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"

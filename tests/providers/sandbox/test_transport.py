"""The sandbox keeps the transport's contract in-process, and the HTTP contract as a second process."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import msgspec
import pytest
from openai import NotFoundError, OpenAI, RateLimitError
from openai.types.chat import ChatCompletionMessageParam

from auterity.engines.http.port import FailureKind, HttpRequest, HttpResponse, Timeouts, TransportError
from auterity.kit.tokens import TokenUsage
from auterity.providers.contract import ModelCall, Target
from auterity.providers.sandbox import SANDBOX_BASE_URL, SandboxService, SandboxSettings, SandboxTransport, SandboxWire

WIRE = SandboxWire()
TARGET = Target(base_url=SANDBOX_BASE_URL, api_key=None, upstream_model="sandbox-small", public_model="try")
TRANSPORT = SandboxTransport(SandboxService(SandboxSettings(latency_scale=0)))
PATIENCE = Timeouts(first_byte=0.05, between_bytes=0.05, total=10)


def request(fault: str = "", *, stream: bool = False) -> tuple[ModelCall, HttpRequest]:
    fields: dict[str, object] = {"model": "try", "messages": [{"role": "user", "content": "Hello"}]}
    if stream:
        fields["stream"] = True
    if fault:
        fields["metadata"] = {"sandbox_fault": fault}
    raw = msgspec.json.decode(msgspec.json.encode(fields), type=dict[str, msgspec.Raw])
    call = ModelCall(endpoint="chat.completions", model="try", fields=raw, stream=stream)
    return call, WIRE.request(call, TARGET)


async def send(fault: str = "", *, stream: bool = False) -> HttpResponse:
    return await TRANSPORT.send(request(fault, stream=stream)[1], PATIENCE)


async def test_a_plain_call_is_answered_and_metered() -> None:
    call, http = request()
    response = await TRANSPORT.send(http, PATIENCE)
    answer = WIRE.answer(call, TARGET, await response.read(100_000))
    assert response.status == 200
    assert answer.usage is not None
    assert answer.usage.output > 0
    assert answer.finish_reason == "stop"


async def test_a_stream_is_decoded_and_metered() -> None:
    call, http = request(stream=True)
    response = await TRANSPORT.send(http, PATIENCE)
    decoder = WIRE.decoder(call, TARGET)
    out = b""
    while piece := await response.chunk():
        out += decoder.feed(piece)
    assert decoder.finished
    assert isinstance(decoder.usage, TokenUsage)
    assert decoder.usage.output == decoder.content_events - 2
    assert b"[DONE]" not in out
    assert WIRE.name == "sandbox"


async def test_faults_reach_the_caller_as_a_transports_errors() -> None:
    with pytest.raises(TransportError) as refused:
        await send("refuse")
    with pytest.raises(TransportError) as late:
        await send("hang")
    with pytest.raises(TransportError) as slow:
        await send("latency:1")
    broken, silent, big = await send("die_after:1"), await send("hang_after:1"), await send()
    with pytest.raises(TransportError) as died:
        await broken.read(100_000)
    with pytest.raises(TransportError) as stalled:
        await silent.read(100_000)
    with pytest.raises(TransportError) as large:
        await big.read(10)
    assert [each.value.kind for each in (refused, late, slow, died, stalled, large)] == [
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
        FailureKind.TIMEOUT,
        FailureKind.BROKEN,
        FailureKind.TIMEOUT,
        FailureKind.TOO_LARGE,
    ]


async def test_a_refusal_is_read_by_the_wire() -> None:
    response = await send("rate_limit:7")
    refusal = WIRE.refusal(response.status, response.headers, await response.read(10_000))
    assert (refusal.provider_status, refusal.provider_code, refusal.retry_after) == (429, "rate_limit_exceeded", 7.0)


async def test_an_answer_that_was_given_up_gives_no_more() -> None:
    response = await send(stream=True)
    assert await response.chunk()
    response.abort()
    with pytest.raises(TransportError):
        await response.chunk()
    whole = await send()
    await whole.read(100_000)
    whole.abort()
    assert await whole.chunk() == b""


async def test_others_get_their_turn_while_an_answer_comes() -> None:
    response = await send(stream=True)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    while await response.chunk():
        pass
    task.cancel()
    assert turns > 10


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    command = [sys.executable, "-m", "auterity.providers.sandbox.server", "--port", "0", "--latency-scale", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def test_the_server_answers_over_http(server: str) -> None:
    ask = {"model": "sandbox-small", "messages": [{"role": "user", "content": "Hello"}]}
    with httpx2.Client(base_url=server) as client:
        plain = client.post("/chat/completions", json=ask)
        assert plain.json()["choices"][0]["message"]["content"].startswith("This is Auterity's sandbox")
        streamed = client.post("/chat/completions", json=ask | {"stream": True})
        assert streamed.text.endswith("data: [DONE]\n\n")
        assert client.post("/chat/completions", json=ask | {"model": "x"}).status_code == 404
        for fault in ("die_after:2", "refuse"):
            with pytest.raises(httpx2.RemoteProtocolError):
                client.post("/chat/completions", json=ask | {"stream": True, "metadata": {"sandbox_fault": fault}})
        before = time.monotonic()
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/chat/completions", json=ask | {"metadata": {"sandbox_fault": "hang"}}, timeout=0.2)
        assert time.monotonic() - before < 5


def test_the_official_client_understands_every_answer(server: str) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
    with OpenAI(base_url=server, api_key="any", max_retries=0) as client:
        plain = client.chat.completions.create(model="sandbox-reasoning", messages=messages)
        assert plain.usage is not None
        assert plain.usage.completion_tokens_details is not None
        assert plain.choices[0].message.content
        with client.chat.completions.stream(
            model="sandbox-small", messages=messages, stream_options={"include_usage": True}
        ) as stream:
            whole = stream.get_final_completion()
        assert whole.usage is not None
        assert whole.choices[0].finish_reason == "stop"
        vectors = client.embeddings.create(model="sandbox-embed", input=["a", "b"], dimensions=16)
        assert [len(each.embedding) for each in vectors.data] == [16, 16]
        assert "sandbox-large" in {model.id for model in client.models.list()}
        with pytest.raises(RateLimitError) as limited:
            client.chat.completions.create(
                model="sandbox-small", messages=messages, metadata={"sandbox_fault": "rate_limit:3"}
            )
        assert limited.value.response.headers["retry-after"] == "3"
        with pytest.raises(NotFoundError, match="sandbox-small"):
            client.chat.completions.create(model="gpt-4o", messages=messages)

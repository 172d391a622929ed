"""A client that stops reading costs neither memory nor anybody else's time, and no connection once it has gone."""

import asyncio
import json
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import openai

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, TwinModels
    from tests.fixtures.twins import Twin

CHUNKS = 300_000
"""Some 65 MB of stream."""
GROWTH = 20 << 20


def _request(server: "Server", model: str, say: "Say") -> bytes:
    body = json.dumps({"model": model, "messages": say("Hello"), "stream": True}).encode()
    host = urlsplit(server.url).netloc
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {server.api_key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _stalled(twin: "Twin") -> int:
    """Wait until the twin's stream stands still; how many pieces went out."""
    pieces, since = -1, time.monotonic()
    deadline = since + 30
    while time.monotonic() - since < 1:
        assert time.monotonic() < deadline, "the stream goes on though nobody reads it"
        now = twin.state()["pieces"]
        if now != pieces or now == 0:
            pieces, since = now, time.monotonic()
        await asyncio.sleep(0.05)
    return pieces


async def test_a_client_that_does_not_read_holds_up_nobody_and_nothing(
    *, server: "Server", twin_models: "TwinModels", openai_twin: "Twin", async_sdk: openai.AsyncOpenAI, say: "Say"
) -> None:
    # Once before, so that what every call needs is there when the memory is measured.
    await async_sdk.chat.completions.create(model=twin_models.openai, messages=say("Hello"))
    openai_twin.reset()
    before = sum(worker.memory_info().rss for worker in server.workers)
    address = urlsplit(server.url)
    openai_twin.faults(chunks=CHUNKS, times=1)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        client.connect((address.hostname or "", address.port or 0))
        client.settimeout(60)
        client.sendall(_request(server, twin_models.openai, say))
        assert client.recv(1024).startswith(b"HTTP/1.1 200")

        sent = await _stalled(openai_twin)
        # What went out is in the buffers of the kernel, which may be large; the workers' own memory is the measure.
        assert sent < CHUNKS, "the whole stream was taken in though nobody read it"
        grown = sum(worker.memory_info().rss for worker in server.workers) - before
        assert grown < GROWTH, f"the workers grew by {grown >> 20} MB"

        # Meanwhile everyone else is served.
        begun = time.monotonic()
        for _ in range(5):
            assert (await async_sdk.chat.completions.create(model=twin_models.openai, messages=say("Hello"))).choices
        assert time.monotonic() - begun < 10
        assert openai_twin.state()["in_flight"] == 1

    await openai_twin.until(lambda state: state["aborted"] == 1)
    assert server.metrics().value("auterity_provider_connections", origin=openai_twin.origin, state="in_use") == 0
    event = server.events(outcome="cancelled", model=twin_models.openai)[0]
    assert 0 < event["output_tokens"] < CHUNKS


async def test_a_client_that_reads_slowly_gets_all_of_it(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", say: "Say"
) -> None:
    openai_twin.faults(chunks=20_000)
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=4096)
    writer.write(_request(server, twin_models.openai, say))
    received = bytearray()
    pauses = 0
    while not received.endswith(b"0\r\n\r\n"):
        piece = await asyncio.wait_for(reader.read(65_536), 30)
        assert piece, "the connection was closed before the end"
        received += piece
        pauses += 1
        if pauses % 20 == 0:
            await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()
    assert received.count(b'"delta":{"content"') == 20_000
    assert b"data: [DONE]" in received[-40:]

"""What every transport promises to the gateway. An adapter joins by a ``Bench`` in ``BENCHES``."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import FailureKind, HttpRequest, HttpResponse, Timeouts, Transport, TransportError
from auterity.providers.sandbox import SANDBOX_BASE_URL, SandboxService, SandboxSettings, SandboxTransport

TIMEOUTS = Timeouts(connect=5, first_byte=10, between_bytes=10, total=60)
HASTY = Timeouts(connect=5, first_byte=0.05, between_bytes=0.05, total=60)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A transport, and requests that make the other side behave in known ways."""

    transport: Transport
    plain: Callable[[int], HttpRequest]
    """A whole answer with status 200; its body holds the number's decimal digits."""
    stream: HttpRequest
    """An answer in several pieces, always the same bytes."""
    refused: HttpRequest
    """An answer with an error status and a body."""
    dies: HttpRequest
    """An answer that breaks after its first content."""
    silent: HttpRequest
    """No answer at all."""
    stalls: HttpRequest
    """An answer that begins and then says no more."""
    unreachable: HttpRequest | None
    """No connection can be made; None for a transport that needs none."""
    under_way: Callable[[], int]
    """How many exchanges the transport or its other side still holds."""


def _sized(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nX-Kind: Test\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A provider that does what the path says."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].strip(b"/")
            if path.isdigit():
                writer.write(_sized(b"number %b" % path))
            elif path == b"stream":
                writer.write(_CHUNKED)
                for number in range(20):
                    writer.write(b"9\r\npiece %02d\n\r\n" % number)
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
            elif path == b"refused":
                writer.write(_sized(b"no", b"429 Too Many Requests"))
            elif path == b"dies":
                writer.write(_CHUNKED + b"4\r\nlast\r\n")
                await writer.drain()
                return
            elif path == b"stalls":
                writer.write(_CHUNKED + b"4\r\nlast\r\n")
    except asyncio.IncompleteReadError:
        pass  # the client is done
    finally:
        writer.close()


@asynccontextmanager
async def _pool() -> AsyncGenerator[Bench, None]:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    gone = await asyncio.start_server(_serve, "127.0.0.1", 0)
    url, nowhere = (f"http://127.0.0.1:{each.sockets[0].getsockname()[1]}" for each in (server, gone))
    gone.close()
    await gone.wait_closed()
    pool = HttpPool()

    def get(path: object) -> HttpRequest:
        return HttpRequest("GET", f"{url}/{path}", (), b"")

    try:
        yield Bench(
            transport=pool,
            plain=get,
            stream=get("stream"),
            refused=get("refused"),
            dies=get("dies"),
            silent=get("silent"),
            stalls=get("stalls"),
            unreachable=HttpRequest("GET", nowhere, (), b""),
            under_way=lambda: sum(counts.in_use for counts in pool.counts.values()),
        )
    finally:
        await pool.close()
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def _sandbox() -> AsyncGenerator[Bench, None]:
    transport = SandboxTransport(SandboxService(SandboxSettings(latency_scale=0)))

    def post(fault: str, stream: bool = False) -> HttpRequest:
        body = {
            "model": "sandbox-small",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": stream,
            "metadata": {"sandbox_fault": fault},
        }
        return HttpRequest("POST", f"{SANDBOX_BASE_URL}/chat/completions", (), json.dumps(body).encode())

    yield Bench(
        transport=transport,
        plain=lambda number: post(f"tokens:{number}"),
        stream=post("", stream=True),
        refused=post("status:429"),
        dies=post("die_after:1", stream=True),
        silent=post("hang"),
        stalls=post("hang_after:1", stream=True),
        unreachable=post("refuse"),
        under_way=lambda: transport.under_way,
    )
    await transport.close()


BENCHES: dict[str, Callable[[], AbstractAsyncContextManager[Bench]]] = {"pool": _pool, "sandbox": _sandbox}


@pytest.fixture(params=BENCHES)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with BENCHES[request.param]() as made:
        yield made


async def _streamed(response: HttpResponse) -> bytes:
    body = b""
    while chunk := await response.chunk():
        body += chunk
    return body


async def _settled(bench: Bench) -> None:
    async with asyncio.timeout(5):
        while bench.under_way():  # noqa: ASYNC110 - the transport's state has no event
            await asyncio.sleep(0.001)


async def test_a_whole_answer_is_read(bench: Bench) -> None:
    response = await bench.transport.send(bench.plain(7), TIMEOUTS)
    assert response.status == 200
    assert all(name == name.lower() for name, _ in response.headers)
    assert b"7" in await response.read(1 << 20)
    assert await response.chunk() == b""
    await _settled(bench)


async def test_a_stream_comes_in_pieces_that_make_the_whole(bench: Bench) -> None:
    whole = await (await bench.transport.send(bench.stream, TIMEOUTS)).read(1 << 20)
    streamed = await _streamed(await bench.transport.send(bench.stream, TIMEOUTS))
    assert streamed == whole
    assert whole
    await _settled(bench)


async def test_what_was_taken_in_pieces_is_not_read_again(bench: Bench) -> None:
    whole = await (await bench.transport.send(bench.stream, TIMEOUTS)).read(1 << 20)
    response = await bench.transport.send(bench.stream, TIMEOUTS)
    first = await response.chunk()
    assert first + await response.read(1 << 20) == whole


async def test_an_error_status_is_an_answer_like_any_other(bench: Bench) -> None:
    response = await bench.transport.send(bench.refused, TIMEOUTS)
    assert response.status >= 400
    assert await response.read(1 << 20)


async def test_calls_at_once_get_their_own_answers(bench: Bench) -> None:
    async def one(number: int) -> bytes:
        return await (await bench.transport.send(bench.plain(number), TIMEOUTS)).read(1 << 20)

    answers = await asyncio.gather(*(one(number) for number in range(1000, 1050)))
    assert all(b"%d" % number in answer for number, answer in zip(range(1000, 1050), answers, strict=True))
    await _settled(bench)


async def test_a_body_over_the_limit_is_too_large(bench: Bench) -> None:
    response = await bench.transport.send(bench.stream, TIMEOUTS)
    with pytest.raises(TransportError) as large:
        await response.read(3)
    assert large.value.kind is FailureKind.TOO_LARGE
    await _settled(bench)


async def test_a_body_of_exactly_the_limit_is_read(bench: Bench) -> None:
    size = len(await (await bench.transport.send(bench.stream, TIMEOUTS)).read(1 << 20))
    assert len(await (await bench.transport.send(bench.stream, TIMEOUTS)).read(size)) == size


async def test_a_broken_answer_gives_what_came_and_then_says_so(bench: Bench) -> None:
    response = await bench.transport.send(bench.dies, TIMEOUTS)
    assert await response.chunk()
    with pytest.raises(TransportError) as broken:
        await _streamed(response)
    assert broken.value.kind is FailureKind.BROKEN
    await _settled(bench)


async def test_a_broken_answer_is_never_read_as_a_whole_one(bench: Bench) -> None:
    response = await bench.transport.send(bench.dies, TIMEOUTS)
    with pytest.raises(TransportError) as broken:
        await response.read(1 << 20)
    assert broken.value.kind is FailureKind.BROKEN


async def test_silence_is_late(bench: Bench) -> None:
    with pytest.raises(TransportError) as late:
        await bench.transport.send(bench.silent, HASTY)
    assert late.value.kind is FailureKind.TIMEOUT
    assert "first_byte" in late.value.message
    await _settled(bench)


async def test_an_answer_that_stops_is_late(bench: Bench) -> None:
    response = await bench.transport.send(bench.stalls, HASTY)
    with pytest.raises(TransportError) as late:
        await _streamed(response)
    assert late.value.kind is FailureKind.TIMEOUT
    assert "between_bytes" in late.value.message
    await _settled(bench)


async def test_no_connection_is_told_apart(bench: Bench) -> None:
    if bench.unreachable is None:
        pytest.skip("this transport needs no connection")
    with pytest.raises(TransportError) as refused:
        await bench.transport.send(bench.unreachable, TIMEOUTS)
    assert refused.value.kind is FailureKind.CONNECT


@pytest.mark.parametrize("wait", ["head", "chunk", "read"])
async def test_a_cancelled_call_holds_nothing(bench: Bench, wait: str) -> None:
    async def call() -> None:
        response = await bench.transport.send(bench.silent if wait == "head" else bench.stalls, TIMEOUTS)
        await (response.read(1 << 20) if wait == "read" else _streamed(response))

    task = asyncio.create_task(call())
    async with asyncio.timeout(5):
        while not bench.under_way():  # noqa: ASYNC110 - the transport's state has no event
            await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _settled(bench)


async def test_an_answer_given_up_holds_nothing_and_is_no_whole_one(bench: Bench) -> None:
    response = await bench.transport.send(bench.stalls, TIMEOUTS)
    await response.chunk()
    response.abort()
    response.abort()
    with pytest.raises(TransportError):
        await response.chunk()
    await _settled(bench)


async def test_giving_up_after_the_end_is_harmless(bench: Bench) -> None:
    response = await bench.transport.send(bench.plain(1), TIMEOUTS)
    await response.read(1 << 20)
    response.abort()
    assert await response.chunk() == b""
    assert (await bench.transport.send(bench.plain(2), TIMEOUTS)).status == 200


async def test_closing_ends_what_is_under_way(bench: Bench) -> None:
    response = await bench.transport.send(bench.stalls, TIMEOUTS)
    await response.chunk()
    reading = asyncio.create_task(response.chunk())
    await asyncio.sleep(0)
    await bench.transport.close()
    with pytest.raises(TransportError):
        await reading
    assert bench.under_way() == 0

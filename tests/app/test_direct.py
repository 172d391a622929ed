"""Gateway calls below ASGI: bodies, heads, chunks, keep-alive and clients that leave, on real connections."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from typing import Any, cast

import pytest
import pytest_asyncio
import uvicorn

from auterity.app.asgi import RootApp
from auterity.app.direct import UnsafeHeader, head_of
from auterity.app.protocol import GatewayProtocol
from auterity.gateway.reply import ClientLeft, Reply, Request
from auterity.kit.errors import AuterityError

Behaviour = Callable[[Request, Reply], Any]
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
CHUNK = b"x" * 65536


class Calls:
    """Stands for the gateway's service; a test says how it behaves."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = echo
        self.begun = asyncio.Event()
        self.left = asyncio.Event()
        self.ended = 0

    async def serve(self, endpoint: str, request: Request, reply: Reply) -> None:
        self.begun.set()
        try:
            await self.behaviour(request, reply)
        except ClientLeft:
            self.left.set()
        except AuterityError as error:
            await reply.start(error.status, [(b"content-length", b"0"), (b"connection", b"close")])
            await reply.finish()
        finally:
            self.ended += 1


async def echo(request: Request, reply: Reply) -> None:
    body = await request.read(1000)
    await reply.start(200, [(b"content-length", b"%d" % len(body))])
    await reply.finish(body)


async def stream(request: Request, reply: Reply) -> None:
    await request.read(1000)
    await reply.start(200, [])
    for piece in (b"one", b"two"):
        await reply.write(piece)
    await reply.finish(b"three")


async def endless(request: Request, reply: Reply) -> None:
    await request.read(1000)
    await reply.start(200, [])
    with reply.watch(60):
        while True:
            await reply.write(CHUNK)
            await asyncio.sleep(0)


async def silent(request: Request, reply: Reply) -> None:
    await request.read(1000)
    with reply.watch(60):
        await asyncio.Event().wait()


class QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Bench:
    def __init__(self, calls: Calls, port: int) -> None:
        self.calls = calls
        self.port = port

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, *parts: str) -> bytes:
        """Send the parts and read until the server closes."""
        async with self.connected() as (reader, writer), asyncio.timeout(5):
            for part in parts:
                writer.write(part.encode())
                await writer.drain()
            return await reader.read()


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    calls = Calls()
    root = RootApp(cast(Any, calls), cast(Any, None), cast(Any, None), cast(Any, None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            root,
            http=GatewayProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        server = QuietServer(config)
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has a flag, not an event
            await asyncio.sleep(0.005)
        yield Bench(calls, listener.getsockname()[1])
        server.should_exit = True
        await serving


async def test_a_body_in_pieces_is_read_whole(bench: Bench) -> None:
    answer = await bench.ask(HEAD + "connection: close\r\ncontent-length: 10\r\n\r\n", "hel", "lo wo", "rl")
    assert answer.endswith(b"\r\n\r\nhello worl")


async def test_a_chunked_body_is_read_whole(bench: Bench) -> None:
    answer = await bench.ask(
        HEAD + "connection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "0\r\n\r\n"
    )
    assert answer.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    "framing", ["content-length: 1001\r\n\r\n", "transfer-encoding: chunked\r\n\r\n7d1\r\n" + "x" * 2001 + "\r\n"]
)
async def test_a_body_over_the_limit_is_refused_before_its_end(bench: Bench, framing: str) -> None:
    assert (await bench.ask(HEAD + framing)).startswith(b"HTTP/1.1 413 ")


async def test_continue_is_said_when_the_body_is_wanted(bench: Bench) -> None:
    async with bench.connected() as (reader, writer):
        writer.write((HEAD + "connection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await reader.read()).endswith(b"\r\n\r\nok")


async def test_calls_on_one_connection_are_answered_in_order(bench: Bench) -> None:
    request = HEAD + "content-length: %d\r\n\r\n%s"
    last = HEAD + "connection: close\r\ncontent-length: 5\r\n\r\nthird"
    answer = await bench.ask(request % (5, "first") + request % (6, "second") + last)
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"first", b"second", b"third"]


async def test_a_stream_goes_out_in_chunks(bench: Bench) -> None:
    bench.calls.behaviour = stream
    answer = await bench.ask(HEAD + "connection: close\r\ncontent-length: 0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"


async def test_an_old_client_gets_a_stream_that_ends_with_the_connection(bench: Bench) -> None:
    bench.calls.behaviour = stream
    answer = await bench.ask("POST /v1/chat/completions HTTP/1.0\r\ncontent-length: 0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"connection: close" in head
    assert body == b"onetwothree"


@pytest.mark.parametrize("behaviour", [endless, silent])
async def test_a_client_that_leaves_is_noticed_at_once(bench: Bench, behaviour: Behaviour) -> None:
    bench.calls.behaviour = behaviour
    async with bench.connected() as (reader, writer):
        writer.write((HEAD + "content-length: 2\r\n\r\nok").encode())
        if behaviour is endless:
            await reader.readexactly(1000)
        else:
            await bench.calls.begun.wait()
    async with asyncio.timeout(2):
        await bench.calls.left.wait()


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_noticed(bench: Bench) -> None:
    async with bench.connected() as (_, writer):
        writer.write((HEAD + "content-length: 20\r\n\r\nok").encode())
        await writer.drain()
        await bench.calls.begun.wait()
    async with asyncio.timeout(2):
        await bench.calls.left.wait()


async def test_a_client_that_does_not_read_stops_the_stream_and_not_the_server(bench: Bench) -> None:
    written = 0

    async def counting(request: Request, reply: Reply) -> None:
        nonlocal written
        await request.read(1000)
        await reply.start(200, [])
        with reply.watch(0.5):
            while True:
                await reply.write(CHUNK)
                written += len(CHUNK)

    bench.calls.behaviour = counting
    with socket.create_connection(("127.0.0.1", bench.port)) as client:
        client.sendall((HEAD + "content-length: 0\r\n\r\n").encode())
        async with asyncio.timeout(5):
            await bench.calls.left.wait()
    assert written < 32 * 1024 * 1024


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"a\r\nset-cookie: b")],
        [(b"x", b"a\nb")],
        [(b"x\r\ny", b"a")],
        [(b"x", b"a\x00")],
        [(b"x", b"a\r")],
    ],
)
def test_a_header_that_would_end_itself_is_never_sent(headers: Sequence[tuple[bytes, bytes]]) -> None:
    with pytest.raises(UnsafeHeader):
        head_of(200, headers)

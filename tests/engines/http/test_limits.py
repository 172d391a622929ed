"""Limits of time and memory: each is kept, named, and costs the connection."""

import asyncio
from collections.abc import Awaitable, Callable

import psutil
import pytest

from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import FailureKind, HttpRequest, Timeouts, TransportError

Serve = Callable[..., Awaitable[str]]
MakePool = Callable[..., HttpPool]
Until = Callable[[Callable[[], object]], Awaitable[None]]

TIMEOUTS = Timeouts(connect=5, first_byte=10, between_bytes=10, total=60)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def _says(*pieces: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A handler that answers each request with these bytes and then waits for the client to leave."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()

    return handler


async def _stream(pool: HttpPool, request: HttpRequest, timeouts: Timeouts = TIMEOUTS) -> bytes:
    response = await pool.send(request, timeouts)
    body = b""
    while chunk := await response.chunk():
        body += chunk
    return body


async def _late(pool: HttpPool, url: str, timeouts: Timeouts) -> TransportError:
    with pytest.raises(TransportError) as late:
        # Far more than the limit, far less than the other limits of these tests.
        async with asyncio.timeout(5):
            await _stream(pool, HttpRequest("GET", url + "/v1?key=secret", (), b""), timeouts)
    assert late.value.kind is FailureKind.TIMEOUT
    assert url in late.value.message
    assert "secret" not in late.value.message
    return late.value


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", OK, CHUNKED, CHUNKED + b"2\r\nok\r\n"])
async def test_silence_is_ended_by_the_limit_for_its_moment(
    said: bytes, serve: Serve, make_pool: MakePool, until: Until
) -> None:
    url = await serve(_says(said))
    pool = make_pool()
    if said:
        late = await _late(pool, url, Timeouts(first_byte=10, between_bytes=0.05))
        assert "0.05 s (between_bytes)" in late.message
    else:
        late = await _late(pool, url, Timeouts(first_byte=0.05, between_bytes=10))
        assert "0.05 s (first_byte)" in late.message
    await until(lambda: not pool.counts[url].open)


@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_that_never_ends_is_ended_by_the_total(
    serve: Serve, make_pool: MakePool, *, whole: bool
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        while True:
            writer.write(b"2\r\nok\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    url = await serve(handler)
    limits = Timeouts(total=0.1, between_bytes=0.09)
    request, pool = HttpRequest("GET", url, (), b""), make_pool()

    async def read() -> bytes:
        return await (await pool.send(request, limits)).read(1 << 20)

    with pytest.raises(TransportError, match=r"0\.1 s \(total\)") as late:
        await (read() if whole else _stream(pool, request, limits))
    assert late.value.kind is FailureKind.TIMEOUT


async def test_bytes_that_keep_coming_are_not_late(serve: Serve, make_pool: MakePool) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        for _ in range(20):
            writer.write(b"2\r\nok\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")

    url = await serve(handler)
    pool = make_pool()
    # Longer in all than either limit.
    limits = Timeouts(first_byte=0.2, between_bytes=0.2)
    assert await (await pool.send(HttpRequest("GET", url, (), b""), limits)).read(100) == b"ok" * 20


async def test_a_reader_that_takes_its_time_is_not_the_providers_fault(serve: Serve, make_pool: MakePool) -> None:
    go_on = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + b"2\r\nok\r\n")
        await go_on.wait()
        writer.write(b"2\r\nok\r\n0\r\n\r\n")

    url = await serve(handler)
    pool = make_pool()
    # Both are silent for longer than the limit, but nobody waits for the provider meanwhile.
    response = await pool.send(HttpRequest("GET", url, (), b""), Timeouts(between_bytes=0.1))
    await asyncio.sleep(0.3)
    go_on.set()
    body = b""
    while chunk := await response.chunk():
        body += chunk
    assert body == b"okok"


async def test_a_limit_shorter_than_the_last_calls_is_kept_on_the_same_connection(
    serve: Serve, make_pool: MakePool
) -> None:
    calls = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        while await reader.readuntil(b"\r\n\r\n"):
            calls += 1
            if calls == 1:
                writer.write(OK + b"content-length: 2\r\n\r\nok")

    url = await serve(handler)
    pool = make_pool()
    assert await (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(10) == b"ok"
    await _late(pool, url, Timeouts(first_byte=0.05))
    assert calls == 2


async def test_a_provider_that_does_not_take_the_request_is_late(serve: Serve, make_pool: MakePool) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()

    release = asyncio.Event()
    url = await serve(handler)
    pool = make_pool()
    with pytest.raises(TransportError, match=r"did not take the request .* \(between_bytes\)") as late:
        await pool.send(HttpRequest("POST", url, (), bytes(50_000_000)), Timeouts(between_bytes=0.1, first_byte=0.01))
    assert late.value.kind is FailureKind.TIMEOUT
    release.set()


async def test_the_total_covers_connecting_too(serve: Serve, make_pool: MakePool) -> None:
    url = (await serve(_says())).replace("http:", "https:")
    with pytest.raises(TransportError, match=r"0\.05 s \(total\)") as late:
        await make_pool().send(HttpRequest("GET", url, (), b""), Timeouts(connect=10, total=0.05))
    assert late.value.kind is FailureKind.CONNECT


async def test_nobody_there_is_no_connection(make_pool: MakePool, unused_tcp_port: int) -> None:
    with pytest.raises(TransportError) as refused:
        await make_pool().send(HttpRequest("GET", f"http://127.0.0.1:{unused_tcp_port}/", (), b""), TIMEOUTS)
    assert refused.value.kind is FailureKind.CONNECT


async def test_a_handshake_that_does_not_end_is_no_connection(serve: Serve, make_pool: MakePool, until: Until) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    ended = asyncio.Event()
    url = (await serve(handler)).replace("http:", "https:")
    pool = make_pool()
    with pytest.raises(TransportError, match=r"0\.1 s \(connect\)") as late:
        await pool.send(HttpRequest("GET", url, (), b""), Timeouts(connect=0.1))
    assert late.value.kind is FailureKind.CONNECT
    await asyncio.wait_for(ended.wait(), 5)
    assert pool.counts[url].open == 0


async def test_a_request_of_ten_megabytes_arrives_whole_and_is_written_in_slices(
    serve: Serve, make_pool: MakePool
) -> None:
    body = bytes(range(256)) * 40_000

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(body)) == body
            writer.write(OK + b"content-length: 2\r\n\r\nok")

    url = await serve(handler)
    pool = make_pool()
    for _ in range(2):
        response = await pool.send(HttpRequest("POST", url, (), body), TIMEOUTS)
        assert await response.read(10) == b"ok"
    assert pool.counts[url].open == 1


async def test_an_answer_before_the_request_is_all_sent_is_read_and_ends_the_connection(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 8\r\n\r\ntoo long")
        await writer.drain()
        await release.wait()

    release = asyncio.Event()
    url = await serve(handler)
    pool = make_pool()
    response = await pool.send(HttpRequest("POST", url, (), bytes(20_000_000)), TIMEOUTS)
    assert (response.status, await response.read(100)) == (413, b"too long")
    await until(lambda: not pool.counts[url].open)
    release.set()


@pytest.mark.parametrize(
    "wire",
    [OK + b"content-length: 2000\r\n\r\n" + bytes(2000), CHUNKED + b"7d0\r\n" + bytes(2000) + b"\r\n0\r\n\r\n"],
)
@pytest.mark.parametrize("pieces", [1, 40])
async def test_a_body_over_the_readers_limit_is_too_large(
    wire: bytes, pieces: int, serve: Serve, make_pool: MakePool
) -> None:
    step = -(-len(wire) // pieces)
    url = await serve(_says(*(wire[at : at + step] for at in range(0, len(wire), step))))
    pool = make_pool()
    with pytest.raises(TransportError) as large:
        await (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(1999)
    assert large.value.kind is FailureKind.TOO_LARGE
    assert await (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(2000) == bytes(2000)


async def test_a_stream_over_the_pools_limit_is_too_large(serve: Serve, make_pool: MakePool) -> None:
    url = await serve(_says(CHUNKED + b"7d0\r\n" + bytes(2000) + b"\r\n" + b"0\r\n\r\n"))
    pool = make_pool(max_response_bytes=1999)
    with pytest.raises(TransportError) as large:
        await _stream(pool, HttpRequest("GET", url, (), b""))
    assert large.value.kind is FailureKind.TOO_LARGE


async def test_a_reader_that_stands_still_holds_the_provider_up_and_memory_flat(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    block = bytes(100_000)
    blocks = 2_000
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"content-length: %d\r\n\r\n" % (len(block) * blocks))
        for _ in range(blocks):
            writer.write(block)
            await writer.drain()
            sent += len(block)

    async def stands_still() -> int:
        """Return what has been sent once it grows no more."""
        last = -1
        while sent != last:
            last = sent
            await asyncio.sleep(0.1)
        return sent

    url = await serve(handler)
    pool = make_pool()
    process = psutil.Process()
    before = process.memory_info().rss
    response = await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)
    await until(lambda: sent)
    # What the two sockets' own buffers hold has left the server; the rest of the 200 MB has not.
    assert await stands_still() < 20_000_000
    most = process.memory_info().rss
    read = chunks = 0
    while chunk := await response.chunk():
        read += len(chunk)
        chunks += 1
        assert len(chunk) <= 600_000
        if chunks % 50 == 0:
            most = max(most, process.memory_info().rss)
    assert read == len(block) * blocks
    assert most - before < 20_000_000

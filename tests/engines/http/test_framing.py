"""Where an answer ends: every framing of HTTP/1.1, cut anywhere, and every way to get it wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auterity.engines.http.connection import MAX_HEAD_BYTES, Connection
from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import FailureKind, HttpRequest, HttpResponse, Timeouts, TransportError
from auterity.engines.http.response import PooledResponse

Serve = Callable[..., Awaitable[str]]
MakePool = Callable[..., HttpPool]
Until = Callable[[Callable[[], object]], Awaitable[None]]

TIMEOUTS = Timeouts(connect=5, first_byte=5, between_bytes=5, total=20)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


class _Wire(asyncio.Transport):
    """The socket's end of a connection, for feeding it bytes at exact boundaries."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def _exchange() -> tuple[Connection, _Wire, PooledResponse]:
    connection, wire = Connection("http://h", lambda: 0.0, 1 << 30), _Wire()
    connection.connection_made(wire)
    return connection, wire, connection.exchange(b"", b"", TIMEOUTS, 1e9, bodiless=False)


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in pairwise(places) if start < end]


async def _body(response: HttpResponse) -> bytes:
    body = b""
    while chunk := await response.chunk():
        body += chunk
    return body


@settings(deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    extension=st.sampled_from([b"", b";a=b", b';a="b;c"']),
    trailers=st.sampled_from([b"", b"x-sum: 1\r\n", b"a: 1\r\nb: 2\r\n"]),
    interim=st.sampled_from(
        [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" * 2]
    ),
    cuts=st.lists(st.integers(0, 1000), max_size=30),
    whole=st.booleans(),
)
def test_a_chunked_body_is_the_same_however_it_is_cut(
    *, chunks: list[bytes], extension: bytes, trailers: bytes, interim: bytes, cuts: list[int], whole: bool
) -> None:
    coded = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    head = b"HTTP/1.1 201 Created\r\nX-One:  1 \r\nx-one: 2\r\ntransfer-encoding: Chunked\r\n\r\n"
    answer = interim + head + coded + b"0\r\n" + trailers + b"\r\n"

    async def scene() -> None:
        connection, wire, response = _exchange()
        for piece in _pieces(answer, cuts):
            connection.data_received(piece)
        assert (await response.read(1 << 20) if whole else await _body(response)) == b"".join(chunks)
        assert response.status == 201
        assert list(response.headers) == [(b"x-one", b"1"), (b"x-one", b"2"), (b"transfer-encoding", b"Chunked")]
        assert not wire.aborted
        connection.connection_lost(None)

    asyncio.run(scene())


@settings(deadline=None)
@given(cut=st.integers(0, 10_000), pieces=st.lists(st.integers(0, 1000), max_size=10), sized=st.booleans())
def test_an_answer_cut_short_anywhere_is_broken(cut: int, pieces: list[int], sized: bool) -> None:
    sized_answer = OK + b"content-length: 10\r\n\r\n0123456789"
    answer = sized_answer if sized else CHUNKED + b"5\r\n01234\r\n5\r\n56789\r\n0\r\nt: 1\r\n\r\n"
    part = answer[: cut % len(answer)]

    async def scene() -> None:
        connection, _, response = _exchange()
        for piece in _pieces(part, pieces):
            connection.data_received(piece)
        connection.eof_received()
        connection.connection_lost(None)
        with pytest.raises(TransportError) as broken:
            await _body(response)
        assert broken.value.kind is FailureKind.BROKEN

    asyncio.run(scene())


async def _answers(serve: Serve, *pieces: bytes, close: bool = True) -> str:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if close:
                return

    return await serve(handler)


GOOD = {
    "length": (OK + b"content-length: 2\r\n\r\nok", 200, b"ok"),
    "empty": (OK + b"content-length: 0\r\n\r\n", 200, b""),
    "until close": (OK + b"\r\nto the end", 200, b"to the end"),
    "until close, empty": (OK + b"\r\n", 200, b""),
    "http/1.0": (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b""),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 2\r\n\r\nok", 200, b"ok"),
    "no reason": (b"HTTP/1.1 500\r\ncontent-length: 1\r\n\r\n!", 500, b"!"),
    "close": (OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    "coded as it came": (OK + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b", 200, b"\x1f\x8b"),
}


@pytest.mark.parametrize("case", GOOD)
async def test_every_framing_is_read(case: str, serve: Serve, make_pool: MakePool) -> None:
    wire, status, body = GOOD[case]
    url = await _answers(serve, wire)
    response = await make_pool().send(HttpRequest("GET", url, (), b""), TIMEOUTS)
    assert response.status == status
    assert await response.read(100) == body
    assert await response.chunk() == b""


REUSABLE = {
    "length": OK + b"content-length: 2\r\n\r\nok",
    "chunked with trailers": CHUNKED + b"2\r\nok\r\n0\r\nx: y\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
    "http/1.0 that says so": b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("case", REUSABLE)
async def test_a_connection_with_a_known_end_is_kept(case: str, serve: Serve, make_pool: MakePool) -> None:
    url = await _answers(serve, REUSABLE[case], close=False)
    pool = make_pool()
    for _ in range(3):
        await (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(100)
    assert (pool.counts[url].open, pool.counts[url].idle) == (1, 1)


@pytest.mark.parametrize(
    "wire",
    [
        OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_is_to_be_closed_is_not_kept(wire: bytes, serve: Serve, make_pool: MakePool) -> None:
    url = await _answers(serve, wire, close=False)
    pool = make_pool()
    assert await (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(100) == b"ok"
    assert pool.counts[url].idle == 0


async def test_an_answer_to_head_has_a_length_and_no_body(serve: Serve, make_pool: MakePool) -> None:
    url = await _answers(serve, OK + b"content-length: 500\r\n\r\n", close=False)
    response = await make_pool().send(HttpRequest("HEAD", url, (), b""), TIMEOUTS)
    assert (b"content-length", b"500") in response.headers
    assert await response.read(100) == b""


BAD = {
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "another protocol": b"RTSP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "status": b"HTTP/1.1 20x OK\r\ncontent-length: 0\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok!",
    "negative length": OK + b"content-length: -1\r\n\r\n",
    "length and chunks": OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "line feeds alone": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    "space before colon": OK + b"content-length : 2\r\n\r\nok",
    "nul in a header": OK + b"x: a\0b\r\ncontent-length: 2\r\n\r\nok",
    "folded header": OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
    "chunk size": CHUNKED + b"xyz\r\n",
    "chunk end": CHUNKED + b"2\r\nokay",
    "huge chunk size": CHUNKED + b"fffffffffffffffff\r\n",
    "coding that was not asked for": OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding without an end": OK + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "second answer": OK + b"content-length: 2\r\n\r\nok" + OK + b"content-length: 4\r\n\r\nevil",
    "more than its length": OK + b"content-length: 2\r\n\r\nokay",
    "more after close": OK + b"connection: close\r\ncontent-length: 2\r\n\r\nokay",
    "interim with a body that looks like a head": (
        b"HTTP/1.1 199 Odd\r\ncontent-length: 19\r\n\r\n" + OK + b"\r\n" + OK + b"content-length: 0\r\n\r\n"
    ),
    "huge header": OK + b"x: " + b"a" * MAX_HEAD_BYTES + b"\r\ncontent-length: 0\r\n\r\n",
    "many headers": OK + b"x: 1\r\n" * 20_000 + b"content-length: 0\r\n\r\n",
    "huge reason": b"HTTP/1.1 200 " + b"a" * MAX_HEAD_BYTES + b"\r\ncontent-length: 0\r\n\r\n",
    "huge trailer": CHUNKED + b"2\r\nok\r\n0\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "endless interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 O",
    "half a body": OK + b"content-length: 5\r\n\r\nhalf",
    "half a chunk": CHUNKED + b"5\r\nha",
    "no last chunk": CHUNKED + b"2\r\nok\r\n",
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_not_http_is_broken_and_never_a_short_success(
    case: str, serve: Serve, make_pool: MakePool
) -> None:
    url = await _answers(serve, BAD[case])
    pool = make_pool()
    with pytest.raises(TransportError) as broken:
        await (await pool.send(HttpRequest("GET", url + "/path?key=secret", (), b""), TIMEOUTS)).read(10_000)
    assert broken.value.kind is FailureKind.BROKEN
    assert "secret" not in broken.value.message
    assert pool.counts[url].idle == 0


async def test_an_answer_that_comes_before_it_is_asked_for_is_never_handed_out(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while await reader.readuntil(b"\r\n\r\n"):
            sent += 1
            writer.write(OK + b"content-length: 4\r\n\r\ngood")
            await writer.drain()
            if sent == 1:
                # Only once the client has the first answer, so that this is a second arrival.
                await received.wait()
                writer.write(OK + b"content-length: 4\r\n\r\nevil")
                await writer.drain()

    received = asyncio.Event()
    url = await serve(handler)
    pool = make_pool()
    assert await (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(100) == b"good"
    received.set()
    await until(lambda: not pool.counts[url].open)
    assert await (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(100) == b"good"


async def test_a_body_that_comes_byte_by_byte_over_the_socket_is_whole(serve: Serve, make_pool: MakePool) -> None:
    wire = CHUNKED + b"2\r\nok\r\n3\r\nay!\r\n0\r\nt: 1\r\n\r\n"
    url = await _answers(serve, *(wire[n : n + 1] for n in range(len(wire))))
    response = await make_pool().send(HttpRequest("GET", url, (), b""), TIMEOUTS)
    assert await _body(response) == b"okay!"

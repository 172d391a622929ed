"""Raw bytes against the worker's HTTP protocol: what is slow, endless, ambiguous or no HTTP at all."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from auterity.app.protocol import GatewayProtocol
from auterity.kit.ids import is_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


class QuickProtocol(GatewayProtocol):
    """The same with times that a test can wait for."""

    head_timeout_s = 0.3
    body_timeout_s = 0.3
    body_limit_s = 1.0
    linger_s = 0.3
    sweep_every_s = 0.02


class QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@dataclass
class App:
    """Answers with what it was asked.

    ``/wait`` does so once it is let, ``/late`` begins to read then, ``/stream`` begins to answer before it has read,
    ``/early`` answers without reading.
    """

    go: asyncio.Event = field(default_factory=asyncio.Event)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list[str])
    left: int = 0

    def forget(self) -> None:
        """Be as new."""
        self.go.set()
        self.go, self.is_asked = asyncio.Event(), asyncio.Event()
        self.asked.clear()
        self.left = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        self.is_asked.set()
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
        if scope["path"] == "/late":
            await self.go.wait()
        body = b""
        more = scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            body += message["body"]
            more = message["more_body"]
        if scope["path"] == "/wait":
            await self.go.wait()
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        said = json.dumps({"path": scope["path"], "body": body.decode("latin-1"), "headers": headers}).encode()
        if scope["path"] != "/stream":
            length = (b"content-length", str(len(said)).encode())
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": said})


@dataclass
class Worker:
    """A server under test."""

    port: int
    app: App
    server: uvicorn.Server

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def has(self, writer: asyncio.StreamWriter) -> bool:
        """The server still has this client's connection."""
        mine = writer.get_extra_info("sockname")
        connections: set[Any] = self.server.server_state.connections
        return any(each.client == mine[:2] for each in connections)

    async def exchange(self, *parts: bytes, patience_s: float = 5) -> bytes:
        """Send the parts and read until the server closes, or has been silent for a moment after an answer."""
        reader, writer = await self.connect()
        for part in parts:
            writer.write(part)
            await writer.drain()
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while data := await asyncio.wait_for(reader.read(65536), 0.25 if b"200 OK" in answer else patience_s):
                answer += data
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return answer


@contextlib.asynccontextmanager
async def serving(keep_alive_s: int = 5) -> AsyncGenerator[Worker]:
    app = App()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, http=QuickProtocol, ws="none", lifespan="off", log_config=None, server_header=False, date_header=False,
            timeout_keep_alive=keep_alive_s, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = QuietServer(config)
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has a flag, not an event
            await asyncio.sleep(0.005)
        yield Worker(listener.getsockname()[1], app, server)
        app.go.set()
        server.should_exit = True
        await task


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Worker]:
    """One server for the file: to start and stop one takes longer than most tests."""
    async with serving() as made:
        yield made


@pytest.fixture
def worker(shared: Worker) -> Worker:
    shared.app.forget()
    return shared


async def keep_sending(writer: asyncio.StreamWriter, first: bytes, more: bytes) -> None:
    """Send the first bytes, then more of them again and again until the server has enough."""
    with contextlib.suppress(ConnectionError):
        writer.write(first)
        while True:
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0.02)


def refusal(answer: bytes) -> tuple[int, str]:
    """The one answer's status and code, after checking that it is all that such an answer must be."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    assert fields["connection"] == "close"
    assert fields["content-type"] == "application/json"
    assert int(fields["content-length"]) == len(body)
    assert is_id(fields["x-request-id"], "req")
    error = json.loads(body)["error"]
    assert error["type"] in {"invalid_request_error", "server_error"}
    assert error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(lines[0].split(" ")[1]), error["code"]


HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSING = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def test_ordinary_requests_are_served_one_after_another(worker: Worker) -> None:
    answer = await worker.exchange(HEAD + b"Content-Length: 5\r\n\r\nhello" + GET + HEAD + b"Content-Length: 0\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert b'"body": "hello"' in answer
    assert worker.app.asked == ["/", "/next", "/"]


async def test_a_request_may_come_byte_by_byte(worker: Worker) -> None:
    request = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    answer = await worker.exchange(*(request[n : n + 1] for n in range(len(request))))
    assert b'"body": "hello"' in answer


async def test_http_1_0_is_served_without_a_host(worker: Worker) -> None:
    assert b" 200 OK" in await worker.exchange(b"GET / HTTP/1.0\r\n\r\n")


AMBIGUOUS = {
    "length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "one length twice": HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "list of lengths": HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
    "signed length": HEAD + b"Content-Length: +5\r\n\r\nhello",
    "chunked not last": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "space before colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "vertical tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "folded line": HEAD + b"X-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare carriage return": HEAD + b"X: a\rContent-Length: 0\r\n\r\n",
    "null byte": HEAD + b"X: a\x00b\r\n\r\n",
    "space in a name": HEAD + b"X Y: 1\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes in the target": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_what_can_be_read_in_two_ways_is_refused_and_what_follows_is_not_served(
    worker: Worker, name: str
) -> None:
    assert refusal(await worker.exchange(AMBIGUOUS[name] + GET)) == (400, "malformed_request")
    assert worker.app.asked == []


@pytest.mark.parametrize(
    "coding", [b"xchunked", b"identity", b"gzip, chunked", b"chunked\r\nTransfer-Encoding: chunked"]
)
async def test_transfer_codings_that_are_not_understood_are_refused(worker: Worker, coding: bytes) -> None:
    status, _ = refusal(await worker.exchange(HEAD + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n" + GET))
    assert status in {400, 501}
    assert worker.app.asked == []


@pytest.mark.parametrize("line", [b"GET / HTTP/2.0", b"GET /"])
async def test_other_versions_are_refused(worker: Worker, line: bytes) -> None:
    assert refusal(await worker.exchange(line + b"\r\nHost: a\r\n\r\n"))[0] in {400, 505}
    assert worker.app.asked == []


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n", b"5\nhello\n0\n\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"fffffffffffffffff\r\n", b"-1\r\n"]
)
async def test_a_broken_chunk_ends_the_request_and_the_connection(worker: Worker, chunks: bytes) -> None:
    assert refusal(await worker.exchange(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + GET))[0] == 400
    assert worker.app.asked == ["/"]
    assert worker.app.left == 1


async def test_trailer_fields_are_not_taken_for_the_heads(worker: Worker) -> None:
    answer = await worker.exchange(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\nHost: b\r\n\r\n"
    )
    assert b'"body": "hello"' in answer
    assert b"authorization" not in answer


async def test_an_upgrade_is_not_made_and_what_follows_is_not_served(worker: Worker) -> None:
    answer = await worker.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
    assert answer.count(b"HTTP/1.1") == 1
    assert b" 200 OK" in answer
    assert worker.app.asked == ["/"]


async def test_a_refusal_is_never_taken_for_an_earlier_requests_answer(worker: Worker) -> None:
    reader, writer = await worker.connect()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + b"no http at all\r\n\r\n")
    await worker.app.is_asked.wait()
    worker.app.go.set()
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.count(b"HTTP/1.1") == 1
    assert b'"path": "/wait"' in answer
    writer.close()


async def test_requests_behind_a_broken_one_are_not_served(worker: Worker) -> None:
    reader, writer = await worker.connect()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + GET + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    await worker.app.is_asked.wait()
    worker.app.go.set()
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.count(b"HTTP/1.1") == 1
    assert worker.app.asked == ["/wait"]
    writer.close()


@pytest.mark.parametrize("path", [b"/stream", b"/early"])
async def test_nothing_is_written_into_or_behind_an_answer_that_has_begun(worker: Worker, path: bytes) -> None:
    reader, writer = await worker.connect()
    writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    begun = await asyncio.wait_for(reader.read(65536), 5)
    writer.write(b"zz\r\n")
    rest = await asyncio.wait_for(reader.read(), 5)
    assert begun.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1" not in rest
    assert b"error" not in rest
    writer.close()


async def test_a_head_without_end_is_cut_off(worker: Worker) -> None:
    answer = await worker.exchange(HEAD, *(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(100)))
    assert refusal(answer) == (431, "request_head_too_large")
    assert worker.app.asked == []


@pytest.mark.parametrize("endless", [b"GET /" + b"a" * 70_000, HEAD + b"X: " + b"a" * 70_000, b"\r\n" * 40_000])
async def test_a_single_endless_line_is_cut_off(worker: Worker, endless: bytes) -> None:
    answer = await worker.exchange(*(endless[n : n + 4000] for n in range(0, len(endless), 4000)))
    assert refusal(answer)[0] == 431


async def test_a_large_head_in_one_packet_is_no_exception(worker: Worker) -> None:
    answer = await worker.exchange(HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(70)) + b"\r\n")
    assert refusal(answer) == (431, "request_head_too_large")
    assert worker.app.asked == []


@pytest.mark.parametrize("part", [b"0\r\nX: ", b"5;"])
async def test_trailers_and_chunk_extensions_without_end_are_cut_off(worker: Worker, part: bytes) -> None:
    endless = [b"a" * 4000] * 400
    answer = await worker.exchange(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + part, *endless)
    assert refusal(answer) == (431, "request_head_too_large")


async def test_a_large_body_is_no_large_head(worker: Worker) -> None:
    body = b"a" * 300_000
    answer = await worker.exchange(HEAD + b"Content-Length: 300000\r\n\r\n" + body)
    assert b" 200 OK" in answer
    assert len(answer) > 300_000


async def test_a_head_that_drips_is_given_up(worker: Worker) -> None:
    reader, writer = await worker.connect()
    started = time.monotonic()
    dripping = asyncio.create_task(keep_sending(writer, HEAD, b"X: a\r\n"))
    answer = await asyncio.wait_for(reader.read(), 5)
    assert 0.25 < time.monotonic() - started < 2
    assert refusal(answer) == (408, "request_timeout")
    assert worker.app.asked == []
    dripping.cancel()
    writer.close()


async def test_a_body_that_drips_is_given_up(worker: Worker) -> None:
    reader, writer = await worker.connect()
    started = time.monotonic()
    dripping = asyncio.create_task(keep_sending(writer, HEAD + b"Content-Length: 100000\r\n\r\n", b"a"))
    answer = await asyncio.wait_for(reader.read(), 5)
    assert 0.25 < time.monotonic() - started < 2
    assert refusal(answer) == (408, "request_timeout")
    dripping.cancel()
    writer.close()


async def test_a_body_that_comes_fast_enough_may_take_long(worker: Worker) -> None:
    reader, writer = await worker.connect()
    writer.write(HEAD + b"Content-Length: 61440\r\n\r\n")
    for _ in range(15):
        writer.write(b"a" * 4096)  # worth a second each
        await writer.drain()
        await asyncio.sleep(0.03)
    assert b" 200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"a" * 50_000])
async def test_a_body_that_stands_still_is_given_up_and_the_application_told(worker: Worker, sent: bytes) -> None:
    reader, writer = await worker.connect()
    started = time.monotonic()
    writer.write(HEAD + b"Content-Length: 100000\r\n\r\n" + sent)
    assert refusal(await asyncio.wait_for(reader.read(), 5)) == (408, "request_timeout")
    assert 0.25 < time.monotonic() - started < 2
    assert (worker.app.asked, worker.app.left) == (["/"], 1)
    writer.close()


async def test_a_body_that_never_ends_is_given_up_however_fast_it_comes(worker: Worker) -> None:
    reader, writer = await worker.connect()
    started = time.monotonic()
    head, chunk = HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"a" * 4096 + b"\r\n"
    pouring = asyncio.create_task(keep_sending(writer, head, chunk))
    assert refusal(await asyncio.wait_for(reader.read(), 5)) == (408, "request_timeout")
    assert 0.9 < time.monotonic() - started < 3
    pouring.cancel()
    writer.close()


async def test_time_in_which_we_do_not_read_is_not_the_clients(worker: Worker) -> None:
    reader, writer = await worker.connect()
    body = b"a" * 1_000_000
    writer.write(b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + body)
    await worker.app.is_asked.wait()
    await asyncio.sleep(0.6)  # longer than a body may stand still
    worker.app.go.set()
    assert b" 200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
    writer.close()


async def test_an_answer_before_the_bodys_end_leaves_no_connection_behind(worker: Worker) -> None:
    reader, writer = await worker.connect()
    writer.write(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.count(b"HTTP/1.1") == 1
    assert b" 200 OK" in answer
    writer.close()


async def test_many_slow_clients_are_given_up_together(worker: Worker) -> None:
    connections = [await worker.connect() for _ in range(200)]
    for _, writer in connections:
        writer.write(b"GET / HTTP/1.1\r\n")
    answers = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in connections)), 10)
    assert {refusal(answer) for answer in answers} == {(408, "request_timeout")}
    assert b" 200 OK" in await worker.exchange(GET)
    for _, writer in connections:
        writer.close()


async def test_a_connection_that_says_nothing_is_closed_without_a_word(worker: Worker) -> None:
    reader, writer = await worker.connect()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_slow_second_head_is_given_up_and_a_slow_answer_is_not(worker: Worker) -> None:
    reader, writer = await worker.connect()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.sleep(0.4)  # longer than a head may take
    worker.app.go.set()
    assert b" 200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), 5)
    writer.write(b"GET / HT")
    assert refusal(await asyncio.wait_for(reader.read(), 5)) == (408, "request_timeout")
    writer.close()


async def test_idle_connections_are_closed_after_the_keep_alive_time() -> None:
    async with serving(keep_alive_s=1) as worker:
        (reader, writer), (early_reader, early_writer) = await worker.connect(), await worker.connect()
        writer.write(GET)
        early_writer.write(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        for each in (reader, early_reader):
            await asyncio.wait_for(each.readuntil(b"}"), 5)
        early_writer.write(b"ok")  # the rest of what was answered already
        started = time.monotonic()
        for each in (reader, early_reader):
            assert b"HTTP" not in await asyncio.wait_for(each.read(), 5)
            assert 0.8 < time.monotonic() - started < 3
        writer.close()
        early_writer.close()


async def test_a_refused_client_that_goes_on_sending_is_let_go_in_the_end(worker: Worker) -> None:
    reader, writer = await worker.connect()
    writer.write(b"no http at all\r\n\r\n")
    assert refusal(await asyncio.wait_for(reader.read(), 5))[0] == 400
    deadline = time.monotonic() + 6
    while worker.has(writer):
        assert time.monotonic() < deadline
        with contextlib.suppress(ConnectionError):
            writer.write(b"a" * 1000)
        await asyncio.sleep(0.02)
    writer.close()


@settings(max_examples=15, deadline=None)
@given(
    junk=st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([GET, HEAD, b"\r\n", b"0\r\n\r\n"])), max_size=6)
)
async def test_no_bytes_make_it_fail(shared: Worker, junk: list[bytes]) -> None:
    answer = await shared.exchange(*junk, patience_s=0.4)
    assert b" 500 " not in answer
    assert b" 200 OK" in await shared.exchange(CLOSING)


async def test_refusals_are_the_same_on_the_workers_event_loop() -> None:
    async def check() -> None:
        async with serving() as worker:
            for ambiguous in AMBIGUOUS.values():
                assert refusal(await worker.exchange(ambiguous + GET)) == (400, "malformed_request")
            assert refusal(await worker.exchange(HEAD)) == (408, "request_timeout")
            assert refusal(await worker.exchange(HEAD, *[b"X: aaaaaaaa\r\n" * 100] * 100))[0] == 431
            assert worker.app.asked == []

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(check())

    await asyncio.to_thread(run)

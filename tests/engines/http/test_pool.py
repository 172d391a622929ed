"""Connections that are kept, shared, waited for and given back, whatever happens to a call."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from auterity.engines.http.connection import Connection
from auterity.engines.http.origin import RefusedRequest
from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import FailureKind, HttpRequest, Timeouts, TransportError
from auterity.engines.http.response import PooledResponse

Serve = Callable[..., Awaitable[str]]
MakePool = Callable[..., HttpPool]
Until = Callable[[Callable[[], object]], Awaitable[None]]

TIMEOUTS = Timeouts(connect=5, first_byte=10, between_bytes=10, total=30)
OK = b"HTTP/1.1 200 OK\r\n"


async def _request(reader: asyncio.StreamReader) -> bytes:
    """Read one request; return its head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return head + await reader.readexactly(int(length or 0))


def _answer(body: bytes) -> bytes:
    return OK + b"content-length: %d\r\n\r\n%b" % (len(body), body)


class _Provider:
    """Answers each request with the number of its connection; holds answers back while ``gate`` is shut."""

    def __init__(self) -> None:
        self.connections = 0
        self.most_at_once = 0
        self.now_open = 0
        self.requests: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self.writers.append(writer)
        self.now_open += 1
        self.most_at_once = max(self.most_at_once, self.now_open)
        try:
            while True:
                self.requests.append(await _request(reader))
                await self.gate.wait()
                writer.write(_answer(b"%d" % number))
                await writer.drain()
        finally:
            self.now_open -= 1


def _post(url: str, body: bytes = b"{}") -> HttpRequest:
    return HttpRequest("POST", url, ((b"content-type", b"application/json"),), body)


async def _call(pool: HttpPool, url: str, body: bytes = b"{}", timeouts: Timeouts = TIMEOUTS) -> bytes:
    return await (await pool.send(_post(url, body), timeouts)).read(1 << 20)


async def test_a_request_arrives_as_it_was_given(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    await _call(make_pool(), url + "/v1/x?a=b", b'{"a":1}')
    host = url.removeprefix("http://").encode()
    assert provider.requests == [
        b"POST /v1/x?a=b HTTP/1.1\r\nhost: " + host + b"\r\ncontent-type: application/json\r\n"
        b'accept-encoding: identity\r\ncontent-length: 7\r\n\r\n{"a":1}'
    ]


async def test_calls_in_turn_share_one_connection(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool()
    assert [await _call(pool, url) for _ in range(5)] == [b"1"] * 5
    counts = pool.counts[url]
    assert (counts.open, counts.idle, counts.in_use, counts.waiting) == (1, 1, 0, 0)


async def test_the_connection_used_last_is_used_next(serve: Serve, make_pool: MakePool, until: Until) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool()
    provider.gate.clear()
    calls = [asyncio.create_task(_call(pool, url)) for _ in range(3)]
    await until(lambda: len(provider.requests) == 3)
    provider.gate.set()
    await asyncio.gather(*calls)
    assert pool.counts[url].idle == 3
    assert len({await _call(pool, url) for _ in range(10)}) == 1


async def test_one_thousand_calls_at_once_go_through_fifty_connections(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool(max_connections_per_origin=50)
    timeouts = Timeouts(connect=30, total=60)
    answers = await asyncio.gather(*(_call(pool, url, b"%d" % n, timeouts) for n in range(1000)))
    assert len(answers) == 1000
    assert provider.most_at_once <= 50
    assert {request.rpartition(b"\r\n")[2] for request in provider.requests} == {b"%d" % n for n in range(1000)}
    assert pool.counts[url].in_use == 0
    assert pool.counts[url].waiting == 0


async def test_calls_wait_for_a_connection_in_the_order_they_came(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool(max_connections_per_origin=1)
    await asyncio.gather(*(_call(pool, url, b"%d" % n) for n in range(20)))
    assert [int(request.rpartition(b"\r\n")[2]) for request in provider.requests] == list(range(20))


async def test_waiting_for_a_connection_counts_against_the_connect_limit(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool(max_connections_per_origin=1)
    provider.gate.clear()
    holder = asyncio.create_task(_call(pool, url))
    await until(lambda: provider.requests)
    with pytest.raises(TransportError, match=r"0\.05 s \(connect\): all connections to it were in use") as late:
        await _call(pool, url, timeouts=Timeouts(connect=0.05))
    assert late.value.kind is FailureKind.CONNECT
    assert pool.counts[url].waiting == 0
    provider.gate.set()
    assert await holder == b"1"
    assert await _call(pool, url) == b"1"


async def test_a_waiting_call_that_is_cancelled_leaves_its_place_to_the_next(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool(max_connections_per_origin=1)
    provider.gate.clear()
    calls = [asyncio.create_task(_call(pool, url, b"%d" % n)) for n in range(4)]
    await until(lambda: provider.requests)
    calls[1].cancel()
    provider.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert [results[0], results[2], results[3]] == [b"1"] * 3


async def test_a_call_cancelled_just_as_it_is_served_passes_the_connection_on(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool(max_connections_per_origin=1)
    first = await pool.send(_post(url), TIMEOUTS)
    # The answer has come, so this one is idle; take it again and hold it.
    await first.read(10)
    provider.gate.clear()
    holder = asyncio.create_task(_call(pool, url))
    await until(lambda: len(provider.requests) == 2)
    waiting = [asyncio.create_task(_call(pool, url)) for _ in range(2)]
    await until(lambda: pool.counts[url].waiting == 2)
    holder.add_done_callback(lambda _: waiting[0].cancel())
    provider.gate.set()
    await holder
    with suppress(asyncio.CancelledError):
        await waiting[0]
    assert await waiting[1] == b"1" or provider.connections == 2
    assert pool.counts[url].in_use == 0


async def test_an_idle_connection_that_the_provider_closes_is_dropped_at_once(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool()
    await _call(pool, url)
    provider.writers[0].close()
    await until(lambda: not pool.counts[url].open)
    assert await _call(pool, url) == b"2"


class _HangsUp:
    """Answers the first request of a connection, reads the second, and ends the connection as told."""

    def __init__(self, last_words: bytes, *, fresh_too: bool = False) -> None:
        self.last_words = last_words
        self.fresh_too = fresh_too
        self.requests = 0
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        if number == 1 or not self.fresh_too:
            await _request(reader)
            self.requests += 1
            writer.write(_answer(b"%d" % number))
        await _request(reader)
        self.requests += 1
        writer.write(self.last_words)
        await writer.drain()


async def test_a_kept_connection_that_ends_without_an_answer_is_tried_again_once(
    serve: Serve, make_pool: MakePool
) -> None:
    provider = _HangsUp(b"")
    url = await serve(provider)
    pool = make_pool()
    assert [await _call(pool, url) for _ in range(3)] == [b"1", b"2", b"3"]
    assert (provider.connections, provider.requests) == (3, 5)


async def test_a_kept_connection_that_is_reset_as_it_is_used_is_tried_again(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool()
    assert await _call(pool, url) == b"1"
    provider.writers[0].transport.abort()
    # The pool cannot have heard of it yet.
    assert pool.counts[url].idle == 1
    assert await _call(pool, url) == b"2"


async def test_a_fresh_connection_that_ends_without_an_answer_is_not_tried_again(
    serve: Serve, make_pool: MakePool
) -> None:
    provider = _HangsUp(b"", fresh_too=True)
    url = await serve(provider)
    pool = make_pool()
    assert await _call(pool, url) == b"1"
    with pytest.raises(TransportError) as broken:
        await _call(pool, url)
    assert broken.value.kind is FailureKind.BROKEN
    # The first call, the second on the kept connection, and its one repetition on a fresh one.
    assert (provider.connections, provider.requests) == (2, 3)


async def test_a_first_connection_that_ends_without_an_answer_is_not_tried_again(
    serve: Serve, make_pool: MakePool
) -> None:
    provider = _HangsUp(b"", fresh_too=True)
    provider.connections = 1  # so that none of its connections answers
    url = await serve(provider)
    with pytest.raises(TransportError) as broken:
        await _call(make_pool(), url)
    assert broken.value.kind is FailureKind.BROKEN
    assert provider.requests == 1


@pytest.mark.parametrize("last_words", [b"H", OK, OK + b"content-length: 3\r\n\r\nab"])
async def test_nothing_is_tried_again_once_a_byte_of_the_answer_came(
    last_words: bytes, serve: Serve, make_pool: MakePool
) -> None:
    provider = _HangsUp(last_words)
    url = await serve(provider)
    pool = make_pool()
    await _call(pool, url)
    with pytest.raises(TransportError) as broken:
        await _call(pool, url)
    assert broken.value.kind is FailureKind.BROKEN
    assert (provider.connections, provider.requests) == (1, 2)


async def test_a_repetition_gets_a_fresh_connection_even_at_the_limit(serve: Serve, make_pool: MakePool) -> None:
    provider = _HangsUp(b"")
    url = await serve(provider)
    pool = make_pool(max_connections_per_origin=2)
    first = await asyncio.gather(_call(pool, url), _call(pool, url))
    assert sorted(first) == [b"1", b"2"]
    # Both kept connections end on their next request; each call must reach a third and a fourth.
    assert sorted(await asyncio.gather(_call(pool, url), _call(pool, url))) == [b"3", b"4"]


async def test_connections_idle_for_too_long_are_not_used(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    now = 0.0
    pool = make_pool(idle_timeout_s=60, clock=lambda: now)
    assert await _call(pool, url) == b"1"
    now = 59.0
    assert await _call(pool, url) == b"1"
    now = 120.0
    assert await _call(pool, url) == b"2"


async def test_idle_connections_are_closed_and_their_origin_is_forgotten(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool(idle_timeout_s=0.02)
    await _call(pool, url)
    await until(lambda: not pool.counts)
    await until(lambda: not provider.now_open)
    assert await _call(pool, url) == b"2"


async def test_no_more_connections_are_kept_than_allowed(serve: Serve, make_pool: MakePool, until: Until) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool(max_idle_per_origin=2)
    provider.gate.clear()
    calls = [asyncio.create_task(_call(pool, url)) for _ in range(5)]
    await until(lambda: len(provider.requests) == 5)
    provider.gate.set()
    await asyncio.gather(*calls)
    await until(lambda: provider.now_open == 2)
    assert pool.counts[url].idle == 2


@pytest.mark.parametrize("after", ["connecting", "sending", "head", "first chunk"])
async def test_a_cancelled_call_leaves_no_connection_behind(
    after: str, serve: Serve, make_pool: MakePool, until: Until
) -> None:
    stage = asyncio.Event()
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _request(reader)
            if after == "sending":
                stage.set()
            elif after == "head":
                writer.write(OK + b"transfer-encoding: chunked\r\n\r\n")
            elif after == "first chunk":
                writer.write(OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
            await reader.read()
        finally:
            ended.set()

    async def call() -> None:
        response = await pool.send(_post(url), TIMEOUTS)
        if after == "first chunk":
            assert await response.chunk() == b"ok"
        stage.set()
        await response.chunk()

    url = await serve(handler)
    pool = make_pool()
    task = asyncio.create_task(call())
    if after == "connecting":
        await asyncio.sleep(0)
    else:
        await stage.wait()
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if after != "connecting":
        await asyncio.wait_for(ended.wait(), 5)
    await until(lambda: not pool.counts[url].open)


async def test_cancelling_at_any_moment_leaks_nothing(serve: Serve, make_pool: MakePool, until: Until) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await _request(reader)
            for piece in (OK, b"transfer-encoding: chunked\r\n\r\n", b"2\r\nok\r\n", b"0\r\n\r\n"):
                writer.write(piece)
                await asyncio.sleep(0)

    url = await serve(handler)
    pool = make_pool(max_connections_per_origin=5)

    async def call() -> None:
        response = await pool.send(_post(url), TIMEOUTS)
        while await response.chunk():
            pass

    for turns in range(1, 40):
        tasks = [asyncio.create_task(call()) for _ in range(8)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        counts = pool.counts[url]
        assert counts.waiting == 0
    await until(lambda: pool.counts[url].in_use == 0)
    # The pool still has all five of its connections to give.
    await asyncio.gather(*(call() for _ in range(20)))


async def test_an_answer_that_is_given_up_closes_its_connection(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    provider_saw_end = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(OK + b"content-length: 100\r\n\r\npart")
        await reader.read()
        provider_saw_end.set()

    url = await serve(handler)
    pool = make_pool()
    response = await pool.send(_post(url), TIMEOUTS)
    assert await response.chunk() == b"part"
    response.abort()
    response.abort()
    with pytest.raises(TransportError):
        await response.chunk()
    await asyncio.wait_for(provider_saw_end.wait(), 5)
    await until(lambda: not pool.counts[url].open)


async def test_giving_up_a_complete_answer_keeps_the_connection(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool()
    response = await pool.send(_post(url), TIMEOUTS)
    assert await response.read(10) == b"1"
    response.abort()
    assert await _call(pool, url) == b"1"


async def test_an_unsafe_request_is_refused_before_anything_is_sent(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool()
    with pytest.raises(RefusedRequest):
        await pool.send(HttpRequest("POST", url, ((b"x", b"a\r\nhost: evil"),), b""), TIMEOUTS)
    assert (provider.connections, pool.counts) == (0, {})


async def test_closing_the_pool_ends_calls_and_waits_and_refuses_new_ones(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool(max_connections_per_origin=1)
    # On a kept connection: being closed by us is no reason to send the request again.
    await _call(pool, url)
    provider.gate.clear()
    under_way = asyncio.create_task(_call(pool, url))
    await until(lambda: len(provider.requests) == 2)
    waiting = asyncio.create_task(_call(pool, url))
    await until(lambda: pool.counts[url].waiting)
    await pool.close()
    with pytest.raises(TransportError) as broken:
        await under_way
    assert broken.value.kind is FailureKind.BROKEN
    with pytest.raises(TransportError) as refused:
        await waiting
    assert refused.value.kind is FailureKind.CONNECT
    with pytest.raises(TransportError, match="closed"):
        await _call(pool, url)
    assert pool.counts[url].open == 0
    provider.gate.set()


async def test_calls_make_no_cycles_for_the_garbage_collector(serve: Serve, make_pool: MakePool) -> None:
    provider = _Provider()
    url = await serve(provider)
    pool = make_pool()
    await _call(pool, url)
    gc.collect()
    gc.disable()
    try:
        response = await pool.send(_post(url), TIMEOUTS)
        await response.read(100)
        del response
        assert not [found for found in gc.get_objects() if isinstance(found, PooledResponse)]
        for _ in range(100):
            await _call(pool, url)
        assert not _objects_of_the_pool_in_garbage()
    finally:
        gc.enable()


def _objects_of_the_pool_in_garbage() -> list[object]:
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return [found for found in gc.garbage if type(found).__module__.startswith("auterity.engines.http")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


async def test_a_closed_connection_is_freed_without_the_garbage_collector(
    serve: Serve, make_pool: MakePool, until: Until
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(OK + b"connection: close\r\ncontent-length: 1\r\n\r\n1")

    url = await serve(handler)
    pool = make_pool()
    gc.collect()
    gc.disable()
    try:
        await _call(pool, url)
        await until(lambda: not pool.counts[url].open)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not [found for found in gc.get_objects() if isinstance(found, Connection)]
    finally:
        gc.enable()

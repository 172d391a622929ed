"""A host with several addresses is reached through whichever answers."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from auterity.engines.http import dialing
from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import FailureKind, HttpRequest, Timeouts, TransportError

Serve = Callable[..., Awaitable[str]]
MakePool = Callable[..., HttpPool]
Until = Callable[[Callable[[], object]], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
TIMEOUTS = Timeouts(connect=5)


async def _ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(OK)


def _resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses. (A resolver with a dead route cannot be had here.)"""

    async def addresses_of(*_: Any) -> list[str]:
        return list(addresses)

    monkeypatch.setattr(dialing, "_addresses", addresses_of)


async def test_a_literal_ipv6_address_is_called(serve: Serve, make_pool: MakePool) -> None:
    url = await serve(_ok, host="::1")
    pool = make_pool()
    assert await (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(10) == b"ok"
    assert list(pool.counts) == [url]


async def test_a_name_is_resolved(serve: Serve, make_pool: MakePool) -> None:
    url = (await serve(_ok)).replace("127.0.0.1", "localhost")
    assert await (await make_pool().send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(10) == b"ok"


async def test_an_address_that_refuses_gives_way_to_the_next(
    serve: Serve, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await serve(_ok)
    _resolve(monkeypatch, "::1", "127.0.0.2", "127.0.0.1")
    assert await (await make_pool().send(HttpRequest("GET", url, (), b""), TIMEOUTS)).read(10) == b"ok"


async def test_an_address_that_is_silent_does_not_hold_up_the_next(
    serve: Serve, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    url = await serve(_ok)
    port = int(url.rpartition(":")[2])
    monkeypatch.setattr(dialing, "STAGGER_S", 0.02)
    _resolve(monkeypatch, "127.0.0.2", "127.0.0.1")
    with socket.socket() as deaf, socket.socket() as filler:
        # A listener whose queue is full does not answer a connection attempt at all.
        deaf.bind(("127.0.0.2", port))
        deaf.listen(0)
        filler.connect(("127.0.0.2", port))
        pool = make_pool()
        response = await pool.send(HttpRequest("GET", url, (), b""), Timeouts(connect=2))
        assert await response.read(10) == b"ok"
        assert pool.counts[url].open == 1


async def test_no_address_that_answers_is_no_connection(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    _resolve(monkeypatch, "127.0.0.1", "127.0.0.2", "::1")
    with pytest.raises(TransportError) as refused:
        await make_pool().send(HttpRequest("GET", f"http://h:{unused_tcp_port}", (), b""), TIMEOUTS)
    assert refused.value.kind is FailureKind.CONNECT


@pytest.mark.parametrize("host", ["a" * 64, "a..b"])
async def test_a_name_that_cannot_be_one_is_no_connection(host: str, make_pool: MakePool) -> None:
    with pytest.raises(TransportError) as refused:
        await make_pool().send(HttpRequest("GET", f"http://{host}/", (), b""), TIMEOUTS)
    assert refused.value.kind is FailureKind.CONNECT


async def test_a_name_that_is_not_known_is_no_connection(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: Any) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(dialing, "_addresses", unknown)
    with pytest.raises(TransportError, match="Name or service not known") as refused:
        await make_pool().send(HttpRequest("GET", "http://nowhere.example/", (), b""), TIMEOUTS)
    assert refused.value.kind is FailureKind.CONNECT

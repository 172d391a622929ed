"""Loopback servers for the pool's tests, which run on the plain event loop and on uvloop."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress

import pytest
import uvloop

from auterity.engines.http.pool import HttpPool

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Start a server that runs a handler for each connection; returns its URL. What a handler raises fails the test."""
    servers: list[asyncio.Server] = []
    running: set[asyncio.Task[None]] = set()
    faults: list[BaseException] = []

    async def start(handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> str:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            running.add(task)
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the client left, as many of these tests want it to
            except AssertionError as error:
                faults.append(error)
            finally:
                running.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, host, 0, ssl=tls)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        return f"http{'s' if tls else ''}://{shown}:{port}"

    yield start
    for server in servers:
        server.close()
    for task in list(running):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    for fault in faults:
        raise fault


@pytest.fixture
async def make_pool() -> AsyncIterator[Callable[..., HttpPool]]:
    """Make pools; each is closed at the end and must then hold no connection."""
    pools: list[HttpPool] = []

    def make(**options: object) -> HttpPool:
        pool = HttpPool(**options)  # pyright: ignore[reportArgumentType] - the test names them
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        await pool.close()
        assert all(counts.open == 0 for counts in pool.counts.values())


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait for a condition that other tasks bring about; fails after ten seconds."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the condition is another's state, which has no event
                await asyncio.sleep(0.001)

    return wait

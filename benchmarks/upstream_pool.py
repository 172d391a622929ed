"""What the upstream connection pool costs: CPU per request of ``HttpPool`` against a bare protocol, in one run.

Run: ``python -m benchmarks.upstream_pool [--rounds 9] [--plain-only] [--loop uvloop|asyncio]``.

The floor is the least that an asyncio program can do: the same bytes written on one connection, a future per wake-up,
the answer recognised by its known last bytes; no parsing, no limits, no pool. Both take turns within each round
against the mock provider in a second process, so that a noisy machine disturbs both alike. Only this process's CPU
counts; the figures are medians over the rounds, in microseconds per request.
"""

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import cast

import uvloop

from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import HttpRequest, Timeouts

__all__ = ["main"]

_BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"%s"}]}' % (b"Tell me more. " * 30)
_STREAM_BODY = _BODY[:-1] + b',"stream":true}'
_HEADERS = (
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer sk-0123456789abcdef0123456789abcdef"),
    (b"user-agent", b"auterity"),
)
_TIMEOUTS = Timeouts()
_LANES = 8
"""Streams at a time where chunks come at a pace; else the time would go into waiting."""


class _Floor(asyncio.Protocol):
    """One connection that knows how its answer ends."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.set_result(None)

    async def exchange(self, wire: bytes, ending: bytes) -> None:
        transport = self.transport
        assert transport is not None
        transport.write(wire)
        parts = self.parts
        while True:
            if not parts:
                waiter = self.waiter = self.loop.create_future()
                await waiter
            last = parts[-1]
            parts.clear()
            if last.endswith(ending):
                return


def _wire(port: int, body: bytes, pace_ms: int) -> bytes:
    """The very bytes that the pool sends."""
    headers = b"".join(b"%b: %b\r\n" % header for header in _headers(pace_ms))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n%b" % (port, headers)
    return head + b"accept-encoding: identity\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _headers(pace_ms: int) -> tuple[tuple[bytes, bytes], ...]:
    return (*_HEADERS, (b"x-mock-pace-ms", b"%d" % pace_ms)) if pace_ms else _HEADERS


async def _plain(pool: HttpPool, url: str) -> None:
    # As a wire does it: a new request each time, equal in its headers.
    request = HttpRequest("POST", url, _headers(0), _BODY)
    response = await pool.send(request, _TIMEOUTS)
    await response.read(1 << 20)


async def _stream(pool: HttpPool, url: str, pace_ms: int) -> None:
    response = await pool.send(HttpRequest("POST", url, _headers(pace_ms), _STREAM_BODY), _TIMEOUTS)
    while await response.chunk():
        pass


async def _cpu(calls: int, one: Callable[[], Awaitable[None]]) -> float:
    """CPU microseconds per call, one call after the other."""
    begin = time.process_time()
    for _ in range(calls):
        await one()
    return (time.process_time() - begin) / calls * 1e6


async def _cpu_abreast(calls: int, ones: list[Callable[[], Awaitable[None]]]) -> float:
    async def lane(one: Callable[[], Awaitable[None]]) -> None:
        for _ in range(calls):
            await one()

    begin = time.process_time()
    await asyncio.gather(*(lane(one) for one in ones))
    return (time.process_time() - begin) / calls / len(ones) * 1e6


async def _measure(port: int, rounds: int, *, plain_only: bool) -> None:
    loop = asyncio.get_running_loop()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    pool = HttpPool()
    floors = [(await loop.create_connection(_Floor, "127.0.0.1", port))[1] for _ in range(_LANES)]
    floor = floors[0]
    plain, burst, paced = (_wire(port, _BODY, 0), _wire(port, _STREAM_BODY, 0), _wire(port, _STREAM_BODY, 1))
    ending = b"0\r\n\r\n"
    # The mock's plain answer is one JSON object whose last bytes are these.
    cases: dict[str, tuple[Callable[[], Coroutine[None, None, float]], Callable[[], Coroutine[None, None, float]]]] = {
        "plain, ~600 bytes": (
            lambda: _cpu(2000, lambda: floor.exchange(plain, b"}}")),
            lambda: _cpu(2000, lambda: _plain(pool, url)),
        )
    }
    if not plain_only:
        cases["stream, 20 chunks at once"] = (
            lambda: _cpu(1000, lambda: floor.exchange(burst, ending)),
            lambda: _cpu(1000, lambda: _stream(pool, url, 0)),
        )
        cases["stream, 20 chunks 1 ms apart"] = (
            lambda: _cpu_abreast(10, [lambda one=one: one.exchange(paced, ending) for one in floors]),
            lambda: _cpu_abreast(10, [lambda: _stream(pool, url, 1)] * _LANES),
        )
    print(f"{'CPU µs per request':30} {'floor':>8} {'HttpPool':>9} {'ratio':>7}")
    for name, (bare, pooled) in cases.items():
        floor_us: list[float] = []
        pool_us: list[float] = []
        for number in range(rounds + 1):
            pair = (await bare(), await pooled())
            if number:  # the first round warms up
                floor_us.append(pair[0])
                pool_us.append(pair[1])
        ratio = statistics.median(ours / least for ours, least in zip(pool_us, floor_us, strict=True))
        print(f"{name:30} {statistics.median(floor_us):8.1f} {statistics.median(pool_us):9.1f} {ratio:6.2f}×")
    for each in floors:
        if each.transport is not None:
            each.transport.close()
    await pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU per request of the upstream pool against a bare protocol.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--plain-only", action="store_true")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args()
    command = [sys.executable, "-m", "benchmarks.mock_provider", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mock:
        try:
            assert mock.stdout is not None
            port = int(mock.stdout.readline().split()[1])
            # The gateway freezes what it starts with and keeps the collector on; here neither side makes garbage.
            gc.freeze()
            factory = uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(_measure(port, options.rounds, plain_only=options.plain_only))
        finally:
            mock.terminate()


if __name__ == "__main__":
    main()

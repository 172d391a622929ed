"""Connections to providers that are kept and used again: the ``Transport`` of production."""

import asyncio
import ssl
from collections.abc import Callable

from auterity.engines.http.lane import Lane, LaneCounts
from auterity.engines.http.origin import Origin, request_head
from auterity.engines.http.port import FailureKind, HttpRequest, HttpResponse, Timeouts, TransportError
from auterity.engines.http.tls import client_context

__all__ = ["HttpPool"]


class HttpPool:
    """An HTTP/1.1 connection pool, for one event loop.

    The connection that was used last is used next, so that the others grow idle and are closed. Where all are in use,
    requests wait in the order they came; the wait counts against the connect limit.

    Args:
        max_connections_per_origin: sockets to one scheme, host and port.
        max_idle_per_origin: of those, how many are kept for later.
        idle_timeout_s: how long; less than providers keep them (60–120 s are usual), so that they rarely close first.
        max_response_bytes: the longest answer that is taken, streams included.
        ssl_context: used as it is; the default verifies certificates (``tls.client_context``).
        clock: seconds that never go back; the event loop's by default.
    """

    def __init__(
        self,
        *,
        max_connections_per_origin: int = 512,
        max_idle_per_origin: int = 128,
        idle_timeout_s: float = 60.0,
        max_response_bytes: int = 1 << 30,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if max_connections_per_origin < 1:
            raise ValueError("max_connections_per_origin must be at least 1")
        self._max_connections = max_connections_per_origin
        self._max_idle = max_idle_per_origin
        self._idle_timeout_s = idle_timeout_s
        self._max_response_bytes = max_response_bytes
        self._ssl_context = ssl_context
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def counts(self) -> dict[str, LaneCounts]:
        """Connections by origin, e.g. ``https://api.openai.com``."""
        return {label: lane.counts for label, lane in self._lanes.items()}

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        """Send a request and return once the answer's head has come.

        A kept connection may be closed by the provider at the very moment it is used again. Then the request was
        written, yet the connection ended without one byte of answer: nearly always the provider closed an idle
        connection and never read the request, and a caller could not tell this from a fault of the gateway. The
        request is sent again, once, on a fresh connection. The small remaining chance that the provider did read it
        costs a repeated model call, never a wrong answer. A fresh connection that ends so was not idle, and an answer
        that has begun proves that the request was read: neither is tried again, and neither is a timeout.

        Raises:
            TransportError: no connection, no answer in time, or no HTTP.
            RefusedRequest: the request cannot be written safely (a ``TransportError`` of kind ``CONNECT``).
        """
        body = request.body
        origin, prefix, empty = request_head(request.method, request.url, request.headers)
        head = b"%b%d\r\n\r\n" % (prefix, len(body)) if body else empty
        lane = self._lanes.get(origin.label)
        if lane is None:
            lane = self._add_lane(origin)
        now = lane.time()
        total_at = now + timeouts.total
        bodiless = request.method == "HEAD"
        connection = lane.take(now - self._idle_timeout_s)
        if connection is None:
            connection = await lane.acquire(timeouts, total_at, fresh=False)
        response = connection.exchange(head, body, timeouts, total_at, bodiless=bodiless)
        await response.head()
        if response.retry_is_safe:
            connection = await lane.acquire(timeouts, total_at, fresh=True)
            response = connection.exchange(head, body, timeouts, total_at, bodiless=bodiless)
            await response.head()
        if (failure := response.failure) is not None:
            raise failure
        return response

    async def close(self) -> None:
        """Close all connections; requests under way break. The pool cannot be used again."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for lane in self._lanes.values():
            lane.close()
        for lane in self._lanes.values():
            await lane.wait_closed()

    def _add_lane(self, origin: Origin) -> Lane:
        if self._closed:
            raise TransportError(FailureKind.CONNECT, "The connection pool is closed.")
        loop = asyncio.get_running_loop()
        if origin.tls and self._ssl_context is None:
            # Made on first use: reading the system's authorities takes tens of milliseconds.
            self._ssl_context = client_context()
        if self._reaper is None:
            self._reaper = loop.call_later(self._idle_timeout_s / 2, self._reap)
        lane = self._lanes[origin.label] = Lane(
            origin,
            max_connections=self._max_connections,
            max_idle=self._max_idle,
            max_response_bytes=self._max_response_bytes,
            tls=self._ssl_context if origin.tls else None,
            time=self._clock or loop.time,
        )
        return lane

    def _reap(self) -> None:
        """Close what has been idle for too long, and forget origins that nobody calls any more."""
        self._reaper = None
        for label, lane in list(self._lanes.items()):
            lane.drop_idle(lane.time() - self._idle_timeout_s)
            if lane.empty:
                del self._lanes[label]
        if self._lanes:
            self._reaper = asyncio.get_running_loop().call_later(self._idle_timeout_s / 2, self._reap)

"""The sandbox in-process: a transport that answers by itself and opens no connection."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit
from weakref import WeakSet

from auterity.engines.http.port import FailureKind, Header, HttpRequest, HttpResponse, Timeouts, TransportError
from auterity.providers.sandbox.replies import Ending, Reply
from auterity.providers.sandbox.service import SandboxService

__all__ = ["SandboxTransport"]


class SandboxTransport:
    """Implements :class:`auterity.engines.http.port.Transport`."""

    def __init__(self, service: SandboxService | None = None) -> None:
        self._service = service or SandboxService()
        self._open: WeakSet[_Exchange] = WeakSet()

    @property
    def under_way(self) -> int:
        """Answers that are neither read to the end nor given up."""
        return len(self._open)

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        path = urlsplit(request.url).path
        reply = self._service.respond(request.method, path, request.headers, request.body)
        exchange = _Exchange(reply, timeouts, self._open)
        await exchange.begin()
        return exchange

    async def close(self) -> None:
        for exchange in list(self._open):
            exchange.abort()


class _Exchange:
    """Implements :class:`auterity.engines.http.port.HttpResponse`, from the request on."""

    def __init__(self, reply: Reply, timeouts: Timeouts, opened: "WeakSet[_Exchange]") -> None:
        self._reply = reply
        self._timeouts = timeouts
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + timeouts.total
        self._next = 0
        self._given_up = False
        self._waiting: asyncio.Future[None] | None = None
        opened.add(self)

    @property
    def status(self) -> int:
        return self._reply.status

    @property
    def headers(self) -> Sequence[Header]:
        return self._reply.headers

    async def begin(self) -> None:
        """Wait until the head has come."""
        reply = self._reply
        if reply.headless and reply.ending is Ending.BROKEN:
            self.abort()
            raise TransportError(FailureKind.CONNECT, "The sandbox refused the connection, as it was asked to.")
        await self._pause(None if reply.headless else reply.pause_s, "first_byte", self._timeouts.first_byte)

    async def read(self, limit: int) -> bytes:
        whole = bytearray()
        while piece := await self.chunk():
            whole += piece
            if len(whole) > limit:
                self.abort()
                raise TransportError(FailureKind.TOO_LARGE, f"The answer is longer than {limit} bytes.")
        return bytes(whole)

    async def chunk(self) -> bytes:
        if self._given_up:
            raise _given_up()
        patience = self._timeouts.between_bytes
        if self._next < len(self._reply.steps):
            step = self._reply.steps[self._next]
            await self._pause(step.pause_s, "between_bytes", patience)
            self._next += 1
            return step.data
        if self._reply.ending is Ending.SILENT:
            await self._pause(None, "between_bytes", patience)
        if self._reply.ending is Ending.BROKEN:
            self.abort()
            raise TransportError(FailureKind.BROKEN, "The sandbox broke the connection, as it was asked to.")
        self._opened.discard(self)
        return b""

    def abort(self) -> None:
        self._given_up = self._next < len(self._reply.steps) or self._reply.ending is not Ending.COMPLETE
        self._opened.discard(self)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(_given_up())

    async def _pause(self, seconds: float | None, limit: str, patience: float) -> None:
        """Wait so long (None: for ever), or until patience or the whole call's time ends.

        Raises:
            TransportError: it ended first, or the answer was given up meanwhile.
        """
        if seconds == 0:
            # Also without a pause others get their turn, as they would with a socket.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.abort()
                raise
            if self._given_up:
                raise _given_up()
            return
        left = self._deadline - self._loop.time()
        if left < patience:
            limit, patience = "total", max(left, 0)
        late = seconds is None or seconds > patience
        self._waiting = self._loop.create_future()
        timer = self._loop.call_later(patience if late else seconds or 0, _wake, self._waiting)
        try:
            await self._waiting
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()
            self._waiting = None
        if late:
            self.abort()
            raise TransportError(FailureKind.TIMEOUT, f"The sandbox did not answer in time ({limit}).")


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def _given_up() -> TransportError:
    return TransportError(FailureKind.BROKEN, "The answer was given up.")

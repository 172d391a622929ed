"""The sandbox in-process: a transport that answers by itself and opens no connection."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from auterity.engines.http.port import FailureKind, Header, HttpRequest, HttpResponse, Timeouts, TransportError
from auterity.providers.sandbox.replies import Ending, Reply
from auterity.providers.sandbox.service import SandboxService

__all__ = ["SandboxTransport"]


class SandboxTransport:
    """Implements :class:`auterity.engines.http.port.Transport`."""

    def __init__(self, service: SandboxService | None = None) -> None:
        self._service = service or SandboxService()

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        path = urlsplit(request.url).path
        reply = self._service.respond(request.method, path, request.headers, request.body)
        if reply.headless:
            if reply.ending is Ending.BROKEN:
                raise TransportError(FailureKind.CONNECT, "The sandbox refused the connection, as it was asked to.")
            await _pause(None, timeouts.first_byte)
        await _pause(reply.pause_s, timeouts.first_byte)
        return _SandboxResponse(reply, timeouts)

    async def close(self) -> None:
        """Nothing is open."""


class _SandboxResponse:
    """Implements :class:`auterity.engines.http.port.HttpResponse`."""

    def __init__(self, reply: Reply, timeouts: Timeouts) -> None:
        self._reply = reply
        self._timeouts = timeouts
        self._deadline = asyncio.get_running_loop().time() + timeouts.total - reply.pause_s
        self._next = 0
        self._aborted = False

    @property
    def status(self) -> int:
        return self._reply.status

    @property
    def headers(self) -> Sequence[Header]:
        return self._reply.headers

    async def read(self, limit: int) -> bytes:
        whole = bytearray()
        while piece := await self.chunk():
            whole += piece
            if len(whole) > limit:
                self.abort()
                raise TransportError(FailureKind.TOO_LARGE, f"The answer is longer than {limit} bytes.")
        return bytes(whole)

    async def chunk(self) -> bytes:
        if self._aborted:
            raise TransportError(FailureKind.BROKEN, "The answer was given up.")
        patience = min(self._timeouts.between_bytes, self._deadline - asyncio.get_running_loop().time())
        if self._next < len(self._reply.steps):
            step = self._reply.steps[self._next]
            await _pause(step.pause_s, patience)
            self._next += 1
            return step.data
        if self._reply.ending is Ending.SILENT:
            await _pause(None, patience)
        if self._reply.ending is Ending.BROKEN:
            raise TransportError(FailureKind.BROKEN, "The sandbox broke the connection, as it was asked to.")
        return b""

    def abort(self) -> None:
        self._aborted = self._next < len(self._reply.steps) or self._reply.ending is not Ending.COMPLETE


async def _pause(seconds: float | None, patience: float) -> None:
    """Wait so long (None: for ever), or until patience ends.

    Raises:
        TransportError: patience ended first.
    """
    if seconds is None or seconds > patience:
        await asyncio.sleep(max(patience, 0))
        raise TransportError(FailureKind.TIMEOUT, "The sandbox did not answer in time.")
    # Also without a pause others get their turn, as they would with a socket.
    await asyncio.sleep(seconds)

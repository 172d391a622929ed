"""A gateway call on its connection, below ASGI.

The management API is served through ASGI; a gateway call is not, because the scopes, messages and events of ASGI cost
about as much as the gateway's own stages. :class:`DirectCall` stands where uvicorn's protocol expects its
request-response cycle, has the same attributes that the protocol sets, and is both the ``Request`` and the ``Reply`` of
the pipeline. Requests on one connection are still served one after the other, and shutdown still waits for them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from auterity.gateway.errors import BodyTooLarge
from auterity.gateway.reply import ClientLeft, Header
from auterity.gateway.service import GatewayService
from auterity.providers.contract import Endpoint

__all__ = ["DirectCall", "DirectWatch", "UnsafeHeader", "head_of"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNKED: Header = (b"transfer-encoding", b"chunked")
_CLOSE: Header = (b"connection", b"close")
_LAST_CHUNK = b"0\r\n\r\n"


class UnsafeHeader(RuntimeError):
    """A header of an answer holds a line break or a NUL: a defect, for they are all our own."""


def head_of(status: int, headers: Sequence[Header]) -> bytes:
    """The status line and the header fields.

    Raises:
        UnsafeHeader: a field holds what would end it.
    """
    parts = [STATUS_LINE[status]]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    head = b"".join(parts)
    # One look at the whole is cheaper than one at each value, and finds the same.
    lines = len(headers) + 1
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\x00" in head:
        raise UnsafeHeader("a header of the answer holds a line break or a NUL")
    return head + b"\r\n"


class DirectCall:
    """One call. The attributes without a leading underscore that are no port's are uvicorn's protocol's to set."""

    __slots__ = (
        "_chunked",
        "_declared",
        "_default_headers",
        "_endpoint",
        "_expects_continue",
        "_flow",
        "_gateway",
        "_head",
        "_on_response",
        "_transport",
        "_waiter",
        "_watch",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
    )

    def __init__(
        self,
        gateway: GatewayService,
        endpoint: Endpoint,
        *,
        headers: dict[bytes, bytes],
        transport: asyncio.Transport,
        flow: FlowControl,
        default_headers: Sequence[Header],
        expects_continue: bool,
        keep_alive: bool,
        chunked: bool,
        on_response: Callable[[], None],
    ) -> None:
        """
        Args:
            gateway: serves the call.
            endpoint: which of its endpoints.
            headers: the request's, names in lower case.
            transport: the connection.
            flow: tells whether the client reads.
            default_headers: of every answer, such as the date.
            expects_continue: the client waits for ``100 Continue`` before it sends the body.
            keep_alive: another request may follow.
            chunked: the client understands chunks (HTTP/1.1); otherwise a stream ends with the connection.
            on_response: called when the answer is complete.
        """
        self._gateway = gateway
        self._endpoint: Endpoint = endpoint
        self.headers = headers
        self._transport = transport
        self._flow = flow
        self._default_headers = default_headers
        self._expects_continue = expects_continue
        self._on_response = on_response
        self._chunked = chunked
        self._declared = False
        self._head = b""
        self._waiter: asyncio.Future[None] | None = None
        self._watch: DirectWatch | None = None
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_started = False
        self.response_complete = False

    async def run_asgi(self, _app: Any) -> None:
        """What the protocol starts in a task."""
        await self._gateway.serve(self._endpoint, self, self)
        if not self.response_complete:
            # The client left, or stands still: nothing that follows on this connection would be understood.
            self._transport.close()

    @property
    def message_event(self) -> "DirectCall":
        """The protocol sets an event when something came or the client left: this object is that event.

        A property, because an attribute would make a cycle that only the garbage collector could free.
        """
        return self

    def set(self) -> None:
        """Something of the body came, or the client left."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.disconnected and self._watch is not None:
            self._watch.leave()

    # --- the request ---

    async def read(self, limit: int) -> bytes:
        """The whole body."""
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        if self._expects_continue:
            self._expects_continue = False
            self._transport.write(_CONTINUE)
        while self.more_body and not self.disconnected:
            if len(self.body) > limit:
                raise _too_large(limit)
            self._flow.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.more_body:
            raise ClientLeft
        if len(self.body) > limit:
            raise _too_large(limit)
        body = bytes(self.body)
        self.body.clear()
        return body

    # --- the reply ---

    @property
    def started(self) -> bool:
        """The status and the headers are out, or go out with the first bytes of the body."""
        return self.response_started

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        """Keep the head for the body's first bytes: one packet instead of two."""
        fields = [*self._default_headers, *headers]
        self._declared = any(name == b"content-length" for name, _ in headers)
        if not self._declared:
            if self._chunked:
                fields.append(_CHUNKED)
            else:
                self.keep_alive = False
        if _CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            fields.append(_CLOSE)
        self._head = head_of(status, fields)
        self.response_started = True

    async def write(self, data: bytes) -> None:
        """Send bytes of the body, once the client has taken most of what was sent before."""
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        head, self._head = self._head, b""
        if self._declared or not self._chunked:
            self._transport.write(head + data)
        elif data:
            self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))

    async def finish(self, data: bytes = b"") -> None:
        """Send the last bytes."""
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        head, self._head = self._head, b""
        if self._declared or not self._chunked:
            self._transport.write(head + data)
        elif data:
            self._transport.write(b"%b%x\r\n%b\r\n%b" % (head, len(data), data, _LAST_CHUNK))
        else:
            self._transport.write(head + _LAST_CHUNK)
        self.response_complete = True
        if not self.keep_alive:
            self._transport.close()
        self._on_response()

    def watch(self, limit_s: float) -> "DirectWatch":
        """Notice that the client leaves while the block runs."""
        return DirectWatch(self, limit_s)

    def watched_by(self, watch: "DirectWatch | None") -> None:
        """Tell this watch (None: nobody any more) when the client leaves."""
        self._watch = watch


class DirectWatch:
    """Cancels the block when the client leaves, or after ``limit_s`` seconds, and turns that into ``ClientLeft``."""

    __slots__ = ("_call", "_left", "_limit_s", "_owner", "_timer")

    def __init__(self, call: DirectCall, limit_s: float) -> None:
        self._call = call
        self._limit_s = limit_s
        self._left = False
        self._owner: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._call.disconnected:
            raise ClientLeft
        self._owner = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._limit_s, self.leave)
        self._call.watched_by(self)

    def leave(self) -> None:
        """The client left."""
        if self._owner is not None and not self._left:
            self._left = True
            self._owner.cancel()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._call.watched_by(None)
        if self._timer is not None:
            self._timer.cancel()
        owner, self._owner = self._owner, None
        if self._left and owner is not None:
            owner.uncancel()
            raise ClientLeft from error


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than the limit of {limit} bytes.")

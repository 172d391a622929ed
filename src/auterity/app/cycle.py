"""One request and its answer on a connection: uvicorn's, with the head and the first bytes of the body in one write.

uvicorn writes the head when the answer starts and the body when it comes: two system calls, and two packets to the
client, for every plain answer. Here the head waits for the first bytes, which ASGI allows ("servers may wait").
"""


from uvicorn._types import ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

__all__ = ["GatewayCycle", "UnsafeHeader"]

_CHUNKED = b"transfer-encoding: chunked\r\n"
_CLOSE = b"connection: close\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_WITHOUT_BODY = frozenset({204, 304})


class UnsafeHeader(RuntimeError):
    """The application tried to send a header with a line break in it, or a name with a colon or a space."""


class GatewayCycle(RequestResponseCycle):
    """Give it to :class:`~auterity.app.protocol.GatewayProtocol`."""

    _head: bytes | None = None
    """The head that waits for the body's first bytes."""
    _left = 0
    """What the declared length still wants."""

    async def send(self, message: ASGISendEvent) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.body":
            self._send_body(message)
        elif message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._make_head(message)
        else:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")

    def _make_head(self, message: HTTPResponseStartEvent) -> bytes:
        status = message["status"]
        parts = [STATUS_LINE[status]]
        lines = 1
        closing = False
        for name, value in (*self.default_headers, *message.get("headers", ())):
            lowered = name.lower()
            if lowered == b"content-length":
                self._left = int(value)
                self.chunked_encoding = False
            elif lowered == b"transfer-encoding":
                continue  # ours to decide
            elif lowered == b"connection" and b"close" in value.lower():
                self.keep_alive = False
                closing = True
            if b":" in name or b" " in name or not name:
                raise UnsafeHeader(f"the header name {name!r} cannot be sent")
            parts += (name, b": ", value, b"\r\n")
            lines += 1
        if self.chunked_encoding is None:
            if self.scope["method"] == "HEAD" or status in _WITHOUT_BODY:
                self.chunked_encoding = False
            else:
                self.chunked_encoding = True
                parts.append(_CHUNKED)
                lines += 1
        if not self.keep_alive and not closing:
            parts.append(_CLOSE)
            lines += 1
        head = b"".join(parts)
        # One look at the whole is cheaper than one at each value, and finds the same.
        if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\x00" in head:
            raise UnsafeHeader("a header of the answer holds a line break or a NUL")
        return head + b"\r\n"

    def _send_body(self, message: HTTPResponseBodyEvent) -> None:
        head = self._head
        if self.response_complete or (head is None and not self.response_started):
            raise RuntimeError("a body outside of an answer")
        self._head = None
        body = message.get("body", b"")
        more = message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            body = b""
            self._left = 0
        parts = [head] if head is not None else []
        if self.chunked_encoding:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                parts.append(_LAST_CHUNK)
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body is not as long as the answer's content-length says")
            parts.append(body)
        self.transport.write(b"".join(parts))
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

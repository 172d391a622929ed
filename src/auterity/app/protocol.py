"""The HTTP/1.1 protocol of a worker: uvicorn's, made strict where a gateway has to be.

Two parties that read one byte stream differently are how requests are smuggled past a gateway (RFC 9112, section
11.2), so whatever is ambiguous is refused and the connection given up. Who sends a head slowly, or without end, holds
a connection and its memory for nothing; both have a bound. Refusals have the shape of OpenAI's errors.

The time limits cost nothing per request: one sweeper per server looks at all connections once a second. It also does
the work of uvicorn's keep-alive timers, which are two calls to the loop for each request.
"""

import asyncio
import http
import logging
import urllib.parse
from typing import TYPE_CHECKING, Any, ClassVar, cast
from weakref import WeakSet

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from auterity.app.asgi import RootApp
from auterity.app.direct import DirectCall
from auterity.gateway.service import INFERENCE
from auterity.gateway.wire.openai import error_body
from auterity.kit.errors import AuterityError, InvalidRequest
from auterity.kit.ids import new_id
from auterity.providers.contract import Endpoint

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

__all__ = [
    "BodyTimeout",
    "GatewayProtocol",
    "HeadTimeout",
    "HeadTooLarge",
    "MalformedRequest",
    "TransferCodingUnknown",
    "VersionUnknown",
]

_log = logging.getLogger(__name__)

_INFERENCE: dict[bytes, Endpoint] = {path.encode(): endpoint for path, endpoint in INFERENCE.items()}

_swept: WeakSet[ServerState] = WeakSet()
"""The servers whose connections a sweeper looks at."""


class MalformedRequest(InvalidRequest):
    """What came is not HTTP/1.1, or can be read in more than one way."""

    code = "malformed_request"


class HeadTooLarge(InvalidRequest):
    """The request line and the header fields together are too long."""

    code = "request_head_too_large"
    status = 431


class HeadTimeout(InvalidRequest):
    """The request's head did not come to its end in time."""

    code = "request_timeout"
    status = 408


class BodyTimeout(InvalidRequest):
    """The request's body came too slowly."""

    code = "request_timeout"
    status = 408


class TransferCodingUnknown(InvalidRequest):
    """The body is encoded in a way that is not understood here."""

    code = "transfer_coding_unknown"
    status = 501


class VersionUnknown(InvalidRequest):
    """Neither HTTP/1.1 nor HTTP/1.0."""

    code = "http_version_unknown"
    status = 505


class GatewayProtocol(HttpToolsProtocol):
    """One connection. Give it to uvicorn as ``Config(http=GatewayProtocol)``."""

    head_limit: ClassVar[int] = 64 * 1024
    """Bytes of request line and header fields."""
    head_timeout_s: ClassVar[float] = 15.0
    """From the first byte of a head, or from the connection's start, to the head's end."""
    body_timeout_s: ClassVar[float] = 30.0
    """Between two pieces of a body; and from the head's end to the body's end, ..."""
    body_rate: ClassVar[float] = 4096
    """... with a second more for so many bytes that have come."""
    body_limit_s: ClassVar[float] = 300.0
    """The longest that a body may take, however fast it comes."""
    linger_s: ClassVar[float] = 2.0
    """How long what a refused client still sends is read and thrown away. Closing at once would reset the connection,
    and the client might lose the answer that tells it why."""
    sweep_every_s: ClassVar[float] = 1.0

    _deadline = 0.0
    """When the sweeper shall end this connection, on the loop's clock; 0: not at all."""
    _in_head = False
    """A request has begun, and its head has not ended."""
    _in_body = False
    """The head has ended, and the body has not."""
    _body_bytes: int = 0
    """Of the present body so far."""
    _body_seen: int = 0
    """Of them, those that had come when the sweeper looked last."""
    _body_began = 0.0
    """When the sweeper first saw the present body; 0: not yet. What we ourselves did not read in is added."""
    _body_moved = 0.0
    """When the sweeper last saw that more of it had come; likewise."""
    _answering = False
    """A request was handed to the application and its answer is not complete."""
    _progress = False
    """What was just fed ended a head, or was of a body."""
    _idle_bytes = 0
    """Bytes that came since the last progress, i.e. that the parser may be keeping."""
    _refused = False
    _hosts = 0
    _fault: AuterityError | None = None

    # --- the connection ---

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        root = cast("object", config.loaded_app)  # pyright: ignore[reportUnknownMemberType] - uvicorn leaves it open
        self._calls = root.calls if isinstance(root, RootApp) else None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._deadline = self.loop.time() + self.head_timeout_s
        if self.server_state not in _swept:
            _swept.add(self.server_state)
            every_s = self.sweep_every_s
            self.loop.call_later(every_s, _sweep, self.loop, self.server_state, every_s, self.loop.time())

    def data_received(self, data: bytes) -> None:
        parser = self.parser
        if self._refused or parser is None:
            return
        self._progress = False
        self._idle_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(self._fault or MalformedRequest("The request is not well-formed HTTP/1.1."))
            return
        except httptools.HttpParserUpgrade:
            # Nothing is upgraded here. The request is answered; what follows it is in another protocol.
            self.cycle.keep_alive = False
            self._refused = True
            return
        if self._progress:
            self._idle_bytes = 0
        elif self._idle_bytes > self.head_limit:
            self._refuse(self._too_large())
            return
        if self._in_head and self._deadline == 0:
            self._deadline = self.loop.time() + self.head_timeout_s

    def eof_received(self) -> None:
        if self._in_head and not self._refused:
            self._refuse(MalformedRequest("The request ends in the middle of its head."))

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = True
        self._hosts = 0
        self._deadline = 0  # what is left of the keep-alive time is no measure for this head

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer field: the application must not take it for one of the head's
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                self._fault = TransferCodingUnknown("Send the body with a content-length, or chunked and nothing else.")
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._progress = True
        fault = self._fault or self._fault_of_head()
        if fault is not None:
            self._fault = fault
            raise fault
        self._deadline = 0
        self._body_bytes = 0
        self._body_began = 0
        self._in_body = True
        self._hand_on()
        self._answering = True

    def on_body(self, body: bytes) -> None:
        self._progress = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress = True
        self._in_body = False
        if not self._answering:  # it was answered before it was complete
            self._deadline = self.loop.time() + self.timeout_keep_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._answering = bool(self.pipeline)
        if self.transport.is_closing():
            return
        if self._refused:
            self.transport.close()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._in_head and not self._in_body:
            self._deadline = self.loop.time() + self.timeout_keep_alive

    def send_400_response(self, msg: str) -> None:
        self._refuse(MalformedRequest(msg))

    def _hand_on(self) -> None:
        """Hand the request on: an inference call to the gateway itself, everything else to the ASGI application."""
        parser = cast("httptools.HttpRequestParser", self.parser)
        endpoint = _INFERENCE.get(self.url.partition(b"?")[0]) if self._calls is not None else None
        version = parser.get_http_version()
        keep_alive = version != "1.0" and parser.should_keep_alive()
        before = cast("RequestResponseCycle | None", self.cycle)
        if endpoint is not None and self._calls is not None and parser.get_method() == b"POST":
            call = DirectCall(
                self._calls,
                endpoint,
                headers=dict(self.headers),
                transport=self.transport,
                flow=self.flow,
                default_headers=self.server_state.default_headers,
                expects_continue=self.expect_100_continue,
                keep_alive=keep_alive,
                chunked=version != "1.0",
                on_response=self.on_response_complete,
            )
            # It has all that the protocol asks of a cycle; see there.
            self.cycle = cast("RequestResponseCycle", call)
        else:
            self.cycle = self._asgi_cycle(parser, version, keep_alive)
        app = cast("ASGI3Application", self.app)  # pyright: ignore[reportUnknownMemberType] - uvicorn leaves it open
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))

    def _asgi_cycle(self, parser: httptools.HttpRequestParser, version: str, keep_alive: bool) -> RequestResponseCycle:
        """As uvicorn makes it, without what is not used here: WebSockets, a root path."""
        url = httptools.parse_url(self.url)
        raw_path = url.path or b"/"
        path = raw_path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": "https" if self.scheme == "https" else "http",
            "method": parser.get_method().decode("ascii"),
            "root_path": "",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "headers": self.headers,
            "state": self.app_state.copy(),
            "extensions": {},
        }
        return RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    # --- refusing ---

    def _fault_of_head(self) -> AuterityError | None:
        if self._idle_bytes > self.head_limit:  # rarely: the head, or a body that came with it, fills many packets
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.head_limit:
                return self._too_large()
        parser = cast("httptools.HttpRequestParser", self.parser)
        version = parser.get_http_version()
        if version == "1.1":
            if self._hosts != 1:
                return MalformedRequest("A request has exactly one Host field (RFC 9112, section 3.2).")
        elif version != "1.0":
            return VersionUnknown("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        elif any(name == b"transfer-encoding" for name, _ in self.headers):
            return MalformedRequest("HTTP/1.0 knows no Transfer-Encoding (RFC 9112, section 6.1).")
        # Only CONNECT and absolute targets begin otherwise; asking the parser costs more than looking.
        if not self.url.startswith(b"/") and parser.get_method() == b"CONNECT":
            return MalformedRequest("This is no proxy: CONNECT is not served.")
        return None

    def _too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"The request's head is longer than {self.head_limit} bytes.")

    def _refuse(self, fault: AuterityError) -> None:
        """Answer with an error if the client can tell whose answer it is, and give the connection up."""
        if self._refused:
            return
        self._refused = True
        self._in_head = False
        if self.transport.is_closing():
            return
        request_id = new_id("req")
        _log.debug("a connection was refused: %s", fault, extra={"request_id": request_id, "code": fault.code})
        if self._answering:
            if self.pipeline or not self._in_body:
                # An earlier request is still being answered. Ours would be taken for its answer, so there is none:
                # the connection ends after that one, and requests that wait behind it are the client's to repeat.
                self.pipeline.clear()
                self.cycle.keep_alive = False
                return
            # The body of the request that is being served is broken: to its application the client has left.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._in_body and (not self._answering or self.cycle.response_started):
            self.transport.close()
            return
        body = error_body(fault)
        head = [
            f"HTTP/1.1 {fault.status} {http.HTTPStatus(fault.status).phrase}\r\n".encode(),
            *(name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers),
            b"content-type: application/json\r\n",
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n".encode(),
        ]
        self.transport.write(b"".join(head) + body)
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self.loop.time() + self.linger_s

    # --- the sweeper ---

    def end_if_overdue(self, now: float, since_s: float) -> None:
        """End the connection if its time is over; it was looked at ``since_s`` seconds before ``now``."""
        if self._in_body and not self._refused:
            self._end_if_body_overdue(now, since_s)
        if not 0 < self._deadline <= now:
            return
        if self._in_head and self.flow.read_paused:  # it is we who do not read
            self._deadline = now + self.head_timeout_s
            return
        self._deadline = 0
        if self._in_head and not self._refused:
            self._refuse(HeadTimeout(f"The request's head did not come within {self.head_timeout_s:g} seconds."))
        elif not self.transport.is_closing():
            self.transport.close()

    def _end_if_body_overdue(self, now: float, since_s: float) -> None:
        if not self._body_began:
            self._body_began = self._body_moved = now
            self._body_seen = self._body_bytes
        elif self.flow.read_paused:
            self._body_began += since_s
            self._body_moved += since_s
        elif self._body_bytes != self._body_seen:
            self._body_seen = self._body_bytes
            self._body_moved = now
        took = now - self._body_began
        slowest = self.body_timeout_s + self._body_bytes / self.body_rate
        if took > min(slowest, self.body_limit_s) or now - self._body_moved > self.body_timeout_s:
            self._refuse(BodyTimeout("The request's body came too slowly."))


def _sweep(loop: asyncio.AbstractEventLoop, server: ServerState, every_s: float, last: float) -> None:
    """Look at all connections of ``server``, and again after a while as long as there are some."""
    now = loop.time()
    for connection in list(cast("set[object]", server.connections)):
        if isinstance(connection, GatewayProtocol):
            connection.end_if_overdue(now, now - last)
    if server.connections:
        loop.call_later(every_s, _sweep, loop, server, every_s, now)
    else:
        _swept.discard(server)

"""One HTTP/1.1 connection to a provider: a request is written, its answer parsed, the limits of time and size kept.

The parser (llhttp) rules on framing; the head's bytes are kept as they came and turned into headers only when somebody
asks. Body bytes go from the parser into a list without a Python call in between. Once an answer is complete the
connection is free for the next request, whether or not its reader has taken everything.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Protocol, cast

from httptools import HttpParserError, HttpResponseParser

from auterity.engines.http.port import FailureKind, Timeouts
from auterity.engines.http.response import END_OF_HEAD, PooledResponse

__all__ = ["HIGH_WATER_BYTES", "MAX_HEAD_BYTES", "Connection", "ConnectionOwner"]

HIGH_WATER_BYTES = 64 * 1024
"""So much of an answer waits for its reader before the socket is left alone. One read of the socket comes on top."""
MAX_HEAD_BYTES = 64 * 1024
"""The most that may come without a byte of body: a head, trailers, chunk extensions."""
_SLICE_BYTES = 256 * 1024


class ConnectionOwner(Protocol):
    """What a connection tells the one that keeps it."""

    def free(self, connection: "Connection") -> None:
        """The connection can serve another request."""
        ...

    def lost(self, connection: "Connection") -> None:
        """The connection is closed; called once."""
        ...


class Connection(asyncio.Protocol):
    """One connection. It has one request under way, or none.

    Time limits need no timer per wait: one timer per connection wakes no later than the earliest limit could end,
    looks whether one has, and is set again. It is not touched while requests come and go.
    """

    __slots__ = (
        "_bodiless",
        "_buffered",
        "_complete",
        "_feed",
        "_head",
        "_head_done",
        "_informational",
        "_keep",
        "_label",
        "_limit",
        "_limit_name",
        "_max_body",
        "_max_response_bytes",
        "_parser",
        "_parts",
        "_quiet",
        "_read_paused",
        "_received",
        "_response",
        "_skipped_heads",
        "_status",
        "_tick",
        "_time",
        "_timeouts",
        "_timer",
        "_timer_at",
        "_total_at",
        "_transport",
        "_unsent",
        "_write_paused",
        "closing",
        "loop",
        "on_body",
        "owner",
        "reused",
        "since",
    )

    def __init__(self, label: str, time: Callable[[], float], max_response_bytes: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.owner: ConnectionOwner | None = None
        self.closing = False
        self.reused = False
        self.since = 0.0
        """When something last happened here, on the pool's clock."""
        self._label = label
        self._time = time
        self._max_response_bytes = max_response_bytes
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._timeouts: Timeouts | None = None
        self._tick = inf
        self._response: PooledResponse | None = None
        self._unsent: memoryview | None = None
        self._write_paused = False
        self._read_paused = False
        self._parts: list[bytes] = []
        self._reset()
        self._limit = self._total_at = inf
        self._limit_name = ""
        # The parser keeps these bound methods; the list's own ``append`` saves a Python frame for each chunk.
        self.on_body = self._parts.append
        parser = HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = parser.feed_data
        self._parser = parser

    def _reset(self) -> None:
        self._head = b""
        self._head_done = False
        self._complete = False
        self._informational = False
        self._skipped_heads = 0
        self._keep = False
        self._status = 0
        self._quiet = 0
        self._buffered = 0
        self._received = 0
        self._max_body = self._max_response_bytes
        self._bodiless = False

    # -- the request --------------------------------------------------------------------------------------------------

    def exchange(
        self, head: bytes, body: bytes, timeouts: Timeouts, total_at: float, *, bodiless: bool
    ) -> PooledResponse:
        """Write a request in one piece (a large body in slices) and return the answer that is to come."""
        transport = self._transport
        response = PooledResponse(self)
        self._response = response
        if transport is None or self.closing or transport.is_closing():
            message = f"{self._label} closed the connection before the request was sent."
            self.fail(FailureKind.CONNECT, message, unanswered=True)
            return response
        self._bodiless = bodiless
        now = self.since = self._time()
        self._total_at = total_at
        if timeouts is not self._timeouts:
            self._timeouts = timeouts
            self._tick = min(timeouts.first_byte, timeouts.between_bytes, timeouts.total)
        at = min(now + self._tick, total_at)
        if at < self._timer_at:
            self._set_timer(at, now)
        if len(body) <= _SLICE_BYTES:
            transport.write(head + body)
        else:
            self._unsent = memoryview(body)
            transport.write(head)
            self._send_slices(transport)
        if self._write_paused:
            self._limit, self._limit_name = timeouts.between_bytes, "between_bytes"
        else:
            self._limit, self._limit_name = timeouts.first_byte, "first_byte"
        return response

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        """The socket has taken everything so far."""
        self._write_paused = False
        transport, timeouts = self._transport, self._timeouts
        if self._response is None or transport is None or timeouts is None:
            return
        self._send_slices(transport)
        self.since = self._time()
        if not self._write_paused and not self._head:
            self._limit, self._limit_name = timeouts.first_byte, "first_byte"

    def _send_slices(self, transport: asyncio.Transport) -> None:
        while (unsent := self._unsent) is not None and not self._write_paused:
            self._unsent = unsent[_SLICE_BYTES:] if len(unsent) > _SLICE_BYTES else None
            transport.write(unsent[:_SLICE_BYTES])

    # -- the answer ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            # Bytes that nobody asked for: an answer smuggled in ahead of the next request.
            self.drop()
            return
        self.since = self._time()
        parts = self._parts
        before = len(parts)
        had_head = self._head_done
        if not had_head:
            self._head += data
        try:
            self._feed(data)
        except HttpParserError:
            self.fail(FailureKind.BROKEN, f"{self._label} did not answer with valid HTTP.")
            return
        if not had_head and self._head_done and not self._begin(response):
            return
        arrived = len(parts) - before
        if arrived:
            size = len(parts[-1]) if arrived == 1 else sum(map(len, parts[before:]))
            self._quiet = 0
            self._buffered += size
            self._received += size
            if self._received > self._max_body:
                self._refuse_length(self._max_body)
                return
        if self._complete:
            self._finish(response)
        else:
            self._go_on(response, data if not arrived else b"", wake=arrived > 0 or not had_head)

    def _go_on(self, response: PooledResponse, quiet: bytes, *, wake: bool) -> None:
        """More of the answer is to come: hand over what there is, and look after the limits."""
        self._quiet += len(quiet)
        if self._quiet > MAX_HEAD_BYTES:
            self.fail(FailureKind.BROKEN, f"{self._label} sent headers of more than {MAX_HEAD_BYTES} bytes.")
            return
        timeouts = self._timeouts
        if timeouts is not None:
            self._limit, self._limit_name = timeouts.between_bytes, "between_bytes"
        if self._head_done and not response.wants_all:
            if self._buffered > HIGH_WATER_BYTES and not self._read_paused and self._transport is not None:
                self._read_paused = True
                self._transport.pause_reading()
            if wake:
                response.wake()

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("bytes after the end of the answer")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise ValueError("an upgrade that was not asked for")
            self._informational = True
            self._skipped_heads += 1
            return
        self._status = status
        self._head_done = True
        if self._bodiless:
            # llhttp cannot be told that this answer has no body, so the connection is not used again.
            self._complete = True

    def on_message_complete(self) -> None:
        if self._informational:
            if self._parts:
                raise ValueError("an interim answer with a body")
            self._informational = False
            return
        if not self._bodiless:
            self._keep = self._parser.should_keep_alive()
        self._complete = True

    def _begin(self, response: PooledResponse) -> bool:
        """Hand the head over; False where it is one that must not be trusted."""
        head = self._head
        for _ in range(self._skipped_heads):
            head = head[head.find(END_OF_HEAD) + 4 :]
        if not head.startswith(b"HTTP/1."):
            head = head.lstrip(b"\r\n")
        response.begin(self._status, head)
        end = head.find(END_OF_HEAD)
        if not head.startswith(b"HTTP/1.") or end > MAX_HEAD_BYTES:
            self.fail(FailureKind.BROKEN, f"{self._label} did not answer with a valid HTTP/1 head.")
            return False
        if head.lower().find(b"\r\ntransfer-encoding:", 0, end) >= 0 and any(
            name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in response.headers
        ):
            self.fail(FailureKind.BROKEN, f"{self._label} answered in a transfer coding that was not asked for.")
            return False
        return True

    def _finish(self, response: PooledResponse) -> None:
        """The answer is complete: free the connection and let the reader have the rest."""
        parts = self._parts
        rest = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._response = None
        if self._bodiless:
            rest = b""
        if self._keep and self._unsent is None and not self._write_paused and not self.closing:
            self._reset()
            self._resume_reading()
            self.reused = True
            if self.owner is not None:
                self.owner.free(self)
        else:
            self.drop()
        response.detach(rest, None)

    def take(self) -> bytes:
        parts = self._parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._buffered = 0
        if self._read_paused:
            self._resume_reading()
        return data

    def await_bytes(self) -> "asyncio.Future[None]":
        self.since = self._time()
        if self._read_paused:
            self._resume_reading()
        return self.loop.create_future()

    def allow(self, limit: int) -> bool:
        allowed = self._received - self._buffered + limit
        if self._received > allowed:
            self._refuse_length(limit)
            return False
        self._max_body = min(self._max_body, allowed)
        return True

    def _refuse_length(self, limit: int) -> None:
        self.fail(FailureKind.TOO_LARGE, f"The answer of {self._label} is longer than {limit} bytes.")

    def _resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    # -- the end ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast("asyncio.Transport", transport)
        # So the protocol hears of every byte that is left unsent, and of the moment when none is.
        stream.set_write_buffer_limits(high=1, low=0)

    def eof_received(self) -> None:
        self._ended(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(clean=exc is None)
        self._transport = None
        # The parser and this object hold each other; without the cut only the garbage collector could free them.
        del self._parser, self._feed, self.on_body
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.lost(self)

    def _ended(self, *, clean: bool) -> None:
        self.closing = True
        response = self._response
        if response is None:
            return
        if clean and self._head_done and self._ends_with_connection(response):
            self._finish(response)
        elif not self._head:
            self.fail(FailureKind.BROKEN, f"{self._label} closed the connection without an answer.", unanswered=True)
        else:
            self.fail(FailureKind.BROKEN, f"{self._label} closed the connection in the middle of its answer.")

    @staticmethod
    def _ends_with_connection(response: PooledResponse) -> bool:
        return all(name not in {b"content-length", b"transfer-encoding"} for name, _ in response.headers)

    def fail(self, kind: FailureKind, message: str, *, unanswered: bool = False) -> None:
        """Implement ``ByteSource``; ``unanswered``: the provider closed the connection and had said nothing."""
        response, self._response = self._response, None
        if response is not None:
            response.retry_is_safe = self.reused and unanswered
            rest = b"".join(self._parts)
            self._parts.clear()
            response.detach(rest, (kind, message))
        self.drop()

    def drop(self) -> None:
        """Close the connection at once."""
        self.closing = True
        self._unsent = None
        if self._transport is not None:
            self._transport.abort()

    # -- time ---------------------------------------------------------------------------------------------------------

    def _set_timer(self, at: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_later(max(at - now, 0.0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = inf
        response = self._response
        if response is None:
            return
        now = self._time()
        due = self.since + self._limit if response.waits else inf
        if now >= self._total_at:
            self._late("total", "finish its answer")
        elif now >= due:
            if self._write_paused:
                what = "take the request"
            elif self._limit_name == "first_byte":
                what = "begin to answer"
            else:
                what = "go on with its answer"
            self._late(self._limit_name, what)
        else:
            self._set_timer(min(self._total_at, due, now + self._tick), now)

    def _late(self, name: str, what: str) -> None:
        seconds = getattr(self._timeouts, name)
        self.fail(
            FailureKind.TIMEOUT, f"{self._label} did not {what} within the limit of {seconds:g} s ({name}); try again."
        )

"""A very fast OpenAI-compatible provider on loopback, so that what is measured is the gateway in front of it.

``python -m benchmarks.mock_provider [--port 0] [--pace-ms 0]`` prints ``listening PORT`` and serves until it is ended:

- ``POST …/chat/completions``: a plain answer (about 600 bytes), or with ``"stream": true`` 20 content chunks, the usage
  chunk where ``stream_options.include_usage`` asks for it, and ``[DONE]``;
- ``POST …/embeddings``: one vector of 64 numbers;
- ``GET …/models``: one model; ``GET /mock/stats``: how many calls were answered since the start.

A stream leaves in one write, unless it is paced: by ``--pace-ms``, by the header ``x-mock-pace-ms: 5``, or by
``[pace=5ms]`` in the prompt, which every gateway hands on untouched. Paced chunks leave one at a time, as real
providers send them.

All answers are made before the first request. There is no more HTTP here than the gateways need: a body with
``content-length`` or chunked coding, keep-alive, requests in many pieces or several in one piece.
"""

import argparse
import asyncio
import gc
import json
import re
import signal
from dataclasses import dataclass
from typing import Any, cast

import uvloop

__all__ = ["CHUNKS", "MODEL", "MockProtocol", "serve"]

CHUNKS = 20
"""Content chunks of a stream."""
MODEL = "gpt-4o-mini"
"""A model with a public price, so that gateways that price calls do their full work."""

_CREATED = 1_750_000_000
_ID = "chatcmpl-0000000000000000000000000bench"
_USAGE = {"prompt_tokens": 24, "completion_tokens": CHUNKS, "total_tokens": 24 + CHUNKS}
_PACE = re.compile(rb"\[pace=(\d+)ms\]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_PACE_HEADER = re.compile(rb"\r\nx-mock-pace-ms: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream" *: *true')
_INCLUDE_USAGE = re.compile(rb'"include_usage" *: *true')
_HEADS_KEPT = 4096


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _answer(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _framed(event: bytes) -> bytes:
    """One server-sent event as one HTTP chunk."""
    data = b"data: " + event + b"\n\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _chunk(choices: list[dict[str, Any]], **more: object) -> bytes:
    return _compact(
        {"id": _ID, "object": "chat.completion.chunk", "created": _CREATED, "model": MODEL, "choices": choices} | more
    )


def _content_chunk(number: int) -> bytes:
    delta = {"content": f"word{number:02d} "} | ({"role": "assistant"} if number == 0 else {})
    return _chunk([{"index": 0, "delta": delta, "finish_reason": "stop" if number == CHUNKS - 1 else None}])


_WORDS = "A loopback provider answers at once with the same words each time, so only the gateway is measured. " * 3
_PLAIN = _answer(
    _compact(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": _CREATED,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _WORDS, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": _USAGE,
        }
    )
)
_EMBEDDING = _answer(
    _compact(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [round(n / 64 - 0.5, 6) for n in range(64)]}],
            "model": "text-embedding-3-small",
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        }
    )
)
_MODELS = _answer(_compact({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "mock"}]}))
_UNKNOWN = _answer(
    _compact({"error": {"message": "The mock has no such path.", "type": "invalid_request_error"}}), "404 Not Found"
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_EVENTS = [_framed(_content_chunk(number)) for number in range(CHUNKS)]
_USAGE_EVENT = _framed(_chunk([], usage=_USAGE))
_END = _framed(b"[DONE]") + b"0\r\n\r\n"
_BURST = _STREAM_HEAD + b"".join(_EVENTS) + _END
_BURST_USAGE = _STREAM_HEAD + b"".join(_EVENTS) + _USAGE_EVENT + _END


@dataclass(frozen=True, slots=True)
class _Head:
    """What one request head says; kept by its bytes, because a keep-alive peer repeats its head."""

    kind: str
    length: int
    chunked: bool
    close: bool
    pace: float


def _read_head(head: bytes) -> _Head:
    method, path = head.split(b" ", 2)[:2]
    path = path.partition(b"?")[0]
    if path.endswith(b"/chat/completions") and method == b"POST":
        kind = "chat"
    elif path.endswith(b"/embeddings") and method == b"POST":
        kind = "embeddings"
    elif path.endswith(b"/models"):
        kind = "models"
    else:
        kind = "stats" if path == b"/mock/stats" else "unknown"
    length, pace = _LENGTH.search(head), _PACE_HEADER.search(head)
    return _Head(
        kind=kind,
        length=int(length[1]) if length else 0,
        chunked=_CHUNKED.search(head) is not None,
        close=_CLOSE.search(head) is not None,
        pace=int(pace[1]) / 1000 if pace else 0.0,
    )


def _chunked_end(data: bytes, start: int) -> int:
    """The offset after a chunked body that begins at ``start``, or -1 while it is incomplete."""
    while True:
        line = data.find(b"\r\n", start)
        if line < 0:
            return -1
        size = int(data[start:line].partition(b";")[0], 16)
        start = line + 2 + size + 2
        if start > len(data):
            return -1
        if size == 0:
            return start


class MockProtocol(asyncio.Protocol):
    """One connection. Paced streams hold back later requests of the same connection until they end."""

    answered = 0
    """Calls answered by the whole process: chat and embeddings."""
    heads: dict[bytes, _Head] = {}  # noqa: RUF012 - shared by all connections on purpose

    def __init__(self, loop: asyncio.AbstractEventLoop, pace: float = 0.0) -> None:
        self.loop = loop
        self.pace = pace
        self.buffer = b""
        self.transport: asyncio.Transport | None = None
        self.pending: list[bytes] = []
        self.timer: asyncio.TimerHandle | None = None
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one in all but its class.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.transport = None
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        self._serve_buffer()

    def _serve_buffer(self) -> None:
        while self.buffer and not self.pending:
            data = self.buffer
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return
            raw = data[:end]
            head = MockProtocol.heads.get(raw)
            if head is None:
                head = _read_head(raw)
                # Gateways that send a fresh id per call would fill this for nothing.
                if len(MockProtocol.heads) >= _HEADS_KEPT:
                    MockProtocol.heads.clear()
                MockProtocol.heads[raw] = head
            start = end + 4
            stop = _chunked_end(data, start) if head.chunked else start + head.length
            if stop < 0 or stop > len(data):
                if b"100-continue" in raw and len(data) == start and self.transport is not None:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body = data[start:stop]
            self.buffer = data[stop:]
            self._answer(head, body)

    def _answer(self, head: _Head, body: bytes) -> None:
        transport = self.transport
        if transport is None:
            return
        self.closing = head.close
        if head.kind == "chat":
            MockProtocol.answered += 1
            if _STREAM.search(body):
                self._stream(transport, head, body)
                return
            transport.write(_PLAIN)
        elif head.kind == "embeddings":
            MockProtocol.answered += 1
            transport.write(_EMBEDDING)
        elif head.kind == "models":
            transport.write(_MODELS)
        elif head.kind == "stats":
            transport.write(_answer(_compact({"answered": MockProtocol.answered})))
        else:
            transport.write(_UNKNOWN)
        if self.closing:
            transport.close()

    def _stream(self, transport: asyncio.Transport, head: _Head, body: bytes) -> None:
        usage = _INCLUDE_USAGE.search(body) is not None
        marked = _PACE.search(body)
        pace = int(marked[1]) / 1000 if marked else head.pace or self.pace
        if not pace:
            transport.write(_BURST_USAGE if usage else _BURST)
            if self.closing:
                transport.close()
            return
        self.pending = [_STREAM_HEAD + _EVENTS[0], *_EVENTS[1:], (_USAGE_EVENT if usage else b"") + _END]
        self.pending.reverse()
        self._write_next(pace)

    def _write_next(self, pace: float) -> None:
        if self.transport is None:
            return
        self.transport.write(self.pending.pop())
        if self.pending:
            # The end follows the last content chunk at once, as a provider's does.
            self.timer = self.loop.call_later(pace if len(self.pending) > 1 else 0, self._write_next, pace)
        elif self.closing:
            self.transport.close()
        else:
            self._serve_buffer()


async def serve(port: int, pace: float) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT; the port is printed, so 0 may be given."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: MockProtocol(loop, pace), "127.0.0.1", port, backlog=1024)
    print(f"listening {server.sockets[0].getsockname()[1]}", flush=True)
    # Nothing here makes cycles; a collection would only add noise.
    gc.freeze()
    gc.disable()
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fast OpenAI-compatible provider on loopback, for benchmarks.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port, which is printed")
    parser.add_argument(
        "--pace-ms", type=float, default=0.0, help="milliseconds between the chunks of a stream; 0: all at once"
    )
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.pace_ms / 1000))


if __name__ == "__main__":
    main()

"""What all provider twins share: a loopback HTTP server that records, misbehaves on command and counts who leaves.

A twin runs as a process of its own. It prints its address and ends when its standard input does, so that none outlives
the tests. Besides the vendor's API it answers on

- ``POST /__faults``: how to behave from now on, see :class:`Faults`; ``{}`` is well,
- ``GET /__requests``: what was asked so far,
- ``GET /__state``: how many requests came, are under way, were completed, and were left by the client,
- ``POST /__reset``: forget everything.
"""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec
import uvicorn

__all__ = ["Asked", "Faults", "Scene", "Stage", "Vendor", "serve"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Faults(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How a twin behaves; what is not set is as it should be."""

    times: int | None = None
    """For how many requests; None: until told otherwise."""
    status: int | None = None
    """Answer with this status and the vendor's error for it."""
    body: str | None = None
    """The body of the answer, instead of the vendor's."""
    headers: dict[str, str] = {}
    delay_s: float = 0
    """Before the head of the answer."""
    drip_s: float = 0
    """Before each piece of a stream."""
    chunks: int | None = None
    """How many pieces of text a stream has."""
    die_after: int | None = None
    """Close the connection after so many pieces; a plain answer breaks in its middle."""
    hang: bool = False
    """Never answer."""
    hang_after: int | None = None
    """Say no more after so many pieces."""
    error_after: int | None = None
    """Send the vendor's error event after so many pieces."""
    garbage: bool = False
    """Answer with status 200 and something else than the contract says."""
    no_usage: bool = False
    usage_in_last: bool = False
    """OpenAI: usage comes with the last chunk of content."""
    no_end: bool = False
    """Leave out the mark that ends a stream."""
    crlf: bool = False
    """End the lines of a stream with CRLF."""
    split: int | None = None
    """Cut a stream into pieces of so many bytes, whatever they hold."""
    requests_per_minute: int | None = None
    """Refuse more than these, with the vendor's headers."""


class Asked(msgspec.Struct, kw_only=True):
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Scene(msgspec.Struct, kw_only=True):
    """An answer: a whole body, or the pieces of a stream."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""
    pieces: list[bytes] | None = None


class Vendor(Protocol):
    """One vendor's published contract."""

    def play(self, asked: Asked, faults: Faults) -> Scene:
        """Answer a request, or refuse it as the vendor would."""
        ...

    def error(self, status: int, message: str, *, retry_after_s: float | None = None) -> Scene:
        """The vendor's error for a status."""
        ...

    def error_event(self) -> bytes:
        """An error in the middle of a stream."""
        ...


class State(msgspec.Struct):
    requests: int = 0
    in_flight: int = 0
    completed: int = 0
    aborted: int = 0
    """Left by the client before the end."""
    pieces: int = 0
    """Pieces of streams that were sent."""


class Stage:
    """The ASGI application of a twin."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._forget()

    def _forget(self) -> None:
        self._faults = Faults()
        self._asked: list[Asked] = []
        self._state = State()
        self._served: list[float] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path: str = scope["path"]
        if path.startswith("/__"):
            await _send_whole(send, 200, {}, self._control(scope["method"], path, body))
            return
        asked = Asked(
            method=scope["method"],
            path=path,
            query=dict(parse_qsl(scope["query_string"].decode())),
            headers={name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
            body=body.decode("utf-8", "replace"),
        )
        await self._perform(asked, receive, send)

    def _control(self, method: str, path: str, body: bytes) -> bytes:
        match method, path:
            case "POST", "/__faults":
                self._faults = msgspec.json.decode(body, type=Faults)
            case "POST", "/__reset":
                self._forget()
            case "GET", "/__requests":
                return msgspec.json.encode(self._asked)
            case "GET", "/__state":
                return msgspec.json.encode(self._state)
            case _:
                raise ValueError(f"a twin has no {method} {path}")
        return b"{}"

    async def _perform(self, asked: Asked, receive: Receive, send: Send) -> None:
        faults = self._next_faults()
        state = self._state
        self._asked.append(asked)
        state.requests += 1
        state.in_flight += 1
        answering = asyncio.ensure_future(self._answer(asked, faults, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
                state.completed += 1
            else:
                state.aborted += 1
        finally:
            state.in_flight -= 1
            answering.cancel()
            leaving.cancel()

    def _next_faults(self) -> Faults:
        faults = self._faults
        if faults.times is not None:
            if faults.times <= 0:
                return Faults()
            faults.times -= 1
        return faults

    async def _answer(self, asked: Asked, faults: Faults, send: Send) -> None:
        if faults.hang:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(faults.delay_s)
        scene = self._refusal(faults) or self._vendor.play(asked, faults)
        if faults.garbage and scene.status == 200:
            scene = Scene(body=b"<html>not what you asked for</html>", headers={"content-type": "text/html"})
        if faults.body is not None:
            scene = Scene(status=faults.status or 200, body=faults.body.encode())
        headers = {"content-type": "application/json"} | scene.headers | faults.headers
        if scene.pieces is not None:
            await self._send_stream(send, {"content-type": "text/event-stream"} | headers, scene.pieces, faults)
        elif faults.die_after is not None or faults.hang_after is not None:
            length = {"content-length": str(len(scene.body))}
            await _send_head(send, scene.status, headers | length)
            await send(_body(scene.body[: len(scene.body) // 2], more=True))
            if faults.hang_after is not None:
                await asyncio.get_running_loop().create_future()
        else:
            await _send_whole(send, scene.status, headers, scene.body)

    def _refusal(self, faults: Faults) -> Scene | None:
        if faults.status is not None:
            return self._vendor.error(faults.status, f"The twin was told to answer {faults.status}.")
        if faults.requests_per_minute is None:
            return None
        now = time.monotonic()
        self._served = [moment for moment in self._served if now - moment < 60]
        if len(self._served) >= faults.requests_per_minute:
            return self._vendor.error(429, "Too many requests.", retry_after_s=60 - (now - self._served[0]))
        self._served.append(now)
        return None

    async def _send_stream(self, send: Send, headers: Mapping[str, str], pieces: list[bytes], faults: Faults) -> None:
        if faults.error_after is not None:
            pieces = [*pieces[: faults.error_after], self._vendor.error_event()]
        limit = faults.die_after if faults.die_after is not None else faults.hang_after
        pieces = pieces[:limit]
        if faults.crlf:
            pieces = [piece.replace(b"\n", b"\r\n") for piece in pieces]
        if faults.split:
            joined = b"".join(pieces)
            pieces = [joined[at : at + faults.split] for at in range(0, len(joined), faults.split)]
        await _send_head(send, 200, headers)
        for number, piece in enumerate(pieces):
            # To a client that left, sending never waits: without a pause nobody would notice that it did.
            if faults.drip_s or number % 16 == 0:
                await asyncio.sleep(faults.drip_s)
            await send(_body(piece, more=True))
            self._state.pieces += 1
        if faults.hang_after is not None:
            await asyncio.get_running_loop().create_future()
        # Returning before the end makes the server close the connection.
        if faults.die_after is None:
            await send(_body(b"", more=False))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _send_head(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _send_whole(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    await _send_head(send, status, {**headers, "content-length": str(len(body))})
    await send(_body(body, more=False))


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def serve(vendor: Vendor) -> None:
    """Serve on a free port of the loopback, print the address, end with the standard input."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        config = uvicorn.Config(Stage(vendor), log_level="critical", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])

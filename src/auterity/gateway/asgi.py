"""The gateway as a raw ASGI application: routes, bodies, and the way back to the client.

It stands in front of the management API's framework, whose routing and validation would cost more than a whole call.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import unquote

from auterity.engines.http.port import HttpResponse
from auterity.gateway.errors import BodyTooLarge, MethodNotAllowed, UnknownUrl
from auterity.gateway.exchange import Exchange
from auterity.gateway.models import ListModels
from auterity.gateway.pipeline import Pipeline
from auterity.gateway.reply import ClientLeft, Header
from auterity.gateway.wire import openai
from auterity.kit.clock import Clock
from auterity.kit.errors import AuterityError
from auterity.kit.ids import new_id
from auterity.providers.contract import Endpoint

__all__ = ["GatewayApp"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_log = logging.getLogger(__name__)
_WATCH_DELAY_S = 0.02
"""Most streams have begun by then; watching costs a task, so it starts a moment later."""
_DRAIN_S = 2.0

_INFERENCE: dict[str, Endpoint] = {
    "/v1/chat/completions": "chat.completions",
    "/v1/embeddings": "embeddings",
}


class GatewayApp:
    """Serves everything under ``/v1/``."""

    def __init__(self, pipeline: Pipeline, models: ListModels, clock: Clock, *, body_limit: int) -> None:
        """
        Args:
            pipeline: serves inference calls.
            models: serves the model list.
            clock: stamps calls.
            body_limit: the longest request body, in bytes.
        """
        self._pipeline = pipeline
        self._models = models
        self._clock = clock
        self._body_limit = body_limit

    @staticmethod
    def serves(path: str) -> bool:
        """Say whether a path is the gateway's."""
        return path.startswith("/v1/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = _INFERENCE.get(scope["path"])
        if endpoint is None or scope["method"] != "POST":
            await self._other(scope, send)
            return
        reply = AsgiReply(receive, send)
        exchange = Exchange(
            id=new_id("req"),
            endpoint=endpoint,
            request=AsgiRequest(scope, receive, self._body_limit),
            reply=reply,
            started_us=self._clock.epoch_us(),
            started_ns=self._clock.monotonic_ns(),
        )
        await self._pipeline.run(exchange)
        if exchange.upstream is not None:
            await _release(exchange.upstream)

    async def _other(self, scope: Scope, send: Send) -> None:
        """Everything but inference: model lists, and what does not exist."""
        path: str = scope["path"]
        request_id = new_id("req")
        try:
            if path in _INFERENCE:
                raise MethodNotAllowed(f"Not allowed to {scope['method']} on {path}. Use POST.")
            if path != "/v1/models" and not path.startswith("/v1/models/"):
                raise UnknownUrl(f"Unknown request URL: {scope['method']} {path}.")
            if scope["method"] not in {"GET", "HEAD"}:
                raise MethodNotAllowed(f"Not allowed to {scope['method']} on {path}. Use GET.")
            headers = dict(scope["headers"])
            if path == "/v1/models":
                body = await self._models.all(headers)
            else:
                raw: bytes = scope.get("raw_path") or path.encode()
                body = await self._models.one(headers, unquote(raw.decode("latin-1").removeprefix("/v1/models/")))
            status = 200
        except AuterityError as error:
            body, status = openai.error_body(error), error.status
        answer = AsgiReply(None, send)
        await answer.start(
            status,
            (
                (b"content-type", b"application/json"),
                (b"x-request-id", request_id.encode()),
                (b"content-length", b"%d" % len(body)),
            ),
        )
        await answer.finish(body)


async def _release(upstream: HttpResponse) -> None:
    """Read what follows a stream's end mark, so that its connection can serve again."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            while await upstream.chunk():
                pass
    except (AuterityError, TimeoutError):
        _log.debug("a finished stream did not end its connection in good order")
    finally:
        upstream.abort()


class AsgiRequest:
    """The request's headers at once, its body when it is asked for."""

    __slots__ = ("_limit", "_receive", "headers")

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive
        self._limit = limit

    async def body(self) -> bytes:
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            raise self._too_large()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body: bytes = message["body"]
        if not message["more_body"]:
            return body
        parts = [body]
        length = len(body)
        while message["more_body"]:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            parts.append(message["body"])
            length += len(message["body"])
            if length > self._limit:
                raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than the limit of {self._limit} bytes.")


class AsgiReply:
    """Writes through ASGI's ``send``, which waits while the client does not read."""

    __slots__ = ("_receive", "_send", "started")

    def __init__(self, receive: Receive | None, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.started = False

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    def watch(self, limit_s: float) -> "AsgiWatch":
        if self._receive is None:
            raise RuntimeError("there is no client to watch")
        return AsgiWatch(self._receive, limit_s)


class AsgiWatch:
    """Cancels the block when ASGI says that the client left, and turns that into :class:`ClientLeft`."""

    __slots__ = ("_left", "_limit_s", "_owner", "_receive", "_task", "_timer")

    def __init__(self, receive: Receive, limit_s: float) -> None:
        self._receive = receive
        self._limit_s = limit_s
        self._left = False
        self._owner: asyncio.Task[object] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._owner = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_WATCH_DELAY_S, self._begin)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._wait())
        self._timer = loop.call_later(self._limit_s, self._leave)

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if self._owner is not None and not self._left:
            self._left = True
            self._owner.cancel()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        owner, self._owner = self._owner, None
        if self._left and owner is not None:
            owner.uncancel()
            raise ClientLeft from error

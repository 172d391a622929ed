"""What the gateway serves beside inference, as raw ASGI: model lists, and errors for what is not there."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from auterity.engines.telemetry.logs import request_id
from auterity.gateway.errors import MethodNotAllowed, UnknownUrl
from auterity.gateway.models import ListModels
from auterity.gateway.service import INFERENCE
from auterity.gateway.wire import openai
from auterity.kit.errors import AuterityError
from auterity.kit.ids import new_id

__all__ = ["GatewayApp"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MODELS = "/v1/models"


class GatewayApp:
    """Serves what is under ``/v1/`` and is no inference call."""

    def __init__(self, models: ListModels) -> None:
        self._models = models

    @staticmethod
    def serves(path: str) -> bool:
        """Say whether a path is the gateway's."""
        return path.startswith("/v1/")

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        minted = new_id("req")
        request_id.set(minted)
        try:
            status, body = 200, await self._answer(scope)
        except AuterityError as error:
            status, body = error.status, openai.error_body(error)
        headers = [
            (b"content-type", b"application/json"),
            (b"x-request-id", minted.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(self, scope: Scope) -> bytes:
        path: str = scope["path"]
        method: str = scope["method"]
        if path in INFERENCE:
            raise MethodNotAllowed(f"Not allowed to {method} on {path}. Use POST.")
        if path != _MODELS and not path.startswith(_MODELS + "/"):
            raise UnknownUrl(f"Unknown request URL: {method} {path}.")
        if method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(f"Not allowed to {method} on {path}. Use GET.")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if path == _MODELS:
            return await self._models.all(headers)
        raw: bytes = scope.get("raw_path") or path.encode()
        return await self._models.one(headers, unquote(raw.decode("latin-1").removeprefix(_MODELS + "/")))

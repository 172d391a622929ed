"""A request id for every management request, in its answer's ``x-request-id`` and in the logs."""

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auterity.engines.telemetry.logs import request_id
from auterity.kit.ids import new_id

__all__ = ["RequestIds", "request_id_of"]

_STATE = "auterity.request_id"


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """The id of the request that this scope belongs to."""
    return str(scope.get(_STATE, ""))


class RequestIds:
    """ASGI middleware that mints the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        minted = scope[_STATE] = new_id("req")
        # Not taken back at the end: what is logged of a defect is logged outside of this middleware, in the same task.
        request_id.set(minted)

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", minted.encode())]
            await send(message)

        await self._app(scope, receive, stamped)

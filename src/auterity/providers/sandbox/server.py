"""The sandbox over real HTTP: a raw ASGI application, for benchmarks, examples and tests that want a second process.

Run it with ``python -m auterity.providers.sandbox.server --port 9000``; it prints its base URL (port 0: a free one).
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Literal, cast

import uvicorn

from auterity.engines.http.port import Header
from auterity.providers.sandbox.replies import Ending, Reply
from auterity.providers.sandbox.service import SandboxService, SandboxSettings

__all__ = ["SandboxServer", "main"]

# The types of the ASGI specification, which has no package of its own.
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class SandboxServer:
    """An ASGI 3 application."""

    def __init__(self, service: SandboxService | None = None) -> None:
        self._service = service or SandboxService()

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = tuple(cast("Iterable[Header]", scope["headers"]))
        reply = self._service.respond(scope["method"], scope["path"], headers, bytes(body))
        answering = asyncio.ensure_future(_answer(reply, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            answering.cancel()
        if answering.done() and not answering.cancelled():
            answering.result()


async def _left(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(reply: Reply, send: _Send) -> None:
    """Send the answer. Returning before its end makes the server close the connection, which is how one breaks."""
    await asyncio.sleep(reply.pause_s)
    # A connection cannot be refused once it is there: the fault closes it after the head.
    if not reply.headless or reply.ending is Ending.BROKEN:
        headers = [*reply.headers]
        plain = len(reply.steps) == 1 and reply.ending is Ending.COMPLETE
        if plain:
            headers.append((b"content-length", str(len(reply.steps[0].data)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        for step in reply.steps:
            if step.pause_s:
                await asyncio.sleep(step.pause_s)
            await send({"type": "http.response.body", "body": step.data, "more_body": not plain})
        if reply.ending is Ending.COMPLETE and not plain:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    if reply.ending is Ending.SILENT:
        await asyncio.get_running_loop().create_future()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Auterity's sandbox provider over HTTP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--latency-scale", type=float, default=1.0, help="times the typical latency; 0: none")
    parser.add_argument("--requests-per-minute", type=int, default=None)
    parser.add_argument("--log-level", default="critical", choices=("critical", "error", "warning", "info"))
    options = parser.parse_args()
    settings = SandboxSettings(latency_scale=options.latency_scale, requests_per_minute=options.requests_per_minute)
    level: Literal["critical", "error", "warning", "info"] = options.log_level
    server = SandboxServer(SandboxService(settings))
    with socket.create_server((options.host, options.port)) as listener:
        sys.stdout.write(f"http://{options.host}:{listener.getsockname()[1]}/v1\n")
        sys.stdout.flush()
        config = uvicorn.Config(server, log_level=level, access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()

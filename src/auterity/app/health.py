"""``/health/live``, ``/health/ready`` and ``/metrics``: raw ASGI, so that they answer whatever the framework does.

Live: the process's event loop turns. Ready: this worker can serve calls; each part that it needs is named with its
state. A worker whose database is away still serves the tenants that it knows, and says ``degraded``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

import msgspec
from starlette.types import Receive, Scope, Send

from auterity.kit.errors import AuterityError

__all__ = ["HealthApp", "Probe"]

Probe = Callable[[], Awaitable[None]]
"""Returns when its part works, and raises an :class:`AuterityError` that says what does not."""

_PROBE_S = 2.0


class _State(StrEnum):
    READY = "ready"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class HealthApp:
    """Serves ``/health/*`` and ``/metrics``."""

    def __init__(self, vital: Mapping[str, Probe], helpful: Mapping[str, Probe], metrics: Callable[[], str]) -> None:
        """
        Args:
            vital: without these nothing can be served.
            helpful: without these something can.
            metrics: renders the Prometheus page.
        """
        self._vital = vital
        self._helpful = helpful
        self._metrics = metrics

    @staticmethod
    def serves(path: str) -> bool:
        """Say whether a path is one of these."""
        return path.startswith("/health/") or path == "/metrics"

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        content_type = b"application/json"
        match scope["path"]:
            case "/health/live":
                status, body = 200, b'{"status":"live"}'
            case "/health/ready":
                status, body = await self._ready()
            case "/metrics":
                status, body = 200, self._metrics().encode()
                content_type = b"text/plain; version=0.0.4; charset=utf-8"
            case _:
                status, body = 404, b'{"status":"unknown"}'
        headers = [
            (b"content-type", content_type),
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _ready(self) -> tuple[int, bytes]:
        probes = {**self._vital, **self._helpful}
        results = dict(zip(probes, await asyncio.gather(*(_ask(probe) for probe in probes.values())), strict=True))
        state = _State.READY
        if any(problem for name, problem in results.items() if name in self._vital):
            state = _State.UNAVAILABLE
        elif any(results.values()):
            state = _State.DEGRADED
        parts = {name: problem or "ok" for name, problem in results.items()}
        body = msgspec.json.encode({"status": state.value, "parts": parts})
        return (503 if state is _State.UNAVAILABLE else 200), body


async def _ask(probe: Probe) -> str:
    """The problem in a word, or ``""``."""
    try:
        async with asyncio.timeout(_PROBE_S):
            await probe()
    except TimeoutError:
        return "no answer in time"
    except AuterityError as error:
        return error.code
    return ""

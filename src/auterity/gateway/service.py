"""The gateway's entry for inference calls, whatever transport they come in on."""

import asyncio
import logging

from auterity.engines.http.port import HttpResponse
from auterity.engines.telemetry.logs import request_id
from auterity.gateway.exchange import Exchange
from auterity.gateway.pipeline import Pipeline
from auterity.gateway.reply import Reply, Request
from auterity.kit.clock import Clock
from auterity.kit.errors import AuterityError
from auterity.kit.ids import new_id
from auterity.providers.contract import Endpoint

__all__ = ["INFERENCE", "GatewayService"]

_log = logging.getLogger(__name__)
_DRAIN_S = 2.0

INFERENCE: dict[str, Endpoint] = {
    "/v1/chat/completions": "chat.completions",
    "/v1/embeddings": "embeddings",
}
"""Paths of the inference endpoints, each asked with POST."""


class GatewayService:
    """Mints the call's id and times, and runs it through the pipeline."""

    def __init__(self, pipeline: Pipeline, clock: Clock) -> None:
        self._pipeline = pipeline
        self._clock = clock

    async def serve(self, endpoint: Endpoint, request: Request, reply: Reply) -> None:
        """Serve one call to its end."""
        exchange = Exchange(
            id=new_id("req"),
            endpoint=endpoint,
            request=request,
            reply=reply,
            started_us=self._clock.epoch_us(),
            started_ns=self._clock.monotonic_ns(),
        )
        request_id.set(exchange.id)
        await self._pipeline.run(exchange)
        if exchange.upstream is not None:
            await _release(exchange.upstream)


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

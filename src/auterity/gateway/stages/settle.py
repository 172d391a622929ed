"""settle: the true usage and its cost; what was set aside is replaced by it."""

import logging

from auterity.domains.cost.estimate import estimate_usage
from auterity.engines.counters.port import Counters, CountersUnavailable
from auterity.gateway.exchange import Exchange

__all__ = ["Settle"]

_log = logging.getLogger(__name__)


class Settle:
    """Sets ``exchange.cost_nano``. It runs whatever came of the call."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def __call__(self, exchange: Exchange) -> None:
        served = exchange.served
        if served is not None:
            usage = exchange.usage
            decoder = exchange.decoder
            if usage is None and decoder is not None:
                usage = decoder.usage
            if usage is None:
                usage = estimate_usage(
                    body_bytes=len(exchange.body),
                    content_events=decoder.content_events if decoder is not None else 0,
                    answer_bytes=len(exchange.answer),
                )
            exchange.usage = usage
            if served.price is None:
                exchange.unpriced = True
            else:
                exchange.cost_nano = served.price.cost(usage)
        hold = exchange.hold
        if hold is not None:
            try:
                await self._counters.settle(hold.budget, exchange.id, exchange.cost_nano)
            except CountersUnavailable:
                # The hold stands until it expires and is then spent in full: too strict for a while, never too lax.
                _log.warning("a reservation could not be settled")

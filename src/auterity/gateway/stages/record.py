"""record: one usage event, written before the answer's last byte goes out."""

from auterity.gateway.exchange import Exchange, Outcome
from auterity.gateway.respond import overhead_us
from auterity.kit.clock import Clock
from auterity.kit.tokens import TokenUsage
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.recorder import UsageRecorder

__all__ = ["Record"]

_NOTHING = TokenUsage()
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left; no client sees it."""


class Record:
    """Ends the claim that `admit` made: with an event, or by giving it back."""

    def __init__(self, recorder: UsageRecorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock

    async def __call__(self, exchange: Exchange) -> None:
        if not exchange.claimed:
            return
        exchange.claimed = False
        await self._recorder.record(self._event(exchange))

    def _event(self, exchange: Exchange) -> UsageEvent:
        key = exchange.holder
        now = self._clock.monotonic_ns()
        inbound, served, error = exchange.inbound, exchange.served, exchange.error
        usage = exchange.usage or _NOTHING
        price = served.price if served is not None else None
        first = exchange.first_byte_ns
        return UsageEvent(
            id=f"evt{exchange.id[3:]}",  # the request's own digits: the two are found by one another
            time_us=exchange.started_us,
            request_id=exchange.id,
            tenant_id=key.tenant_id,
            key_id=key.id,
            user_id=key.user_id,
            end_user=inbound.end_user if inbound is not None else "",
            tags=exchange.tags or dict(key.tags),  # a call that was refused early has read none
            endpoint=exchange.endpoint,
            stream=inbound is not None and inbound.call.stream,
            requested_model=inbound.call.model if inbound is not None else "",
            model=served.target.public_model if served is not None else "",
            deployment_id=served.id if served is not None else "",
            provider=served.provider if served is not None else "",
            upstream_model=served.target.upstream_model if served is not None else "",
            attempts=tuple(exchange.attempts),
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            input_audio_tokens=usage.input_audio,
            cache_read_audio_tokens=usage.cache_read_audio,
            output_audio_tokens=usage.output_audio,
            reasoning_tokens=usage.reasoning,
            tokens_estimated=usage.estimated,
            cost_nano=exchange.cost_nano,
            price_source=price.source if price is not None else "",
            price_version=price.version if price is not None else "",
            unpriced=exchange.unpriced,
            latency_us=(now - exchange.started_ns) // 1000,
            first_byte_us=(first - exchange.started_ns) // 1000 if first else 0,
            overhead_us=overhead_us(exchange, now),
            status=_status(exchange),
            outcome=exchange.outcome.value,
            error_code=error.code if error is not None else "",
            cache=exchange.cache,
        )


def _status(exchange: Exchange) -> int:
    if exchange.outcome is Outcome.CANCELLED:
        return _CLIENT_CLOSED_REQUEST
    if exchange.error is not None and not exchange.reply.started:
        return exchange.error.status
    return 200

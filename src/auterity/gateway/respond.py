"""The answer's head and its last bytes, written once the call is settled and recorded."""

import msgspec

from auterity.gateway.exchange import Exchange, Outcome
from auterity.gateway.reply import Header
from auterity.gateway.wire import openai
from auterity.gateway.wire.headers import cost_header, per_minute_rate, rate_headers, retry_header
from auterity.kit.clock import Clock
from auterity.kit.money import format_dollars

__all__ = ["Respond", "overhead_us", "stream_headers"]

_JSON: Header = (b"content-type", b"application/json")
_EVENTS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_DONE = b"data: [DONE]\n\n"
_chunk = msgspec.json.Decoder(dict[str, msgspec.Raw])


def overhead_us(exchange: Exchange, now_ns: int) -> int:
    """Auterity's own part of the call so far, in microseconds."""
    return max(0, now_ns - exchange.started_ns - exchange.provider_ns) // 1000


def stream_headers(exchange: Exchange, now_ns: int) -> list[Header]:
    """The head of a stream."""
    return [*_EVENTS, *_common(exchange, now_ns)]


def _common(exchange: Exchange, now_ns: int) -> list[Header]:
    headers: list[Header] = [
        (b"x-request-id", exchange.id.encode()),
        (b"x-auterity-overhead-us", b"%d" % overhead_us(exchange, now_ns)),
    ]
    if exchange.served is not None:
        headers.append((b"x-auterity-model", exchange.served.target.public_model.encode()))
    if exchange.rate is not None and exchange.key is not None and exchange.key.requests_per_minute is not None:
        headers.extend(rate_headers(per_minute_rate(exchange.key.requests_per_minute), exchange.rate))
    return headers


class Respond:
    """Ends the answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, exchange: Exchange) -> None:
        reply = exchange.reply
        if exchange.outcome is Outcome.CANCELLED:
            return
        if reply.started:
            await reply.finish(_closing_frames(exchange))
            return
        now = self._clock.monotonic_ns()
        if not exchange.first_byte_ns:
            exchange.first_byte_ns = now
        error = exchange.error
        if error is None and exchange.call.stream:
            # A stream without a single chunk of content.
            await reply.start(200, stream_headers(exchange, now))
            await reply.finish(_closing_frames(exchange))
            return
        headers = [_JSON, *_common(exchange, now)]
        body = exchange.answer
        if error is not None:
            body = openai.error_body(error)
            if error.retry_after is not None:
                headers.append(retry_header(error.retry_after))
            if error.status == 413:
                headers.append((b"connection", b"close"))  # the rest of the body is not wanted
        else:
            headers.append(cost_header(exchange.cost_nano))
        headers.append((b"content-length", b"%d" % len(body)))
        await reply.start(error.status if error is not None else 200, headers)
        await reply.finish(body)


def _closing_frames(exchange: Exchange) -> bytes:
    """The usage chunk where the client asked for it, and the end; or the error that ended the stream."""
    if exchange.error is not None:
        return openai.error_event(exchange.error)
    if not exchange.call.include_usage:
        return _DONE
    return b"data: " + _usage_chunk(exchange) + b"\n\n" + _DONE


def _usage_chunk(exchange: Exchange) -> bytes:
    """The provider's own usage chunk, or one made of what was metered, with the cost added."""
    decoder = exchange.decoder
    given = decoder.usage_chunk if decoder is not None else None
    cost: dict[str, str | bool] = {"cost": format_dollars(exchange.cost_nano), "currency": "USD"}
    usage = exchange.usage
    if usage is not None and usage.estimated:
        cost["estimated"] = True
    if given is not None:
        return msgspec.json.encode({**_chunk.decode(given), "x_auterity": cost})
    opening = (decoder.opening if decoder is not None else None) or (exchange.id, exchange.started_us // 1_000_000)
    tokens_in, tokens_out = (usage.input, usage.output) if usage is not None else (0, 0)
    return msgspec.json.encode(
        {
            "id": opening[0],
            "object": "chat.completion.chunk",
            "created": opening[1],
            "model": exchange.served.target.public_model if exchange.served is not None else exchange.call.model,
            "choices": [],
            "usage": {
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
                "total_tokens": tokens_in + tokens_out,
                "prompt_tokens_details": {"cached_tokens": usage.cache_read if usage is not None else 0},
                "completion_tokens_details": {"reasoning_tokens": usage.reasoning if usage is not None else 0},
            },
            "x_auterity": cost,
        }
    )

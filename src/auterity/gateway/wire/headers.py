"""The headers of the gateway's answers."""

from functools import lru_cache

from auterity.engines.counters.port import Rate, RateDecision
from auterity.gateway.reply import Header
from auterity.kit.money import format_dollars

__all__ = ["cost_header", "per_minute_rate", "rate_headers", "reset_text", "retry_header"]


@lru_cache(maxsize=1024)
def per_minute_rate(limit: int) -> Rate:
    """A rate of so many requests per minute."""
    return Rate(limit)


def reset_text(seconds: float) -> str:
    """A duration as OpenAI writes it in ``x-ratelimit-reset-*``: ``20ms``, ``1.5s``, ``6m0s``."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    minutes, rest = divmod(seconds, 60)
    if minutes:
        return f"{int(minutes)}m{rest:.0f}s"
    return f"{rest:.3f}".rstrip("0").rstrip(".") + "s"


def rate_headers(rate: Rate, decision: RateDecision) -> tuple[Header, ...]:
    """``x-ratelimit-*`` for requests."""
    return (
        (b"x-ratelimit-limit-requests", b"%d" % rate.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % decision.remaining),
        (b"x-ratelimit-reset-requests", reset_text(decision.reset_s).encode()),
    )


def retry_header(seconds: float) -> Header:
    """``retry-after`` in whole seconds, rounded up so that it is true."""
    return (b"retry-after", b"%d" % max(1, -int(-seconds // 1)))


def cost_header(cost_nano: int) -> Header:
    """``x-auterity-cost`` in US dollars."""
    return (b"x-auterity-cost", format_dollars(cost_nano).encode())

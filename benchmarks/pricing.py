"""How long it takes to price one call: the compiled card against genai-prices' own arithmetic, in one run.

Run: ``python -m benchmarks.pricing``. Prints microseconds per call (the median of several
rounds) and the ratio.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import genai_prices

from auterity.kit.tokens import TokenUsage
from auterity.platform.models.pricelist import LIST_VERSION, look_up

__all__ = ["main", "microseconds"]

_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_CASES = {
    "plain": ("openai", "gpt-4o-mini", TokenUsage(input=1_200, output=300)),
    "cached, reasoning": (
        "anthropic",
        "claude-sonnet-4-5",
        TokenUsage(input=90_000, output=3_000, cache_read=60_000, cache_write=20_000, reasoning=2_000),
    ),
    "tiered, cached": ("google", "gemini-2.5-pro", TokenUsage(input=250_000, output=3_000, cache_read=60_000)),
    "audio": (
        "openai",
        "gpt-realtime",
        TokenUsage(input=9_000, output=3_000, cache_read=600, input_audio=800, cache_read_audio=90, output_audio=40),
    ),
}


def microseconds(call: Callable[[], object], *, calls: int, rounds: int = 7) -> float:
    """Median over the rounds of the time of one call."""
    times: list[float] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - begin) / calls * 1e6)
    return statistics.median(times)


def main() -> None:
    print(f"genai-prices {LIST_VERSION}; microseconds per call")
    print(f"{'case':20} {'card':>8} {'ceiling':>8} {'genai-prices':>14} {'ratio':>8}")
    for name, (provider, model, usage) in _CASES.items():
        tariff = look_up(model, provider_id=provider, base_url=None, at=_AT).tariff
        if tariff is None:
            raise SystemExit(f"the price list no longer knows {model} of {provider}")
        card = tariff.card(source="genai-prices", version=LIST_VERSION)
        theirs = genai_prices.Usage(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            input_audio_tokens=usage.input_audio,
            cache_audio_read_tokens=usage.cache_read_audio,
            output_audio_tokens=usage.output_audio,
            output_reasoning_tokens=usage.reasoning,
        )
        ours = microseconds(partial(card.cost, usage), calls=20_000)
        ceiling = microseconds(partial(card.ceiling, usage.input, usage.output), calls=20_000)
        listed = microseconds(
            partial(genai_prices.calc_price, theirs, model, provider_id=provider, genai_request_timestamp=_AT),
            calls=300,
        )
        print(f"{name:20} {ours:8.2f} {ceiling:8.2f} {listed:14.1f} {listed / ours:7.0f}×")


if __name__ == "__main__":
    main()

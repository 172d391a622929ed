"""Made-up usage events, alike for the same seed: for benchmarks, demonstrations and tests."""

import random
from collections.abc import Sequence

import msgspec

from auterity.kit.ids import new_id
from auterity.platform.usage.event import Attempt, UsageEvent

__all__ = ["EventGenerator"]

_MODELS = (
    ("gpt-5-mini", "openai", 250, 2000),
    ("claude-haiku", "anthropic", 1000, 5000),
    ("sandbox-small", "sandbox", 100, 400),
)
"""Name, provider, nano-dollars per input and per output token."""
_OUTCOMES = ("ok", "ok", "ok", "ok", "ok", "error", "cancelled", "interrupted")
_STATUS = {"ok": 200, "error": 502, "cancelled": 499, "interrupted": 200}


class EventGenerator:
    """Events that a gateway with a few tenants, keys and models could have recorded."""

    def __init__(
        self,
        seed: int = 0,
        *,
        tenants: Sequence[str] = ("ten_" + "a" * 32,),
        keys: int = 3,
        first_us: int = 1_795_348_800_000_000,
        span_us: int = 5_000_000_000,
    ) -> None:
        """Calls begin within ``span_us`` microseconds from ``first_us`` (2026-11-22 12:00 UTC)."""
        self._dice = random.Random(seed)  # noqa: S311 - made-up data
        self._tenants = tenants
        self._keys = [f"key_{number:032x}" for number in range(keys)]
        self._first_us = first_us
        self._span_us = span_us

    def event(self, **fields: object) -> UsageEvent:
        """One event; ``fields`` are set as given."""
        dice = self._dice
        model, provider, input_nano, output_nano = dice.choice(_MODELS)
        outcome = dice.choice(_OUTCOMES)
        tokens = dice.randrange(20, 5000)
        written = 0 if outcome == "error" else dice.randrange(1, 800)
        latency = dice.randrange(20_000, 40_000_000)
        made = UsageEvent(
            id=new_id("evt"),
            time_us=self._first_us + dice.randrange(self._span_us),
            request_id=new_id("req"),
            tenant_id=dice.choice(self._tenants),
            key_id=dice.choice(self._keys),
            user_id=dice.choice(("", "usr_" + "1" * 32)),
            end_user=dice.choice(("", "anna", "ben")),
            tags={"team": dice.choice(("search", "ads")), "env": "prod"},
            endpoint=dice.choice(("chat.completions", "embeddings")),
            stream=dice.random() < 0.5,
            requested_model=model,
            model=model,
            deployment_id="dep_" + model,
            provider=provider,
            upstream_model=model + "-2026-10",
            attempts=tuple(
                Attempt("dep_" + model, provider, 200, latency // 2) for _ in range(dice.choice((1, 1, 1, 2)))
            ),
            input_tokens=tokens,
            output_tokens=written,
            cache_read_tokens=dice.choice((0, tokens // 2)),
            reasoning_tokens=written // 3,
            tokens_estimated=outcome == "cancelled",
            cost_nano=tokens * input_nano + written * output_nano,
            price_source="genai-prices",
            price_version="1",
            unpriced=dice.random() < 0.02,
            latency_us=latency,
            first_byte_us=0 if outcome == "error" else latency // 3,
            overhead_us=dice.randrange(100, 900),
            status=_STATUS[outcome],
            outcome=outcome,
            error_code="provider_error" if outcome == "error" else "",
            cache=dice.choice(("off", "hit", "miss")),
        )
        return msgspec.structs.replace(made, **fields) if fields else made

    def events(self, count: int, **fields: object) -> list[UsageEvent]:
        return [self.event(**fields) for _ in range(count)]

"""What usage is counted by and what is counted: the vocabulary that roll-ups, event store and API share. Light."""

from typing import Literal

__all__ = ["DIMENSIONS", "LATENCY_BUCKETS", "MEASURES", "SUMMED_FIELDS", "Dimension"]

Dimension = Literal["key_id", "user_id", "requested_model", "model", "provider", "endpoint", "outcome"]

DIMENSIONS: tuple[Dimension, ...] = (
    "key_id",
    "user_id",
    "requested_model",
    "model",
    "provider",
    "endpoint",
    "outcome",
)
"""Columns of the roll-ups beside tenant and time; fields of the event by the same name."""

SUMMED_FIELDS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "input_audio_tokens",
    "cache_read_audio_tokens",
    "output_audio_tokens",
    "reasoning_tokens",
    "cost_nano",
    "latency_us",
    "first_byte_us",
    "overhead_us",
)
"""Fields of the event that are added up under their own names."""

LATENCY_BUCKETS: dict[str, int] = {
    "latency_le_100ms": 100_000,
    "latency_le_300ms": 300_000,
    "latency_le_1s": 1_000_000,
    "latency_le_3s": 3_000_000,
    "latency_le_10s": 10_000_000,
    "latency_le_30s": 30_000_000,
}
"""Calls whose latency is at most so many microseconds: cumulative, as in a Prometheus histogram."""

MEASURES = (
    "calls",
    *SUMMED_FIELDS,
    "attempts",
    "first_byte_calls",
    "streamed_calls",
    "cache_hits",
    "unpriced_calls",
    "estimated_calls",
    *LATENCY_BUCKETS,
)
"""What a roll-up row holds, all whole numbers. ``first_byte_calls`` is the number of calls in ``first_byte_us``."""

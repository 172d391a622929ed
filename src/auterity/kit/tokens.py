"""What a call used, counted in tokens by kind."""

import msgspec

__all__ = ["TokenUsage"]


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one call.

    The totals include their parts: ``input`` counts cached, cache-writing and audio tokens too, ``output`` counts
    reasoning and audio tokens too. Provider wires whose totals exclude a part add it.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    """Part of ``input`` that the provider read from its prompt cache."""
    cache_write: int = 0
    """Part of ``input`` that the provider wrote to its prompt cache."""
    input_audio: int = 0
    cache_read_audio: int = 0
    """Part of both ``cache_read`` and ``input_audio``."""
    output_audio: int = 0
    reasoning: int = 0
    """Part of ``output`` that was thought, not shown."""
    estimated: bool = False
    """True where the provider did not tell and the figures are Auterity's estimate."""

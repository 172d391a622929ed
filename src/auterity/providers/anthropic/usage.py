"""Anthropic's token usage, in Auterity's terms and in OpenAI's shape."""

import msgspec

from auterity.kit.tokens import TokenUsage
from auterity.providers.untyped import UNREADABLE, as_object, decoded

__all__ = ["MessageUsage", "openai_usage"]

_ABSURD = 1_000_000_000


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class ReportedUsage(msgspec.Struct):
    """What one answer or one event says; in a stream the figures are cumulative."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


_decoder = msgspec.json.Decoder(ReportedUsage)


class MessageUsage:
    """The last figure of each kind that was told."""

    __slots__ = ("_cache_read", "_cache_write", "_input", "_output", "_thinking")

    def __init__(self) -> None:
        self._input: int | None = None
        self._output: int | None = None
        self._cache_read = 0
        self._cache_write = 0
        self._thinking = 0

    def take(self, raw: msgspec.Raw) -> None:
        """Note a ``usage`` value; figures that are missing, negative or absurd leave the former ones."""
        try:
            reported = _decoder.decode(raw)
        except msgspec.ValidationError:
            reported = _lenient(raw)
        except UNREADABLE:
            return
        self._input = _believed(reported.input_tokens, self._input)
        self._output = _believed(reported.output_tokens, self._output)
        self._cache_read = _believed(reported.cache_read_input_tokens, self._cache_read) or 0
        self._cache_write = _believed(reported.cache_creation_input_tokens, self._cache_write) or 0
        if reported.output_tokens_details is not None:
            self._thinking = _believed(reported.output_tokens_details.thinking_tokens, self._thinking) or 0

    def total(self) -> TokenUsage | None:
        """All of it: Anthropic's ``input_tokens`` leave the cached ones out, ours count them."""
        if self._input is None and self._output is None:
            return None
        output = self._output or 0
        return TokenUsage(
            input=(self._input or 0) + self._cache_read + self._cache_write,
            output=output,
            cache_read=self._cache_read,
            cache_write=self._cache_write,
            reasoning=min(self._thinking, output),
        )


def openai_usage(usage: TokenUsage) -> dict[str, object]:
    """The ``usage`` member of a chat completion."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _believed(value: int | None, former: int | None) -> int | None:
    return value if value is not None and 0 <= value < _ABSURD else former


def _lenient(raw: msgspec.Raw) -> ReportedUsage:
    usage = as_object(decoded(raw)) or {}
    numbers = {name: value for name, value in usage.items() if isinstance(value, int) and not isinstance(value, bool)}
    return ReportedUsage(
        input_tokens=numbers.get("input_tokens"),
        output_tokens=numbers.get("output_tokens"),
        cache_creation_input_tokens=numbers.get("cache_creation_input_tokens"),
        cache_read_input_tokens=numbers.get("cache_read_input_tokens"),
    )

"""Token usage as OpenAI and those who speak its API report it."""

import msgspec

from auterity.kit.tokens import TokenUsage
from auterity.providers.untyped import UNREADABLE, as_object, decoded

__all__ = ["ReportedUsage", "read_usage", "token_usage"]

_ABSURD = 1_000_000_000
"""No call uses as many tokens; such a figure is an error of the provider's and must not become a bill."""


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class ReportedUsage(msgspec.Struct):
    """The ``usage`` member of an answer or of a chunk."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's name for the cached part of the prompt."""


_decoder = msgspec.json.Decoder(ReportedUsage)
_NO_INPUT_DETAILS = _InputDetails()
_NO_OUTPUT_DETAILS = _OutputDetails()


def read_usage(raw: bytes | msgspec.Raw) -> TokenUsage | None:
    """Read a ``usage`` value, however odd; None where it tells nothing that can be believed."""
    try:
        return token_usage(_decoder.decode(raw))
    except msgspec.ValidationError:
        return token_usage(_lenient(raw))
    except UNREADABLE:
        return None


def token_usage(reported: ReportedUsage | None) -> TokenUsage | None:
    """Translate to Auterity's terms. Totals that are missing, negative or absurd make it None; parts are kept within
    their totals."""
    if reported is None:
        return None
    prompt, completion = reported.prompt_tokens, reported.completion_tokens
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    if not (0 <= prompt < _ABSURD and 0 <= completion < _ABSURD):
        return None
    inputs = reported.prompt_tokens_details or _NO_INPUT_DETAILS
    outputs = reported.completion_tokens_details or _NO_OUTPUT_DETAILS
    reasoning = max(outputs.reasoning_tokens or 0, 0)
    # xAI and Google leave reasoning out of completion_tokens and count it in total_tokens only (Google without saying
    # so in the details); it is billed as output.
    hidden = (reported.total_tokens or 0) - prompt - completion
    if 0 < hidden < _ABSURD and reasoning in (0, hidden):
        completion += hidden
        reasoning = hidden
    return TokenUsage(
        input=prompt,
        output=completion,
        cache_read=_part(inputs.cached_tokens or reported.prompt_cache_hit_tokens, prompt),
        input_audio=_part(inputs.audio_tokens, prompt),
        output_audio=_part(outputs.audio_tokens, completion),
        reasoning=min(reasoning, completion),
    )


def _part(value: int | None, whole: int) -> int:
    return min(value, whole) if value is not None and value > 0 else 0


def _lenient(raw: bytes | msgspec.Raw) -> ReportedUsage | None:
    """The same with every value of an unexpected type left out; numbers written as 12.0 are taken."""
    usage = as_object(decoded(raw))
    if usage is None:
        return None
    inputs = as_object(usage.get("prompt_tokens_details")) or {}
    outputs = as_object(usage.get("completion_tokens_details")) or {}
    return ReportedUsage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        total_tokens=_count(usage.get("total_tokens")),
        prompt_tokens_details=_InputDetails(_count(inputs.get("cached_tokens")), _count(inputs.get("audio_tokens"))),
        completion_tokens_details=_OutputDetails(
            _count(outputs.get("reasoning_tokens")), _count(outputs.get("audio_tokens"))
        ),
        prompt_cache_hit_tokens=_count(usage.get("prompt_cache_hit_tokens")),
    )


def _count(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < _ABSURD:
        return int(value)
    return value if isinstance(value, int) else None

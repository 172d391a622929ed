"""A message of Anthropic's as a chat completion."""

import msgspec

from auterity.providers.anthropic.usage import MessageUsage, openai_usage
from auterity.providers.contract import Answer
from auterity.providers.refusals import invalid_answer, refusal_of
from auterity.providers.untyped import UNREADABLE

__all__ = ["STATUS_OF_ERROR", "finish_reason", "read_message"]

_ABSENT = msgspec.Raw(b"null")

STATUS_OF_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status of an error's type, by Anthropic's documentation; for errors in the middle of a stream."""

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(stop_reason: str | None) -> str:
    """OpenAI's word for Anthropic's ``stop_reason``; ``stop`` for those that are not known yet."""
    return _FINISH_REASONS.get(stop_reason or "", "stop")


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Message(msgspec.Struct):
    content: list[msgspec.Raw]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    usage: msgspec.Raw = _ABSENT


_decoder = msgspec.json.Decoder(_Message)
_block_decoder = msgspec.json.Decoder(_Block)


def read_message(body: bytes, created: int) -> Answer:
    """Translate a whole answer. Thinking comes out as ``reasoning_content`` and, signed, as ``thinking_blocks``.

    Raises:
        ProviderRefusal: it is not a message.
    """
    try:
        message = _decoder.decode(body)
        blocks = [(raw, _block_decoder.decode(raw)) for raw in message.content]
    except UNREADABLE as error:
        raise _not_a_message(body) from error
    texts = [block.text for _, block in blocks if block.type == "text"]
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": bytes(block.input).decode("utf-8", "replace")},
        }
        for _, block in blocks
        if block.type == "tool_use"
    ]
    told: dict[str, object] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if calls:
        told["tool_calls"] = calls
    if thoughts := [raw for raw, block in blocks if block.type in ("thinking", "redacted_thinking")]:
        told["reasoning_content"] = "".join(block.thinking for _, block in blocks)
        told["thinking_blocks"] = thoughts
    told["refusal"] = None
    usage = MessageUsage()
    usage.take(message.usage)
    total = usage.total()
    reason = finish_reason(message.stop_reason)
    completion: dict[str, object] = {
        "id": message.id,
        "object": "chat.completion",
        "created": created,
        "model": message.model,
        "choices": [{"index": 0, "message": told, "logprobs": None, "finish_reason": reason}],
    }
    if total is not None:
        completion["usage"] = openai_usage(total)
    return Answer(body=msgspec.json.encode(completion), usage=total, finish_reason=reason)


def _not_a_message(body: bytes) -> Exception:
    try:
        error = msgspec.json.decode(body, type=dict[str, object]).get("error")
    except UNREADABLE:
        error = None
    return refusal_of(error, 200) if error is not None else invalid_answer(200, "it is not a message")

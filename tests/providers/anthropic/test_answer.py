"""A message of Anthropic's becomes a chat completion, and its usage is counted our way."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from auterity.kit.clock import ManualClock
from auterity.kit.tokens import TokenUsage
from auterity.providers.anthropic import AnthropicWire
from auterity.providers.contract import Answer, ModelCall, ProviderRefusal, Target

WIRE = AnthropicWire(ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
TARGET = Target(base_url="http://x", api_key=None, upstream_model="claude", public_model="smart")
CALL = ModelCall(endpoint="chat.completions", model="smart", fields={})
USAGE = {"input_tokens": 10, "output_tokens": 5}


def read(**members: object) -> Answer:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    return WIRE.answer(CALL, TARGET, msgspec.json.encode(message | members))


def body(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


def test_a_text_answer_is_translated_to_the_byte() -> None:
    answer = read()
    assert answer.body == (
        b'{"id":"msg_1","object":"chat.completion","created":1767225600,"model":"claude-sonnet-4-6","choices":['
        b'{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},"logprobs":null,"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,'
        b'"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":0}}}'
    )
    assert answer.usage == TokenUsage(input=10, output=5)
    assert answer.finish_reason == "stop"


def test_tool_calls_are_translated() -> None:
    content: list[dict[str, object]] = [
        {"type": "text", "text": "Let me "},
        {"type": "text", "text": "see."},
        {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"city": "Bonn"}},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
    ]
    answer = read(content=content, stop_reason="tool_use")
    message = body(answer)["choices"][0]["message"]
    assert message["content"] == "Let me see."
    assert message["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "get", "arguments": '{"city":"Bonn"}'}},
        {"id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]
    assert answer.finish_reason == "tool_calls"
    assert body(read(content=content[2:]))["choices"][0]["message"]["content"] is None


def test_thinking_is_shown_and_can_be_given_back() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    message = body(read(content=[thought, hidden, {"type": "text", "text": "Hi"}]))["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    assert message["thinking_blocks"] == [thought, hidden]
    assert message["content"] == "Hi"


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("invented_tomorrow", "stop"),
        (None, "stop"),
    ],
)
def test_every_stop_reason_has_a_finish_reason(stop_reason: str | None, finish_reason: str) -> None:
    assert read(stop_reason=stop_reason).finish_reason == finish_reason


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "input_tokens": 10,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 1000,
                "output_tokens": 50,
                "output_tokens_details": {"thinking_tokens": 30},
            },
            TokenUsage(input=1110, output=50, cache_read=1000, cache_write=100, reasoning=30),
        ),
        ({"input_tokens": 10, "cache_read_input_tokens": None, "output_tokens": 1}, TokenUsage(input=10, output=1)),
        ({"input_tokens": -10, "output_tokens": 10**15}, None),
        ({"input_tokens": "10", "output_tokens": 1}, TokenUsage(output=1)),
        ({}, None),
        (None, None),
        ("many", None),
    ],
)
def test_cached_tokens_are_part_of_the_input(usage: object, expected: TokenUsage | None) -> None:
    assert read(usage=usage).usage == expected


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"[]", b"{}", b'{"content":7}', b'{"content":[{}]}', b'{"content":[' + b"[" * 99_999]
)
def test_what_is_no_message_is_a_refusal(raw: bytes) -> None:
    with pytest.raises(ProviderRefusal) as caught:
        WIRE.answer(CALL, TARGET, raw)
    assert caught.value.provider_code == "invalid_provider_answer"


def test_anthropics_errors_are_read() -> None:
    raw = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}'
    refusal = WIRE.refusal(529, [(b"retry-after", b"3")], raw)
    assert refusal.message == "The provider answered with status 529: Overloaded"
    assert (refusal.provider_status, refusal.provider_type, refusal.retry_after) == (529, "overloaded_error", 3.0)
    with pytest.raises(ProviderRefusal, match="Overloaded"):
        WIRE.answer(CALL, TARGET, raw)

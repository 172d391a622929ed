"""A stream of Anthropic's becomes chunks of a chat completion, however it is cut."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.kit.clock import ManualClock
from auterity.kit.tokens import TokenUsage
from auterity.providers.anthropic import AnthropicWire
from auterity.providers.contract import ModelCall, ProviderRefusal, StreamDecoder, Target

WIRE = AnthropicWire(ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
TARGET = Target(base_url="http://x", api_key=None, upstream_model="claude", public_model="smart")
CALL = ModelCall(endpoint="chat.completions", model="smart", fields={}, stream=True)


def event(kind: str, **members: object) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind} | members) + b"\n\n"


def delta(index: int, kind: str, **members: object) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind} | members)


def block(index: int, kind: str, **members: object) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind} | members)


def stopped(index: int) -> bytes:
    return event("content_block_stop", index=index)


START = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-sonnet-4-6",
        "stop_reason": None,
        "usage": {"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 1},
    },
)
PING = event("ping")
TEXT = (
    block(0, "text", text="")
    + delta(0, "text_delta", text="Hel")
    + delta(0, "text_delta", text='lo "you"')
    + stopped(0)
)
END = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 15})
STOP = event("message_stop")
WHOLE = START + PING + TEXT + END + STOP


def run(stream: bytes, cuts: list[int] | None = None) -> tuple[bytes, StreamDecoder]:
    reading = WIRE.decoder(CALL, TARGET)
    out = b"".join(reading.feed(stream[a:b]) for a, b in pairwise([0, *sorted(cuts or []), len(stream)]))
    return out, reading


def deltas(stream: bytes) -> list[dict[str, Any]]:
    out, _ = run(stream)
    return [msgspec.json.decode(frame[6:])["choices"][0]["delta"] for frame in out.split(b"\n\n")[:-1]]


def chunk(inner: bytes, finish: bytes = b"null") -> bytes:
    return (
        b'data: {"id":"msg_1","object":"chat.completion.chunk","created":1767225600,"model":"claude-sonnet-4-6",'
        b'"choices":[{"index":0,"delta":' + inner + b',"logprobs":null,"finish_reason":' + finish + b"}]}\n\n"
    )


EXPECTED = (
    chunk(b'{"role":"assistant","content":""}')
    + chunk(b'{"content":"Hel"}')
    + chunk(b'{"content":"lo \\"you\\""}')
    + chunk(b"{}", b'"stop"')
)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_every_chunking_gives_the_same_chunks(cuts: list[int], line_end: bytes) -> None:
    out, reading = run(WHOLE.replace(b"\n", line_end), cuts)
    assert out == EXPECTED
    assert reading.finished
    assert reading.usage == TokenUsage(input=125, output=15, cache_read=100)
    assert reading.opening == ("msg_1", 1767225600)
    assert (reading.content_events, reading.content_bytes) == (4, len(EXPECTED))
    assert reading.usage_chunk is None


def test_tool_calls_are_streamed_with_their_own_index() -> None:
    told = deltas(
        START
        + block(0, "text", text="Hm")
        + stopped(0)
        + block(1, "tool_use", id="toolu_1", name="get", input={})
        + delta(1, "input_json_delta", partial_json="")
        + delta(1, "input_json_delta", partial_json='{"city":')
        + delta(1, "input_json_delta", partial_json='"Bonn"}')
        + stopped(1)
        + block(2, "tool_use", id="toolu_2", name="now", input={})
        + stopped(2)
    )
    assert told[1:] == [
        {"content": "Hm"},
        {
            "tool_calls": [
                {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "get", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Bonn"}'}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]


def test_thinking_is_streamed_and_signed() -> None:
    told = deltas(
        START
        + block(0, "thinking", thinking="", signature="")
        + delta(0, "thinking_delta", thinking="a")
        + delta(0, "thinking_delta", thinking="b")
        + delta(0, "signature_delta", signature="sig")
        + stopped(0)
        + block(1, "redacted_thinking", data="xx")
        + stopped(1)
    )
    assert told[1:] == [
        {"reasoning_content": "a"},
        {"reasoning_content": "b"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "ab", "signature": "sig"}]},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "xx"}]},
    ]


def test_usage_is_cumulative_and_the_last_word_holds() -> None:
    last = event(
        "message_delta",
        delta={"stop_reason": "max_tokens"},
        usage={"input_tokens": 30, "cache_creation_input_tokens": 5, "output_tokens": 40, "server_tool_use": {}},
    )
    _, reading = run(START + END + last)
    assert reading.usage == TokenUsage(input=135, output=40, cache_read=100, cache_write=5)


def test_a_stream_that_breaks_off_is_billed_for_what_came() -> None:
    _, reading = run(START + TEXT[:-30])
    reading.end()
    assert not reading.finished
    assert reading.usage == TokenUsage(input=125, output=3, cache_read=100, estimated=True)
    # One delta may hold many tokens.
    long = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word " * 80})
    _, reading = run(START + TEXT + long)
    assert reading.usage == TokenUsage(input=125, output=103, cache_read=100, estimated=True)


def test_a_stream_that_only_lacks_its_last_event_is_complete() -> None:
    _, stopped_reading = run(START + TEXT + END)
    assert not stopped_reading.finished
    stopped_reading.end()
    assert stopped_reading.finished


@pytest.mark.parametrize(
    ("kind", "status"),
    [("overloaded_error", 529), ("rate_limit_error", 429), ("api_error", 500), ("invented_error", 502)],
)
def test_an_error_event_is_a_refusal_and_loses_nothing_before_it(kind: str, status: int) -> None:
    reading = WIRE.decoder(CALL, TARGET)
    reading.feed(START)
    stream = delta(0, "text_delta", text="x") + event("error", error={"type": kind, "message": "Oh"}) + STOP
    with pytest.raises(ProviderRefusal, match="Oh") as caught:
        reading.feed(stream)
    assert (caught.value.provider_status, caught.value.provider_type) == (status, kind)
    assert reading.pending == chunk(b'{"content":"x"}')
    assert reading.content_events == 2
    assert not reading.finished


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: <html>\n\n",
        b"data: 7\n\n",
        b"data: {}\n\n",
        b"data: " + b"[" * 50_000 + b"\n\n",
        TEXT,
        b"event: error\ndata: x\n\n",
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_no_event_is_a_refusal(garbage: bytes) -> None:
    with pytest.raises(ProviderRefusal) as caught:
        WIRE.decoder(CALL, TARGET).feed(garbage)
    assert caught.value.provider_code == "invalid_provider_answer"


def test_events_that_are_yet_to_be_invented_are_passed_over() -> None:
    out, _ = run(
        START + event("message_mood", mood="good") + delta(0, "smell_delta", smell="x") + stopped(9) + END + STOP
    )
    assert out == chunk(b'{"role":"assistant","content":""}') + chunk(b"{}", b'"stop"')


def test_nothing_comes_out_after_the_end() -> None:
    _, reading = run(WHOLE)
    assert reading.feed(TEXT) == b""

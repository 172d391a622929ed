"""Streams of OpenAI's API are forwarded as they come and metered, however they are cut and whoever wrote them."""

import json
import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.kit.tokens import TokenUsage
from auterity.providers.contract import ModelCall, ProviderRefusal, StreamDecoder, Target
from auterity.providers.openai import OpenAIWire

TARGET = Target(base_url="http://x", api_key=None, upstream_model="m", public_model="m")
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
METERED = TokenUsage(input=9, output=4)


def decoder(**fields: int) -> StreamDecoder:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return OpenAIWire().decoder(ModelCall(endpoint="chat.completions", model="m", fields=raw, stream=True), TARGET)


def frame(value: object, *, compact: bool = True) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":") if compact else None).encode() + b"\n\n"


def chunk(text: str | None = None, *, compact: bool = True, finish: str | None = None, **more: object) -> bytes:
    delta = {} if text is None else {"content": text}
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1730000000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
    return frame(value | more, compact=compact)


USAGE_ONLY = chunk(choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"


def run(stream: bytes, cuts: list[int] | None = None) -> tuple[bytes, StreamDecoder]:
    reading = decoder()
    edges = [0, *sorted(cuts or []), len(stream)]
    out = b"".join(reading.feed(stream[a:b]) for a, b in pairwise(edges))
    return out, reading


# The texts that would fool a decoder that only looks for bytes.
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ['"', "\\", '\\"', "usage", "error", "[DONE]", '"usage":{"a":1}', "data: [DONE]\n\n", '"error":{', "}"]
    ),
)
shapes: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"usage": None},
        {"usage": None, "obfuscation": "aB3"},
        {"obfuscation": ""},
        {"error": None},
        {"role": "usage"},
    ]
)


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    return chunk(draw(texts), compact=draw(st.booleans()), **draw(shapes))


@given(st.lists(chunks(), max_size=8), st.booleans(), st.data())
def test_every_chunking_forwards_and_meters_the_same(content: list[bytes], in_last: bool, data: st.DataObject) -> None:
    last = chunk(finish="stop", usage=USAGE if in_last else None)
    expected = b"".join([*content, last])
    stream = expected + (b"" if in_last else USAGE_ONLY) + DONE + b"data: ignored\n\n"
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    whole_frames = [match.end() for match in re.finditer(rb"\n\n", stream)]
    for where in (cuts, [], whole_frames, list(range(len(stream)))):
        out, reading = run(stream, where)
        assert out == expected
        assert reading.finished
        assert reading.usage == METERED
        assert reading.usage_chunk == (None if in_last else USAGE_ONLY[6:-2])
        assert reading.content_events == len(content) + 1
        assert reading.content_bytes == len(expected)
        assert reading.opening == ("chatcmpl-1", 1730000000)


@given(st.lists(chunks(), min_size=1, max_size=12))
def test_chunks_that_come_one_by_one_go_out_one_by_one(content: list[bytes]) -> None:
    reading = decoder()
    for each in content:
        assert reading.feed(each) == each
    assert reading.content_events == len(content)


def test_frames_that_end_in_other_line_ends_come_out_with_plain_ones() -> None:
    stream = chunk("a") + chunk("b") + DONE
    for line_end in (b"\r\n", b"\r"):
        out, reading = run(stream.replace(b"\n", line_end))
        assert out == chunk("a") + chunk("b")
        assert reading.finished


def test_continuous_usage_holds_with_its_last_word() -> None:
    counts = [chunk("x", usage={"prompt_tokens": 9, "completion_tokens": n}) for n in (1, 2, 3)]
    out, reading = run(b"".join(counts) + DONE)
    assert out == b"".join(counts)
    assert reading.usage == TokenUsage(input=9, output=3)


def test_usage_in_a_chunk_that_looks_like_those_before_is_still_metered() -> None:
    reading = decoder()
    for _ in range(5):
        reading.feed(chunk("x", usage=None))
    reading.feed(chunk("x", usage=USAGE))
    assert reading.usage == METERED


def test_groqs_usage_is_metered() -> None:
    last = chunk(finish="stop", x_groq={"id": "req_1", "usage": USAGE})
    out, reading = run(chunk("hi", x_groq={"id": "req_1"}) + last + DONE)
    assert out.endswith(last)
    assert reading.usage == METERED


def test_azures_first_chunk_without_choices_is_forwarded() -> None:
    first = chunk(choices=[], id="", created=0, prompt_filter_results=[{"prompt_index": 0}])
    out, reading = run(first + chunk("hi") + DONE)
    assert out == first + chunk("hi")
    assert reading.opening == ("chatcmpl-1", 1730000000)


def test_a_stream_without_ids_still_has_an_opening() -> None:
    _, reading = run(frame({"choices": [{"delta": {"content": "x"}}], "created": 17.5}))
    assert reading.opening == ("", 17)


def test_tool_calls_pass_untouched() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "usage", "arguments": '{"error":'}}
    stream = chunk("x") + chunk(choices=[{"index": 0, "delta": {"tool_calls": [call]}}])
    assert run(stream)[0] == stream


def test_comments_wait_for_the_first_chunk() -> None:
    out, reading = run(b": hello\n\n" + chunk("a") + b": keep-alive\n\n" + chunk("b"))
    assert out == chunk("a") + b": keep-alive\n\n" + chunk("b")
    assert reading.content_events == 2


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        (frame({"error": {"message": "Overloaded", "code": 503}}), 503, "Overloaded"),
        (frame({"error": {"message": "Overloaded", "type": "server_error", "code": None}}), 502, "Overloaded"),
        (frame({"error": "Overloaded"}), 502, "Overloaded"),
        (b'event: error\ndata: {"message":"Overloaded"}\n\n', 502, "Overloaded"),
        (b"event: error\ndata: Overloaded\n\n", 502, "Overloaded"),
        (chunk("", finish="error", error={"message": "Overloaded", "code": 429}), 429, "Overloaded"),
    ],
)
def test_an_error_event_is_a_refusal_and_loses_nothing_before_it(event: bytes, status: int, message: str) -> None:
    reading = decoder()
    reading.feed(chunk("a"))
    reading.feed(chunk("b"))
    with pytest.raises(ProviderRefusal, match=message) as caught:
        reading.feed(chunk("c") + event + chunk("d"))
    assert caught.value.provider_status == status
    assert reading.pending == chunk("c")
    assert not reading.finished


@pytest.mark.parametrize("garbage", [b"data: <html>\n\n", b"data: 7\n\n", b"data: " + b"[" * 50_000 + b"\n\n"])
def test_a_stream_that_begins_with_garbage_is_a_refusal(garbage: bytes) -> None:
    with pytest.raises(ProviderRefusal) as caught:
        decoder().feed(garbage)
    assert caught.value.provider_code == "invalid_provider_answer"


def test_a_stream_that_breaks_off_is_not_finished() -> None:
    out, reading = run(chunk("a") + chunk("b")[:20])
    reading.end()
    assert out == chunk("a")
    assert not reading.finished


def test_a_last_event_without_its_empty_line_counts() -> None:
    _, reading = run(chunk("a") + b"data: [DONE]")
    assert not reading.finished
    reading.end()
    assert reading.finished


def test_a_stream_without_an_end_mark_is_finished_once_every_choice_is() -> None:
    stream = chunk("a") + chunk(finish="stop", usage=USAGE)
    for compact in (True, False):
        reading = decoder()
        reading.feed(chunk("a", compact=compact) + chunk(finish="stop", compact=compact))
        assert not reading.finished
        reading.end()
        assert reading.finished
    two = decoder(n=2)
    two.feed(stream)
    two.end()
    assert not two.finished
    two.feed(chunk(choices=[{"index": 1, "finish_reason": "length"}]))
    two.end()
    assert two.finished


def test_a_last_chunk_that_cannot_be_forwarded_is_a_loss() -> None:
    _, reading = run(chunk("a", finish="stop") + chunk("b").rstrip())
    reading.end()
    assert not reading.finished


def test_nothing_comes_out_after_the_end() -> None:
    reading = decoder()
    reading.feed(chunk("a") + chunk("b"))
    reading.feed(DONE)
    assert reading.feed(chunk("late")) == b""
    assert reading.content_events == 2

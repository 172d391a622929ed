"""Whatever a provider sends, a wire answers with an answer or with a refusal, never with another error."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.providers.catalogue import wires
from auterity.providers.contract import Endpoint, ModelCall, ProviderRefusal, Target, UntranslatableRequest, Wire

TARGET = Target(base_url="http://x/v1", api_key="k", upstream_model="up", public_model="pub", max_output_tokens=9)
EVERY_WIRE = pytest.mark.parametrize("wire", wires().values(), ids=lambda wire: wire.name)

OPENAI = (
    b'{"id":"c","created":1,"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1},"error":null,"data":[]}'
)
ANTHROPIC = (
    b'{"type":"message_delta","index":0,"delta":{"type":"text_delta","text":"x","stop_reason":"end_turn"},'
    b'"content":[{"type":"text","text":"x"}],"usage":{"input_tokens":1,"output_tokens":1},"message":{"id":"m"}}'
)
ODD = st.sampled_from(
    [b"null", b'"x"', b"7", b"-1", b"1.5", b"[]", b"{}", b"[{}]", b'"\xff"', b"9" * 400, b"\xff", b""]
)
PIECES = st.sampled_from([b'"stop"', b'"x"', b"1", b"0", b"null", b"[", b"]", b"{", b"}", b":", b",", b"\n", b"data: "])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good answer with some of its parts replaced."""
    body = draw(st.sampled_from([OPENAI, ANTHROPIC]))
    for _ in range(draw(st.integers(0, 3))):
        body = body.replace(draw(PIECES), draw(ODD), draw(st.sampled_from([1, -1])))
    return body


bodies = st.one_of(damaged(), st.binary(max_size=60))


@EVERY_WIRE
@given(body=bodies, endpoint=st.sampled_from(["chat.completions", "embeddings"]))
def test_any_answer_is_read_or_refused(wire: Wire, body: bytes, endpoint: Endpoint) -> None:
    call = ModelCall(endpoint=endpoint, model="pub", fields={})
    try:
        answer = wire.answer(call, TARGET, body)
    except ProviderRefusal:
        return
    assert answer.usage is None or min(answer.usage.input, answer.usage.output) >= 0


@EVERY_WIRE
@given(events=st.lists(bodies, max_size=5), opening=st.booleans())
def test_any_stream_is_read_or_refused(wire: Wire, events: list[bytes], opening: bool) -> None:
    decoder = wire.decoder(ModelCall(endpoint="chat.completions", model="pub", fields={}, stream=True), TARGET)
    first = [b'{"type":"message_start","id":"c","choices":[{}],"message":{"id":"m"}}'] if opening else []
    out = b""
    try:
        for event in [*first, *events]:
            out += decoder.feed(b"data: " + event + b"\n\n")
        decoder.end()
    except ProviderRefusal:
        out += decoder.pending
    assert decoder.content_bytes <= len(out)
    assert b"data: [DONE]" not in out


@EVERY_WIRE
def test_an_event_without_end_is_refused_before_it_fills_the_memory(wire: Wire) -> None:
    decoder = wire.decoder(ModelCall(endpoint="chat.completions", model="pub", fields={}, stream=True), TARGET)
    piece = b"x" * (1 << 20)
    for _ in range(8):
        assert decoder.feed(piece) == b""
    with pytest.raises(ProviderRefusal):
        decoder.feed(piece)


@EVERY_WIRE
@given(
    fields=st.dictionaries(
        st.sampled_from(["messages", "tools", "tool_choice", "stop", "temperature", "response_format", "n", "user"])
        | st.text(max_size=3),
        st.one_of(
            st.sampled_from(
                [b"null", b"7", b'"x"', b"[]", b"{}", b"[{}]", b'[{"role":"user","content":"x"}]', b"true"]
            ),
            st.sampled_from([b'[{"role":"user","content":[{"type":"text"}]}]', b'{"type":"json_schema"}', b"1e400"]),
        ).map(msgspec.Raw),
    ),
    stream=st.booleans(),
)
def test_any_request_is_written_or_refused_by_name(wire: Wire, fields: dict[str, msgspec.Raw], stream: bool) -> None:
    call = ModelCall(endpoint="chat.completions", model="pub", fields=fields, stream=stream)
    param: str | None = None
    try:
        request = wire.request(call, TARGET)
    except UntranslatableRequest as refused:
        param = refused.param
    else:
        assert request.body.startswith(b"{")
        return
    assert param is not None

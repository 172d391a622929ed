"""OpenAI's requests are checked where the gateway needs it and nowhere else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.gateway.errors import BudgetExceeded, InvalidApiKey, RateLimitExceeded
from auterity.gateway.wire import openai
from auterity.kit.errors import InvalidRequest, Unavailable

CHAT = b'{"model":"m","messages":[{"role":"user","content":"hello"}]%s}'


def refusal(body: bytes, endpoint: str = "chat.completions") -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        openai.parse("embeddings" if endpoint == "embeddings" else "chat.completions", body)
    return caught.value


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"messages":[{"role":"user"}]}', "model"),
        (b'{"model":1,"messages":[{"role":"user"}]}', "model"),
        (b'{"model":"","messages":[{"role":"user"}]}', "model"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":"hi"}', "messages"),
        (b'{"model":"m","messages":[{"content":"x"}]}', "messages[0].role"),
        (CHAT % b',"stream":"yes"', "stream"),
        (CHAT % b',"max_tokens":-1', "max_tokens"),
        (CHAT % b',"n":0', "n"),
        (CHAT % b',"stream_options":{"include_usage":true}', "stream_options"),
    ],
)
def test_a_wrong_field_is_refused_by_name(body: bytes, param: str) -> None:
    error = refusal(body)
    assert error.param == param
    assert error.status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"[]", b"null", b'"text"', b'{"model":"\xff"}'])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    assert refusal(body).param is None


def test_nesting_beyond_reason_is_refused_and_does_not_crash() -> None:
    deep = b'{"model":"m","messages":[{"role":"user"}],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert "nested too deeply" in refusal(deep).message


def test_unknown_fields_keep_the_bytes_they_came_with() -> None:
    body = CHAT % b',"top_k": 1.50, "big":12345678901234567890123, "x":{"b":1,  "a":[ ]}'
    fields = openai.parse("chat.completions", body).call.fields
    assert bytes(fields["top_k"]) == b"1.50"
    assert bytes(fields["big"]) == b"12345678901234567890123"
    assert bytes(fields["x"]) == b'{"b":1,  "a":[ ]}'


def test_what_the_gateway_reads_of_a_request() -> None:
    inbound = openai.parse(
        "chat.completions",
        CHAT % b',"stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"n":2,"user":"u1",'
        b'"metadata":{"team":"search","n":1}',
    )
    assert inbound.call.stream
    assert inbound.call.include_usage
    assert (inbound.max_output_tokens, inbound.choices, inbound.end_user) == (5, 2, "u1")
    assert inbound.tags == {"team": "search"}


def test_the_newer_limit_of_output_wins_over_the_older() -> None:
    assert openai.parse("chat.completions", CHAT % b',"max_tokens":5,"max_completion_tokens":7').max_output_tokens == 7


@pytest.mark.parametrize("given_input", [b'"text"', b'["a","b"]', b"[1,2,3]", b"[[1],[2]]"])
def test_embeddings_take_text_and_tokens(given_input: bytes) -> None:
    inbound = openai.parse("embeddings", b'{"model":"e","input":' + given_input + b"}")
    assert inbound.call.endpoint == "embeddings"
    assert bytes(inbound.call.fields["input"]) == given_input


def test_embeddings_without_input_are_refused() -> None:
    assert refusal(b'{"model":"e"}', "embeddings").param == "input"


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(msgspec.json.encode))
def test_no_bytes_whatever_make_anything_but_a_clear_refusal(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"body must be a JSON object|not valid|[Mm]issing|Invalid"):
        openai.parse("chat.completions", body)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidApiKey("x"), "authentication_error"),
        (BudgetExceeded("x"), "insufficient_quota"),
        (RateLimitExceeded("x"), "rate_limit_error"),
        (Unavailable("x"), "server_error"),
        (InvalidRequest("x", param="p"), "invalid_request_error"),
    ],
)
def test_errors_are_written_in_openais_shape(error: InvalidRequest, kind: str) -> None:
    assert msgspec.json.decode(openai.error_body(error)) == {
        "error": {"message": "x", "type": kind, "param": error.param, "code": error.code}
    }

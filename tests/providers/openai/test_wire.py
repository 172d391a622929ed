"""OpenAI's wire passes requests and answers through and changes only what it must."""

import msgspec
import pytest

from auterity.kit.tokens import TokenUsage
from auterity.providers.contract import Endpoint, ModelCall, ProviderRefusal, Target, UntranslatableRequest
from auterity.providers.openai import OpenAIWire

WIRE = OpenAIWire()
TARGET = Target(
    base_url="https://api.example.com/v1", api_key="secret", upstream_model="gpt-4o-mini", public_model="fast"
)


def call(body: bytes, *, endpoint: Endpoint = "chat.completions", stream: bool = False) -> ModelCall:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return ModelCall(endpoint=endpoint, model="fast", fields=fields, stream=stream)


def test_only_the_model_is_changed_in_a_plain_request() -> None:
    body = (
        b'{"model": "fast","messages":[{"role":"user", "content":"\\u00e9 \xc3\xa9"}],"temperature":1.00,'
        b'"x_new":{"b":[1, 2],"a":1e2},"big":123456789012345678901234567890,"seed":null}'
    )
    request = WIRE.request(call(body), TARGET)
    assert request.method == "POST"
    assert request.url == "https://api.example.com/v1/chat/completions"
    assert request.headers == (
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"authorization", b"Bearer secret"),
    )
    assert request.body == (
        b'{"model":"gpt-4o-mini","messages":[{"role":"user", "content":"\\u00e9 \xc3\xa9"}],"temperature":1.00,'
        b'"x_new":{"b":[1, 2],"a":1e2},"big":123456789012345678901234567890,"seed":null}'
    )


def test_a_stream_asks_for_usage() -> None:
    request = WIRE.request(call(b'{"model":"fast","messages":[],"stream":true}', stream=True), TARGET)
    assert request.body == (
        b'{"model":"gpt-4o-mini","messages":[],"stream":true,"stream_options":{"include_usage":true}}'
    )
    assert (b"accept", b"text/event-stream") in request.headers


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (b"null", b'{"include_usage":true}'),
        (b"{}", b'{"include_usage":true}'),
        (b'{"include_usage":false}', b'{"include_usage":true}'),
        (
            b'{"include_obfuscation": false,"include_usage":false}',
            b'{"include_obfuscation":false,"include_usage":true}',
        ),
    ],
)
def test_other_stream_options_are_kept(options: bytes, sent: bytes) -> None:
    request = WIRE.request(
        call(b'{"model":"fast","stream":true,"stream_options":' + options + b"}", stream=True), TARGET
    )
    assert request.body == b'{"model":"gpt-4o-mini","stream":true,"stream_options":' + sent + b"}"


@pytest.mark.parametrize(
    "target",
    [
        msgspec.structs.replace(TARGET, base_url="https://api.mistral.ai/v1"),
        msgspec.structs.replace(TARGET, accepts_stream_options=False),
    ],
    ids=["mistral", "configured"],
)
def test_a_server_that_refuses_stream_options_is_not_asked_for_usage(target: Target) -> None:
    def sent(options: bytes) -> bytes:
        return WIRE.request(call(b'{"model":"fast","stream":true' + options + b"}", stream=True), target).body

    bare = b'{"model":"gpt-4o-mini","stream":true}'
    assert sent(b"") == bare
    assert sent(b',"stream_options":null') == bare
    assert sent(b',"stream_options":{"include_usage":true}') == bare
    assert sent(b',"stream_options":{"include_usage":true,"x": 1}') == bare[:-1] + b',"stream_options":{"x":1}}'


def test_stream_options_of_a_wrong_type_are_refused_by_name() -> None:
    with pytest.raises(UntranslatableRequest) as caught:
        WIRE.request(call(b'{"model":"fast","stream":true,"stream_options":[1]}', stream=True), TARGET)
    assert caught.value.param == "stream_options"


def test_azure_is_reached_by_query_and_header() -> None:
    target = Target(
        base_url="https://x.openai.azure.com/openai/deployments/d",
        api_key="unused",
        upstream_model="gpt-4o",
        public_model="fast",
        headers=((b"api-key", b"azure-secret"), (b"x-team", b"a")),
        query="api-version=2024-10-21",
    )
    request = WIRE.request(call(b'{"model":"fast","input":"x"}', endpoint="embeddings"), target)
    assert request.url == "https://x.openai.azure.com/openai/deployments/d/embeddings?api-version=2024-10-21"
    assert request.headers[2:] == ((b"api-key", b"azure-secret"), (b"x-team", b"a"))


def test_a_server_without_a_key_gets_no_credential() -> None:
    target = msgspec.structs.replace(TARGET, api_key=None)
    assert [name for name, _ in WIRE.request(call(b'{"model":"fast"}'), target).headers] == [b"content-type", b"accept"]


def test_the_models_of_a_provider_can_be_listed() -> None:
    request = WIRE.models_request(TARGET)
    assert request is not None
    assert (request.method, request.url, request.body) == ("GET", "https://api.example.com/v1/models", b"")
    assert (b"authorization", b"Bearer secret") in request.headers


ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1730000000,"model":"gpt-4o-mini","x":{"unknown":[1]},'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":%s}'
)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            b'{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":'
            b'{"cached_tokens":64,"audio_tokens":3},"completion_tokens_details":{"reasoning_tokens":40,"audio_tokens":2}}',
            TokenUsage(input=100, output=50, cache_read=64, input_audio=3, reasoning=40, output_audio=2),
        ),
        (
            b'{"prompt_tokens":100,"completion_tokens":5,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}',
            TokenUsage(input=100, output=5, cache_read=64),
        ),
        (b'{"prompt_tokens":8,"total_tokens":8}', TokenUsage(input=8)),
        (b"null", None),
        (b"{}", None),
        (b'"many"', None),
        (b'{"prompt_tokens":-1,"completion_tokens":5}', None),
        (b'{"prompt_tokens":1,"completion_tokens":99999999999999}', None),
        (b'{"prompt_tokens":"7","completion_tokens":5.0}', TokenUsage(output=5)),
        (b'{"prompt_tokens":7,"completion_tokens":true}', TokenUsage(input=7)),
        (
            b'{"prompt_tokens":7,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":900},'
            b'"completion_tokens_details":{"reasoning_tokens":-4}}',
            TokenUsage(input=7, output=5, cache_read=7),
        ),
        (
            b'{"prompt_tokens":7,"completion_tokens":5,"prompt_tokens_details":null,"completion_tokens_details":"?"}',
            TokenUsage(input=7, output=5),
        ),
        # xAI: reasoning is in the total, not in completion_tokens.
        (
            b'{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,'
            b'"completion_tokens_details":{"reasoning_tokens":94}}',
            TokenUsage(input=32, output=103, reasoning=94),
        ),
        # Google: the same without details.
        (
            b'{"prompt_tokens":10,"completion_tokens":20,"total_tokens":130}',
            TokenUsage(input=10, output=120, reasoning=100),
        ),
    ],
)
def test_usage_is_read_and_the_answer_untouched(usage: bytes, expected: TokenUsage | None) -> None:
    body = ANSWER % usage
    answer = WIRE.answer(call(b'{"model":"fast"}'), TARGET, body)
    assert answer.body is body
    assert answer.usage == expected
    assert answer.finish_reason == "stop"


def test_embeddings_are_metered() -> None:
    body = b'{"object":"list","data":[{"embedding":[0.1]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}'
    answer = WIRE.answer(call(b'{"model":"e","input":"x"}', endpoint="embeddings"), TARGET, body)
    assert answer.body is body
    assert answer.usage == TokenUsage(input=8)


def test_odd_choices_are_passed_on() -> None:
    for choices in (b"[]", b"[{}]", b'[{"finish_reason":7}]', b'"x"'):
        body = b'{"choices":' + choices + b',"usage":{"prompt_tokens":1,"completion_tokens":1}}'
        answer = WIRE.answer(call(b'{"model":"m"}'), TARGET, body)
        assert (answer.body, answer.finish_reason, answer.usage) == (body, None, TokenUsage(input=1, output=1))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"x"',
        b"{}",
        b'{"choices":[',
        b'{"choices":null}',
        b"[" * 100_000,
        b'{"choices":' + b"[" * 99_999,
        b"\xff\xfe",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_answer_is_a_refusal(body: bytes) -> None:
    with pytest.raises(ProviderRefusal) as caught:
        WIRE.answer(call(b'{"model":"m"}'), TARGET, body)
    assert caught.value.provider_code == "invalid_provider_answer"


def test_an_error_told_with_status_200_is_a_refusal() -> None:
    body = b'{"error":{"message":"no credits left","type":"billing","code":402}}'
    with pytest.raises(ProviderRefusal, match="no credits left") as caught:
        WIRE.answer(call(b'{"model":"m"}'), TARGET, body)
    assert caught.value.provider_code == "402"

"""A chat completion request becomes a Messages request, to the byte; what cannot is refused by name."""

import msgspec
import pytest

from auterity.providers.anthropic import AnthropicWire
from auterity.providers.contract import ModelCall, Target, UntranslatableRequest

WIRE = AnthropicWire()
TARGET = Target(
    base_url="https://api.anthropic.com/v1",
    api_key="secret",
    upstream_model="claude-sonnet-4-6",
    public_model="smart",
    max_output_tokens=4096,
)
HELLO = b'[{"role":"user","content":"Hello"}]'


def call(members: bytes, *, stream: bool = False) -> ModelCall:
    fields = msgspec.json.decode(b'{"model":"smart"' + members + b"}", type=dict[str, msgspec.Raw])
    return ModelCall(endpoint="chat.completions", model="smart", fields=fields, stream=stream)


def sent(members: bytes, *, stream: bool = False, target: Target = TARGET) -> bytes:
    return WIRE.request(call(members, stream=stream), target).body


def said(messages: bytes) -> bytes:
    """What is sent for these messages, after the model and the limit."""
    body = sent(b',"messages":' + messages)
    opening = b'{"model":"claude-sonnet-4-6","max_tokens":4096,'
    assert body.startswith(opening)
    return body.removeprefix(opening)


def test_a_plain_request_is_sent_with_version_and_key() -> None:
    request = WIRE.request(call(b',"messages":' + HELLO), TARGET)
    assert (request.method, request.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert request.headers == (
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"x-api-key", b"secret"),
        (b"anthropic-version", b"2023-06-01"),
    )
    assert request.body == (
        b'{"model":"claude-sonnet-4-6","max_tokens":4096,"messages":[{"role":"user","content":"Hello"}]}'
    )


def test_base_url_query_and_headers_can_be_configured() -> None:
    target = msgspec.structs.replace(
        TARGET,
        base_url="https://proxy.example",
        query="region=eu",
        headers=((b"authorization", b"Bearer t"), (b"anthropic-version", b"2099-01-01"), (b"anthropic-beta", b"b")),
    )
    request = WIRE.request(call(b',"messages":' + HELLO, stream=True), target)
    assert request.url == "https://proxy.example/v1/messages?region=eu"
    assert request.headers[1:] == ((b"accept", b"text/event-stream"), *target.headers)
    models = WIRE.models_request(target)
    assert models is not None
    assert models.url == "https://proxy.example/v1/models?region=eu"


def test_a_stream_is_asked_for() -> None:
    body = sent(b',"stream":true,"stream_options":{"include_usage":true},"messages":' + HELLO, stream=True)
    assert body.endswith(b',"stream":true}')
    assert b"stream_options" not in body


def test_every_translatable_field_is_translated() -> None:
    body = sent(
        b',"messages":'
        + HELLO
        + b',"max_tokens":9,"max_completion_tokens":50,"temperature":0.70,"top_p":0.9,"top_k":5,'
        b'"stop":["a","b"],"user":"u-1","service_tier":"default","reasoning_effort":"high",'
        b'"response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,'
        b'"schema":{"type": "object"}}},'
        b'"n":1,"logprobs":false,"presence_penalty":0,"frequency_penalty":0.0,"logit_bias":{},"seed":null,"store":false,'
        b'"metadata":{"team":"a"}'
    )
    assert body == (
        b'{"model":"claude-sonnet-4-6","max_tokens":50,"messages":[{"role":"user","content":"Hello"}],'
        b'"temperature":0.70,"top_p":0.9,"top_k":5,"stop_sequences":["a","b"],"metadata":{"user_id":"u-1"},'
        b'"service_tier":"standard_only","output_config":{"effort":"high","format":'
        b'{"type":"json_schema","schema":{"type": "object"}}}}'
    )


def test_one_stop_sequence_becomes_a_list() -> None:
    assert b'"stop_sequences":["END"]' in sent(b',"stop":"END","messages":' + HELLO)


def test_thinking_is_anthropics_own() -> None:
    own = b'"thinking":{"type":"enabled", "budget_tokens":2000}'
    assert own in sent(b"," + own + b',"messages":' + HELLO)
    assert b'"thinking":{"type":"disabled"}' in sent(b',"reasoning_effort":"none","messages":' + HELLO)


def test_the_models_limit_is_sent_where_the_client_gives_none() -> None:
    known = msgspec.structs.replace(TARGET, max_output_tokens=9000)
    assert b'"max_tokens":9000' in sent(b',"messages":' + HELLO, target=known)
    assert b'"max_tokens":9000' in sent(b',"max_tokens":null,"messages":' + HELLO, target=known)
    assert b'"max_tokens":7' in sent(b',"max_tokens":7,"messages":' + HELLO, target=known)


def test_without_any_limit_what_every_model_can_write_is_sent() -> None:
    unlimited = msgspec.structs.replace(TARGET, max_output_tokens=None)
    assert b'"max_tokens":4096' in sent(b',"messages":' + HELLO, target=unlimited)


def test_system_messages_go_in_front() -> None:
    assert said(b'[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]') == (
        b'"system":"Be brief.","messages":[{"role":"user","content":"Hi"}]}'
    )
    assert said(
        b'[{"role":"system","content":"A"},{"role":"user","content":"Hi"},'
        b'{"role":"developer","content":[{"type":"text","text":"B","cache_control":{"type":"ephemeral"}}]}]'
    ) == (
        b'"system":[{"type":"text","text":"A"},{"type":"text","text":"B","cache_control":{"type":"ephemeral"}}],'
        b'"messages":[{"role":"user","content":"Hi"}]}'
    )


def test_turns_alternate() -> None:
    assert said(
        b'[{"role":"user","content":"A"},{"role":"user","content":"B"},{"role":"assistant","content":"C"},'
        b'{"role":"assistant","content":"D","refusal":null,"annotations":[]},{"role":"user","content":"E"}]'
    ) == (
        b'"messages":[{"role":"user","content":[{"type":"text","text":"A"},{"type":"text","text":"B"}]},'
        b'{"role":"assistant","content":[{"type":"text","text":"C"},{"type":"text","text":"D"}]},'
        b'{"role":"user","content":"E"}]}'
    )


def test_images_and_documents_are_carried_over() -> None:
    assert said(
        b'[{"role":"user","content":[{"type":"text","text":"What?"},'
        b'{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0=","detail":"auto"}},'
        b'{"type":"image_url","image_url":{"url":"https://example.com/a.jpg"}},'
        b'{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0="}}]}]'
    ) == (
        b'"messages":[{"role":"user","content":[{"type":"text","text":"What?"},'
        b'{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0="}},'
        b'{"type":"image","source":{"type":"url","url":"https://example.com/a.jpg"}},'
        b'{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="},"title":"a.pdf"}'
        b"]}]}"
    )


def test_tool_calls_and_their_results_are_carried_over() -> None:
    assert said(
        b'[{"role":"user","content":"Weather?"},'
        b'{"role":"assistant","content":null,"tool_calls":['
        b'{"id":"c1","type":"function","function":{"name":"get","arguments":"{\\"n\\": 12345678901234567890.0}"}},'
        b'{"id":"c2","type":"function","function":{"name":"now","arguments":""}}]},'
        b'{"role":"tool","tool_call_id":"c1","name":"get","content":"sunny"},'
        b'{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"noon"}]},'
        b'{"role":"user","content":"Thanks"}]'
    ) == (
        b'"messages":[{"role":"user","content":"Weather?"},'
        b'{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"get",'
        b'"input":{"n": 12345678901234567890.0}},'
        b'{"type":"tool_use","id":"c2","name":"now","input":{}}]},'
        b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"sunny"},'
        b'{"type":"tool_result","tool_use_id":"c2","content":[{"type":"text","text":"noon"}]},'
        b'{"type":"text","text":"Thanks"}]}]}'
    )


def test_signed_thinking_goes_back_first() -> None:
    assert said(
        b'[{"role":"user","content":"A"},{"role":"assistant","content":"B","reasoning_content":"hm",'
        b'"thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"}]},{"role":"user","content":"C"}]'
    ) == (
        b'"messages":[{"role":"user","content":"A"},{"role":"assistant","content":['
        b'{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"B"}]},'
        b'{"role":"user","content":"C"}]}'
    )


TOOLS = (
    b',"tools":[{"type":"function","function":{"name":"get","description":"Gets.","strict":true,'
    b'"parameters":{"type": "object"}}},{"type":"function","function":{"name":"now"}}]'
)
SENT_TOOLS = (
    b'"tools":[{"name":"get","description":"Gets.","input_schema":{"type": "object"},"strict":true},'
    b'{"name":"now","input_schema":{"type":"object","properties":{}}}]'
)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (b"", b""),
        (b',"tool_choice":"auto"', b',"tool_choice":{"type":"auto"}'),
        (b',"tool_choice":"none"', b',"tool_choice":{"type":"none"}'),
        (b',"tool_choice":"required"', b',"tool_choice":{"type":"any"}'),
        (
            b',"tool_choice":{"type":"function","function":{"name":"now"}}',
            b',"tool_choice":{"type":"tool","name":"now"}',
        ),
        (b',"parallel_tool_calls":true', b""),
        (b',"parallel_tool_calls":false', b',"tool_choice":{"type":"auto","disable_parallel_tool_use":true}'),
        (
            b',"tool_choice":"required","parallel_tool_calls":false',
            b',"tool_choice":{"type":"any","disable_parallel_tool_use":true}',
        ),
    ],
)
def test_tools_and_the_choice_among_them(choice: bytes, expected: bytes) -> None:
    body = sent(b',"messages":' + HELLO + TOOLS + choice)
    assert body.endswith(SENT_TOOLS + expected + b"}")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        (b',"n":2', "n"),
        (b',"logprobs":true', "logprobs"),
        (b',"top_logprobs":3', "top_logprobs"),
        (b',"seed":7', "seed"),
        (b',"logit_bias":{"50256":-100}', "logit_bias"),
        (b',"presence_penalty":0.5', "presence_penalty"),
        (b',"frequency_penalty":-1', "frequency_penalty"),
        (b',"temperature":1.5', "temperature"),
        (b',"temperature":"hot"', "temperature"),
        (b',"max_tokens":"many"', "max_tokens"),
        (b',"modalities":["text","audio"]', "modalities"),
        (b',"audio":{"voice":"x"}', "audio"),
        (b',"prediction":{"type":"content"}', "prediction"),
        (b',"web_search_options":{"a":1}', "web_search_options"),
        (b',"functions":[{"name":"x"}]', "functions"),
        (b',"service_tier":"flex"', "service_tier"),
        (b',"reasoning_effort":"minimal"', "reasoning_effort"),
        (b',"response_format":{"type":"json_object"}', "response_format.type"),
        (b',"something_new":1', "something_new"),
        (b',"tool_choice":"required"', "tool_choice"),
        (b',"tools":[{"type":"custom","custom":{"name":"x"}}]', "tools[0].type"),
        (b',"tools":7', "tools"),
        (TOOLS + b',"tool_choice":{"type":"allowed_tools"}', "tool_choice.type"),
        (TOOLS + b',"tool_choice":"maybe"', "tool_choice"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_name(members: bytes, param: str) -> None:
    with pytest.raises(UntranslatableRequest) as caught:
        sent(b',"messages":' + HELLO + members)
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (b"[]", "messages"),
        (b'"Hi"', "messages"),
        (b"[" * 100_000, "messages"),
        (b'[{"role":"system","content":"x"}]', "messages"),
        (b'[{"role":"assistant","content":"x"}]', "messages"),
        (b'[{"role":"user","content":""}]', "messages[0].content"),
        (b'[{"role":"user","content":[{"type":"text","text":""}]}]', "messages[0].content"),
        (b'[{"role":"user","content":"x","name":"Ann"}]', "messages[0].name"),
        (b'[{"role":"function","name":null,"content":"x"}]', "messages[0].role"),
        (b'[{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]', "messages[0].content[0].type"),
        (
            b'[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/tiff;base64,AA=="}}]}]',
            "messages[0].content[0].image_url.url",
        ),
        (
            b'[{"role":"user","content":[{"type":"image_url","image_url":{"url":"ftp://x/y.png"}}]}]',
            "messages[0].content[0].image_url.url",
        ),
        (
            b'[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png","detail":"low"}}]}]',
            "messages[0].content[0].image_url.detail",
        ),
        (b'[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]', "messages[0].content[0].file"),
        (b'[{"role":"user","content":"a"},{"role":"tool","content":"x"}]', "messages[1].tool_call_id"),
        (
            b'[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c","type":"function",'
            b'"function":{"name":"f","arguments":"[1"}}]}]',
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            b'[{"role":"user","content":"a"},{"role":"assistant","content":"b","function_call":{"name":"f"}}]',
            "messages[1].function_call",
        ),
    ],
)
def test_messages_that_cannot_be_translated_are_refused_by_name(messages: bytes, param: str) -> None:
    fields = {"model": msgspec.Raw(b'"smart"'), "messages": msgspec.Raw(messages)}
    with pytest.raises(UntranslatableRequest) as caught:
        WIRE.request(ModelCall(endpoint="chat.completions", model="smart", fields=fields), TARGET)
    assert caught.value.param == param


def test_anthropic_has_no_embeddings() -> None:
    assert WIRE.endpoints == {"chat.completions"}
    with pytest.raises(UntranslatableRequest):
        WIRE.request(ModelCall(endpoint="embeddings", model="smart", fields={}), TARGET)

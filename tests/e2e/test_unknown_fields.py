"""Fields that the gateway does not know pass through untouched, both ways."""

import json
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, TwinModels
    from tests.fixtures.twins import Twin


def test_unknown_request_fields_reach_the_provider_as_they_were_written(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", say: "Say"
) -> None:
    # Written by hand: a number that a float cannot hold and an order of members that a rewrite would lose.
    odd = '{"b": 12345678901234567890.123456789, "a": [1, 2.50, null], "ü": "\\u00fc"}'
    body = f'{{"model": "{twin_models.openai}", "x_odd": {odd}, "messages": {json.dumps(say("Hello"))}}}'
    answer = server.http.post(
        "/v1/chat/completions",
        content=body.encode(),
        headers={"authorization": f"Bearer {server.api_key}", "content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    assert odd in openai_twin.requests()[0]["body"]


def test_extra_body_of_the_sdk_reaches_the_provider(
    twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    for stream in (False, True):
        answer = sdk.chat.completions.create(
            model=twin_models.openai,
            messages=say("Hello"),
            stream=stream,
            extra_body={"x_setting": {"deep": [1, {"er": True}]}},
        )
        if isinstance(answer, openai.Stream):
            with answer:
                assert list(answer)
    for asked in openai_twin.requests():
        assert json.loads(asked["body"])["x_setting"] == {"deep": [1, {"er": True}]}


def test_unknown_response_fields_come_back(
    twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    completion = sdk.chat.completions.create(model=twin_models.openai, messages=say("Hello"))
    assert completion.model_extra == {"x_unknown": {"kept": True}}


def test_an_anthropic_model_refuses_what_it_has_no_counterpart_for(
    twin_models: "TwinModels", anthropic_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(model=twin_models.anthropic, messages=say("Hello"), logprobs=True)
    assert refused.value.code == "unsupported_parameter"
    assert refused.value.param == "logprobs"
    assert anthropic_twin.requests() == []

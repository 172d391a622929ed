"""What a chat holds besides text: tools, images and system prompts, at providers like OpenAI and at Anthropic's."""

import json
from typing import TYPE_CHECKING

import openai

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

    from tests.fixtures.server import Say, TwinModels
    from tests.fixtures.twins import Twin

_WEATHER: "ChatCompletionToolParam" = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_a_tool_goes_round_with_an_anthropic_model(
    twin_models: "TwinModels", anthropic_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    messages = say("Weather in Bonn?")
    first = sdk.chat.completions.create(
        model=twin_models.anthropic, messages=messages, tools=[_WEATHER], tool_choice="required"
    )
    assert first.choices[0].finish_reason == "tool_calls"
    calls = first.choices[0].message.tool_calls
    assert calls is not None
    call = calls[0]
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Bonn"}

    second = sdk.chat.completions.create(
        model=twin_models.anthropic,
        messages=[
            *messages,
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": "weather", "arguments": call.function.arguments},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": call.id, "content": "Rain."},
        ],
        tools=[_WEATHER],
    )
    # The twin refuses turns that do not alternate and results without their use.
    assert second.choices[0].finish_reason == "stop"
    asked = json.loads(anthropic_twin.requests()[-1]["body"])
    assert asked["tools"][0]["input_schema"] == _WEATHER["function"].get("parameters")
    assert asked["messages"][-1]["content"][0]["type"] == "tool_result"


def test_system_prompts_and_images_reach_an_anthropic_model_in_its_own_shape(
    twin_models: "TwinModels", anthropic_twin: "Twin", sdk: openai.OpenAI
) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}},
            ],
        },
    ]
    sdk.chat.completions.create(model=twin_models.anthropic, messages=messages, max_tokens=20, stop=["END"])
    asked = json.loads(anthropic_twin.requests()[0]["body"])
    assert "Be brief." in json.dumps(asked["system"])
    assert [message["role"] for message in asked["messages"]] == ["user"]
    image = asked["messages"][0]["content"][1]
    assert image["type"] == "image"
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": _PIXEL}
    assert asked["max_tokens"] == 20
    assert asked["stop_sequences"] == ["END"]


def test_an_openai_like_provider_gets_the_messages_as_they_were_sent(
    twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI
) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}}]},
    ]
    completion = sdk.chat.completions.create(
        model=twin_models.openai, messages=messages, tools=[_WEATHER], tool_choice="required"
    )
    asked = json.loads(openai_twin.requests()[0]["body"])
    assert asked["messages"] == messages
    assert asked["tools"] == [_WEATHER]
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].id == "call_twin"


def test_the_sandbox_calls_a_tool_when_it_must(sdk: openai.OpenAI, say: "Say") -> None:
    completion = sdk.chat.completions.create(
        model="sandbox-small", messages=say("Weather?"), tools=[_WEATHER], tool_choice="required"
    )
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert "city" in json.loads(calls[0].function.arguments)

"""Fallback: the next deployment serves when the first cannot, as long as the client has seen nothing of an answer."""

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, TwinModels
    from tests.fixtures.twins import Twin

Deploy = Callable[..., str]


@pytest.fixture
def model(server: "Server", twin_models: "TwinModels", openai_twin: "Twin") -> Iterator[str]:
    """A model that the OpenAI twin serves, and the sandbox when the twin cannot."""
    made = server.management.model(
        "resilient",
        {"provider": "openai-twin", "upstream_model": "gpt-4o-mini"},
        {"provider": "sandbox", "upstream_model": "sandbox-small", "weight": 0, "position": 1},
    )
    yield "resilient"
    server.management.delete(f"/models/{made['id']}")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 429}, {"status": 401}, {"status": 404}, {"garbage": True}, {"die_after": 0}]
)
def test_the_next_deployment_serves(
    *,
    fault: dict[str, Any],
    stream: bool,
    model: str,
    server: "Server",
    openai_twin: "Twin",
    sdk: openai.OpenAI,
    say: "Say",
) -> None:
    openai_twin.faults(**fault)
    answer = sdk.chat.completions.with_raw_response.create(model=model, messages=say("Hello"), stream=stream)
    read = answer.parse()
    if isinstance(read, openai.Stream):
        with read:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in read)
    else:
        text = read.choices[0].message.content or ""
    assert "sandbox" in text
    assert "twin" not in text
    assert answer.headers["x-auterity-model"] == model

    event = server.event(answer.headers["x-request-id"])
    assert [attempt["provider"] for attempt in event["attempts"]] == ["openai-twin", "sandbox"]
    assert event["attempts"][0]["error_code"]
    assert (event["outcome"], event["provider"], event["price_source"]) == ("ok", "sandbox", "sandbox")


def test_what_the_client_got_wrong_is_not_tried_elsewhere(
    model: str, server: "Server", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(model=model, messages=say("Hello"), temperature=9)
    assert refused.value.request_id is not None
    assert len(server.event(refused.value.request_id)["attempts"]) == 1


def test_nothing_is_tried_again_once_a_chunk_is_out(
    model: str, server: "Server", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    openai_twin.faults(die_after=4)
    answer = sdk.chat.completions.with_raw_response.create(model=model, messages=say("Hello"), stream=True)
    with answer.parse() as stream:
        assert next(stream).choices
        with pytest.raises(openai.APIError):
            list(stream)
    event = server.event(answer.headers["x-request-id"])
    assert [attempt["provider"] for attempt in event["attempts"]] == ["openai-twin"]
    assert event["outcome"] == "interrupted"


def test_a_provider_that_is_away_costs_one_try(server: "Server", sdk: openai.OpenAI, say: "Say") -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    manage = server.management
    provider = manage.provider(
        "away", "openai_compatible", f"http://127.0.0.1:{port}/v1", api_key="k-1234", price_provider="openai"
    )
    made = manage.model(
        "half-away",
        {"provider": "away", "upstream_model": "gpt-4o-mini"},
        {"provider": "sandbox", "upstream_model": "sandbox-small", "weight": 0},
    )
    answer = sdk.chat.completions.with_raw_response.create(model="half-away", messages=say("Hello"))
    attempts = server.event(answer.headers["x-request-id"])["attempts"]
    assert [(attempt["provider"], attempt["status"]) for attempt in attempts] == [("away", 0), ("sandbox", 200)]
    manage.delete(f"/models/{made['id']}")
    manage.delete(f"/providers/{provider['id']}")


def test_both_twins_stand_in_for_one_another(
    *,
    server: "Server",
    twin_models: "TwinModels",
    openai_twin: "Twin",
    anthropic_twin: "Twin",
    sdk: openai.OpenAI,
    say: "Say",
) -> None:
    made = server.management.model(
        "either",
        {"provider": "anthropic-twin", "upstream_model": "claude-sonnet-4-5", "max_output_tokens": 100},
        {"provider": "openai-twin", "upstream_model": "gpt-4o-mini", "weight": 0, "position": 1},
    )
    anthropic_twin.faults(status=529)
    completion = sdk.chat.completions.create(model="either", messages=say("Hello"))
    assert "OpenAI twin" in (completion.choices[0].message.content or "")
    server.management.delete(f"/models/{made['id']}")

"""Metering: what the SDK saw, the event, the roll-ups and the command line agree to the nano-dollar."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, TwinModels
    from tests.fixtures.twins import Twin

NANO = 10**9


def test_sdk_event_rollups_and_command_line_agree(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", say: "Say"
) -> None:
    key = server.management.key(name="metered", tags={"team": "blue"})
    client = server.sdk(key["secret"])
    seen: dict[str, int] = {}
    for model in ("sandbox-small", "sandbox-large", twin_models.openai):
        for index in range(3):
            answer = client.chat.completions.with_raw_response.create(
                model=model,
                messages=say(f"Question {index}"),
                user="someone",
                metadata={"project": "apollo"},
                extra_headers={"x-auterity-tags": "stage=test"},
            )
            seen[answer.headers["x-request-id"]] = int(Decimal(answer.headers["x-auterity-cost"]) * NANO)
    refused = server.sdk(key["secret"])
    with pytest.raises(openai.NotFoundError):
        refused.chat.completions.create(model="no-such-model", messages=say("Hello"))

    events = server.events(10, key=key["id"])
    assert len(events) == 10
    served = {event["request_id"]: event["cost_nano"] for event in events if event["outcome"] == "ok"}
    assert served == seen
    for event in events:
        if event["outcome"] == "ok":
            assert event["tags"] == {"team": "blue", "project": "apollo", "stage": "test"}
            assert event["end_user"] == "someone"
            assert event["cost_nano"] == Decimal(event["cost_usd"]) * NANO
            assert 0 < event["overhead_us"] <= event["latency_us"]

    report = server.usage(group_by=["model", "outcome"], key=key["id"])
    assert report["source"] == "rollups"
    assert report["totals"]["calls"] == 10
    assert report["totals"]["cost_nano"] == sum(seen.values())
    assert {row["group"]["model"]: row["calls"] for row in report["items"] if row["group"]["outcome"] == "ok"} == {
        "sandbox-small": 3,
        "sandbox-large": 3,
        twin_models.openai: 3,
    }
    by_tag = server.usage(group_by="tag:team", key=key["id"])
    assert by_tag["source"] == "events"
    assert by_tag["totals"]["cost_nano"] == sum(seen.values())

    told = server.cli("usage", "--json", "--by", "model", "--key", "metered")
    assert told.returncode == 0, told.stderr
    shown = json.loads(told.stdout)
    assert shown["totals"]["calls"] == 10
    assert shown["totals"]["cost_nano"] == sum(seen.values())


def test_tokens_of_each_kind_are_priced_by_their_own_price(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    answer = sdk.chat.completions.with_raw_response.create(model=twin_models.openai, messages=say("Hello"))
    usage = answer.parse().usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    cached = usage.prompt_tokens_details.cached_tokens
    assert cached == 2
    event = server.event(answer.headers["x-request-id"])
    assert event["cache_read_tokens"] == cached
    assert event["reasoning_tokens"] == 1
    # gpt-4o-mini: $0.15, $0.075 (cached) and $0.60 for a million tokens.
    cost = (usage.prompt_tokens - cached) * 150 + cached * 75 + usage.completion_tokens * 600
    assert event["cost_nano"] == cost
    assert event["price_version"]


def test_anthropic_totals_hold_what_was_cached(
    server: "Server", twin_models: "TwinModels", anthropic_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    answer = sdk.chat.completions.with_raw_response.create(model=twin_models.anthropic, messages=say("Hello"))
    event = server.event(answer.headers["x-request-id"])
    assert (event["cache_write_tokens"], event["cache_read_tokens"], event["output_tokens"]) == (3, 4, 10)
    fresh = event["input_tokens"] - 7
    # claude-sonnet-4-5: $3, $3.75 (cache write), $0.30 (cache read) and $15 for a million tokens.
    assert event["cost_nano"] == fresh * 3000 + 3 * 3750 + 4 * 300 + 10 * 15000


def test_usage_that_the_provider_does_not_tell_is_estimated_and_says_so(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    openai_twin.faults(no_usage=True)
    answer = sdk.chat.completions.with_raw_response.create(
        model=twin_models.openai, messages=say("Hello"), stream=True, stream_options={"include_usage": True}
    )
    with answer.parse() as stream:
        *_, last = list(stream)
    assert last.usage is not None
    event = server.event(answer.headers["x-request-id"])
    assert event["tokens_estimated"]
    assert event["output_tokens"] == last.usage.completion_tokens > 0
    assert event["cost_nano"] > 0


def test_refused_calls_are_recorded_for_those_whose_key_is_known(server: "Server", say: "Say") -> None:
    key = server.management.key(requests_per_minute=1, allowed_models=["sandbox-small"])
    client = server.sdk(key["secret"])
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="sandbox-large", messages=say("Hello"))
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    events = server.events(2, key=key["id"])
    assert {event["error_code"] for event in events} == {"model_not_allowed", "rate_limit_exceeded"}
    assert all(event["cost_nano"] == 0 and event["outcome"] == "error" for event in events)


def test_prices_of_ones_own_apply_to_the_next_call(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI, say: "Say"
) -> None:
    manage = server.management
    made = manage.model("our-own", {"provider": "openai-twin", "upstream_model": "our-own-1"})
    overlay = manage.post("/prices/overlays", upstream_model="our-own-1", prices={"input": "1", "output": "2"})
    answer = sdk.chat.completions.with_raw_response.create(model="our-own", messages=say("Hello"))
    usage = answer.parse().usage
    assert usage is not None
    event = server.event(answer.headers["x-request-id"])
    assert event["price_source"] == "overlay"
    assert event["cost_nano"] == usage.prompt_tokens * 1000 + usage.completion_tokens * 2000
    manage.delete(f"/prices/overlays/{overlay['id']}")
    manage.delete(f"/models/{made['id']}")


def test_events_come_as_csv_and_in_pages(server: "Server", say: "Say") -> None:
    key = server.management.key()
    client = server.sdk(key["secret"])
    for index in range(3):
        client.chat.completions.create(model="sandbox-small", messages=say(str(index)))
    server.events(3, key=key["id"])
    collected: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.management.get("/usage/events", key=key["id"], limit=2, **cursor)
        collected += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len({event["id"] for event in collected}) == 3
    moments = [event["time"] for event in collected]
    assert moments == sorted(moments, reverse=True)
    assert datetime.fromisoformat(moments[0]).tzinfo is not None
    assert datetime.fromisoformat(moments[0]) <= datetime.now(UTC)
    table = server.management.client.get("/usage/events", params={"key": key["id"], "format": "csv"})
    assert table.headers["content-type"].startswith("text/csv")
    assert len(table.text.splitlines()) == 4

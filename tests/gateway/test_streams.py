"""Streams: forwarded as they come, metered always, and ended honestly whatever happens."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from auterity.engines.http.port import FailureKind, TransportError

Bench = Any
Scripted = Callable[..., Any]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}
ASKING = {**CHAT, "stream_options": {"include_usage": True}}
DONE = b"data: [DONE]\n\n"
BROKEN = TransportError(FailureKind.BROKEN, "x")


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c1", "created": 5, "model": "up", "choices": [choice]}).encode() + b"\n\n"


USAGE = (
    b'data: {"id":"c1","created":5,"model":"up","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,'
    b'"total_tokens":12}}\n\n'
)
CONTENT = (chunk("Hel"), chunk("lo"), chunk("", "stop"))


def events(pieces: Sequence[bytes]) -> list[Any]:
    """The data of each event."""
    frames = b"".join(pieces).decode().split("\n\n")
    return [json.loads(frame[6:]) if frame[6:] != "[DONE]" else "[DONE]" for frame in frames if frame]


async def test_chunks_go_out_one_by_one_as_they_come(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, *CONTENT, USAGE, DONE))
    heard = await bench.send(CHAT)
    assert heard.pieces == [*CONTENT, DONE]
    assert heard.headers["content-type"].startswith("text/event-stream")
    assert heard.headers["x-auterity-model"] == "m"


async def test_the_usage_chunk_is_shown_to_who_asked_for_it_and_tells_the_cost(
    bench: Bench, scripted: Scripted
) -> None:
    bench.plays(scripted(200, *CONTENT, USAGE, DONE))
    *content, usage, done = events((await bench.send(ASKING)).pieces)
    assert len(content) == 3
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    assert usage["x_auterity"] == {"cost": "0.000014", "currency": "USD"}


async def test_usage_is_always_asked_of_the_provider(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, *CONTENT, USAGE, DONE))
    await bench.send(CHAT)
    assert json.loads(bench.provider.requests[0].body)["stream_options"] == {"include_usage": True}


async def test_a_stream_is_metered_and_recorded_before_its_end(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, *CONTENT, USAGE, DONE))
    heard = await bench.send(CHAT)
    event = bench.ledger.event
    assert heard.recorded_before_end
    assert (event.stream, event.input_tokens, event.output_tokens, event.cost_nano) == (True, 10, 2, 14_000)
    assert 0 < event.first_byte_us <= event.latency_us
    assert not event.tokens_estimated


async def test_a_usage_chunk_is_made_where_the_provider_sends_none(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, *CONTENT, DONE))
    *_, usage, done = events((await bench.send(ASKING)).pieces)
    assert done == "[DONE]"
    assert (usage["id"], usage["created"], usage["choices"]) == ("c1", 5, [])
    assert usage["usage"]["completion_tokens"] > 0
    assert usage["x_auterity"]["estimated"] is True
    assert bench.ledger.event.tokens_estimated


@pytest.mark.parametrize("ending", [(), (BROKEN,)])
async def test_a_provider_that_dies_mid_stream_gives_an_error_event(
    bench: Bench, scripted: Scripted, ending: tuple[Any, ...]
) -> None:
    bench.plays(scripted(200, *CONTENT[:2], *ending))
    heard = await bench.send(CHAT)
    assert heard.status == 200
    *content, error = events(heard.pieces)
    assert len(content) == 2
    assert error["error"]["code"] == "provider_unavailable"
    assert heard.complete
    event = bench.ledger.event
    assert (event.outcome, event.error_code, event.status) == ("interrupted", "provider_unavailable", 200)
    assert event.tokens_estimated
    assert event.cost_nano > 0


async def test_an_error_event_of_the_provider_ends_the_stream(bench: Bench, scripted: Scripted) -> None:
    error = b'data: {"error":{"message":"overloaded","type":"server_error","code":"overloaded"}}\n\n'
    bench.plays(scripted(200, CONTENT[0] + error))
    *content, last = events((await bench.send(CHAT)).pieces)
    assert len(content) == 1
    assert "error" in last
    assert bench.ledger.event.outcome == "interrupted"


@pytest.mark.parametrize(
    "failing",
    [
        (TransportError(FailureKind.CONNECT, "x"),),
        (503, b"{}"),
        (200, BROKEN),
        (200,),
        (200, b'data: {"error":{"message":"no"}}\n\n'),
    ],
)
async def test_before_the_first_chunk_the_next_deployment_takes_over(
    bench: Bench, scripted: Scripted, failing: tuple[Any, ...]
) -> None:
    bench.model(bench.deployment("first", weight=1), bench.deployment("second", weight=0))
    bench.plays(scripted(*failing), scripted(200, *CONTENT, USAGE, DONE))
    heard = await bench.send(CHAT)
    assert heard.pieces == [*CONTENT, DONE]
    assert (bench.ledger.event.deployment_id, bench.ledger.event.outcome) == ("second", "ok")


PLAIN = b'{"id":"c1","object":"chat.completion","choices":[{"index":0,"message":{"content":"Hello"}}]}'
JSON = {b"content-type": b"application/json; charset=utf-8"}


async def test_a_plain_answer_to_a_stream_is_the_providers_failure_and_says_so(
    bench: Bench, scripted: Scripted
) -> None:
    bench.plays(scripted(200, PLAIN[:20], PLAIN[20:], headers=JSON))
    heard = await bench.send(CHAT)
    assert heard.status == 503
    error = heard.json()["error"]
    assert error["code"] == "provider_unavailable"
    assert "plain JSON, where a stream was asked for" in error["message"]
    event = bench.ledger.event
    assert (event.outcome, event.status, event.cost_nano) == ("error", 503, 0)


async def test_after_a_plain_answer_to_a_stream_the_next_deployment_takes_over(
    bench: Bench, scripted: Scripted
) -> None:
    bench.model(bench.deployment("first", weight=1), bench.deployment("second", weight=0))
    bench.plays(scripted(200, PLAIN, headers=JSON), scripted(200, *CONTENT, USAGE, DONE))
    assert (await bench.send(CHAT)).pieces == [*CONTENT, DONE]
    assert bench.ledger.event.deployment_id == "second"


async def test_a_stream_that_calls_itself_json_is_a_stream(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, *CONTENT, USAGE, DONE, headers=JSON))
    assert (await bench.send(CHAT)).pieces == [*CONTENT, DONE]


async def test_after_the_first_chunk_nothing_is_tried_again(bench: Bench, scripted: Scripted) -> None:
    bench.model(bench.deployment("first", weight=1), bench.deployment("second", weight=0))
    bench.plays(scripted(200, CONTENT[0], BROKEN), scripted(200, *CONTENT, USAGE, DONE))
    await bench.send(CHAT)
    assert len(bench.provider.requests) == 1


async def test_when_nothing_can_stream_the_answer_is_a_plain_error(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(500, b"oops"))
    heard = await bench.send(CHAT)
    assert heard.status == 503
    assert heard.headers["content-type"] == "application/json"


@pytest.mark.parametrize("leave_after", [0, 1, 2])
async def test_a_client_that_leaves_ends_the_providers_stream_at_once(
    bench: Bench, scripted: Scripted, leave_after: int
) -> None:
    answer = scripted(200, *CONTENT[:leave_after], "wait")
    bench.plays(answer)
    await bench.send(CHAT, leave_after=leave_after)
    assert answer.aborted


@pytest.mark.parametrize("leave_after", [0, 1, 2])
async def test_a_cancelled_stream_is_still_billed(bench: Bench, scripted: Scripted, leave_after: int) -> None:
    bench.plays(scripted(200, *CONTENT[:leave_after], "wait"))
    await bench.send(CHAT, leave_after=leave_after)
    event = bench.ledger.event
    assert (event.outcome, event.status, event.tokens_estimated) == ("cancelled", 499, True)
    assert event.output_tokens == leave_after
    assert event.cost_nano == event.input_tokens * 1000 + leave_after * 2000 > 0
    assert [attempt.error_code for attempt in event.attempts] == ["cancelled"]


async def test_a_finished_stream_gives_its_connection_back(bench: Bench, scripted: Scripted) -> None:
    answer = scripted(200, *CONTENT, USAGE, DONE)
    bench.plays(answer)
    await bench.send(CHAT)
    assert answer.complete
    assert not answer.aborted


async def test_bytes_cut_anywhere_make_the_same_stream(bench: Bench, scripted: Scripted) -> None:
    whole = b"".join((*CONTENT, USAGE, DONE))
    bench.plays(scripted(200, *(whole[i : i + 1] for i in range(len(whole)))))
    heard = await bench.send(CHAT)
    assert heard.body == b"".join((*CONTENT, DONE))


async def test_what_the_budget_held_is_settled_when_the_client_leaves(bench: Bench, scripted: Scripted) -> None:
    bench.key = dataclasses.replace(bench.key, monthly_budget_nano=10_000_000)
    bench.plays(scripted(200, CONTENT[0], "wait"))
    await bench.send(CHAT, leave_after=1)
    budget = f"budget:key_1:{datetime.now(UTC):%Y-%m}"
    assert await bench.counters.spent(budget) == bench.ledger.event.cost_nano

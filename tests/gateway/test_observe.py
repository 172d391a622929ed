"""Operators see every call in the metrics."""

from collections.abc import Callable
from typing import Any

Bench = Any
Scripted = Callable[..., Any]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5}}'


def sample(page: str, line: str) -> float:
    (value,) = [row.rpartition(" ")[2] for row in page.splitlines() if row.startswith(line)]
    return float(value)


async def test_a_served_call_counts_with_its_tokens_and_cost(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, ANSWER))
    await bench.send(CHAT)
    page = bench.metrics.render()
    labels = '{endpoint="chat.completions",model="m",provider="acme",outcome="ok",status="200"}'
    assert sample(page, f"auterity_calls_total{labels}") == 1
    assert sample(page, 'auterity_tokens_total{model="m",direction="input"}') == 10
    assert sample(page, 'auterity_cost_dollars_total{model="m"}') == 0.00002
    assert sample(page, 'auterity_call_seconds_count{endpoint="chat.completions"}') == 1
    assert sample(page, "auterity_calls_in_flight") == 0


async def test_a_refused_call_counts_by_its_code_and_not_by_what_it_asked_for(bench: Bench) -> None:
    await bench.send({**CHAT, "model": "made-up-by-the-caller"})
    page = bench.metrics.render()
    assert sample(page, 'auterity_errors_total{code="model_not_found"}') == 1
    assert "made-up-by-the-caller" not in page


async def test_attempts_count_by_provider(bench: Bench, scripted: Scripted) -> None:
    bench.model(bench.deployment("a", weight=1), bench.deployment("b", weight=0))
    bench.plays(scripted(500, b""), scripted(200, ANSWER))
    await bench.send(CHAT)
    page = bench.metrics.render()
    assert sample(page, 'auterity_provider_attempts_total{provider="acme",error="provider_error"}') == 1
    assert sample(page, 'auterity_provider_attempts_total{provider="acme",error=""}') == 1


async def test_a_call_is_told_as_a_trace_that_goes_on_at_the_provider(bench: Bench, scripted: Scripted) -> None:
    bench.tracer.on = True
    bench.model(bench.deployment("a", weight=1), bench.deployment("b", weight=0))
    bench.plays(scripted(500, b""), scripted(200, ANSWER))
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await bench.send(CHAT, headers={"traceparent": caller})
    (facts,) = bench.tracer.calls
    assert (facts.trace.trace_id, facts.trace.parent_id) == (caller[3:35], caller[36:52])
    for request in bench.provider.requests:
        assert dict(request.headers)[b"traceparent"] == facts.trace.traceparent.encode()
    assert [(attempt.deployment_id, attempt.status) for attempt in facts.attempts] == [("a", 500), ("b", 200)]
    assert facts.started_us <= facts.attempts[0].started_us <= facts.attempts[1].started_us <= facts.ended_us
    assert (facts.operation, facts.input_tokens, facts.cost_nano) == ("chat", 10, 20_000)


async def test_without_a_collector_of_traces_nothing_is_added_to_requests(bench: Bench, scripted: Scripted) -> None:
    bench.plays(scripted(200, ANSWER))
    await bench.send(CHAT)
    assert b"traceparent" not in dict(bench.provider.requests[0].headers)

"""Rates and hard budgets hold, also for calls that come together."""

import asyncio
import dataclasses
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from auterity.engines.counters.port import CountersUnavailable, RateDecision, ReservationDecision

Bench = Any
Scripted = Callable[..., Any]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5}}'
COST = 20_000


def with_budget(bench: Bench, nano: int) -> str:
    bench.key = dataclasses.replace(bench.key, monthly_budget_nano=nano)
    return f"budget:{bench.key.id}:{datetime.now(UTC):%Y-%m}"


async def test_over_the_rate_calls_are_refused_with_the_time_to_wait(bench: Bench, scripted: Scripted) -> None:
    bench.key = dataclasses.replace(bench.key, requests_per_minute=2)
    bench.plays(scripted(200, ANSWER), scripted(200, ANSWER))
    first, second, third = [await bench.send(CHAT) for _ in range(3)]
    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert re.fullmatch(r"(\d+m)?[\d.]+m?s", third.headers["x-ratelimit-reset-requests"])


async def test_a_call_over_the_rate_is_recorded_with_the_keys_tags(bench: Bench) -> None:
    bench.key = dataclasses.replace(bench.key, requests_per_minute=0, tags={"team": "search"})
    await bench.send(CHAT)
    event = bench.ledger.event
    assert (event.status, event.error_code, event.tags) == (429, "rate_limit_exceeded", {"team": "search"})


async def test_over_the_budget_calls_are_refused_before_they_go_out(bench: Bench) -> None:
    with_budget(bench, 1000)
    heard = await bench.send(CHAT)
    assert (heard.status, heard.json()["error"]["code"]) == (402, "budget_exceeded")
    assert "$0.000001" in heard.json()["error"]["message"]
    assert bench.provider.requests == []


async def test_after_the_call_the_budget_knows_the_true_cost(bench: Bench, scripted: Scripted) -> None:
    budget = with_budget(bench, 10_000_000)
    bench.plays(scripted(200, ANSWER))
    await bench.send(CHAT)
    assert await bench.counters.spent(budget) == COST


async def test_a_failed_call_gives_back_what_was_held(bench: Bench, scripted: Scripted) -> None:
    budget = with_budget(bench, 10_000_000)
    bench.plays(scripted(400, b"{}"))
    await bench.send(CHAT)
    assert await bench.counters.spent(budget) == 0


async def test_what_was_spent_before_this_process_counts(bench: Bench) -> None:
    with_budget(bench, 10_000_000)
    bench.spent = 9_999_999
    assert (await bench.send(CHAT)).status == 402


async def test_calls_that_come_together_never_overspend(bench: Bench, scripted: Scripted) -> None:
    limit = 1_000_000
    budget = with_budget(bench, limit)
    bench.plays(*(scripted(200, ANSWER) for _ in range(200)))
    heard = await asyncio.gather(*(bench.send(CHAT) for _ in range(200)))
    served = sum(each.status == 200 for each in heard)
    assert {each.status for each in heard} == {200, 402}
    assert await bench.counters.spent(budget) == served * COST <= limit


async def test_free_models_stay_usable_when_nothing_is_left(bench: Bench, scripted: Scripted) -> None:
    with_budget(bench, 0)
    bench.model(bench.deployment(price=None), allow_unpriced=True)
    bench.plays(scripted(200, ANSWER))
    assert (await bench.send(CHAT)).status == 200


class Away:
    """Shared counters that cannot be reached."""

    async def take(self, *_: object) -> RateDecision:
        raise CountersUnavailable("away")

    async def reserve(self, *_: object) -> ReservationDecision:
        raise CountersUnavailable("away")

    async def settle(self, *_: object) -> None:
        raise CountersUnavailable("away")


async def test_without_the_shared_counters_rates_hold_locally_and_budgets_refuse(
    bench: Bench, scripted: Scripted
) -> None:
    bench.counters = Away()
    bench.key = dataclasses.replace(bench.key, requests_per_minute=1000)
    bench.plays(scripted(200, ANSWER))
    assert (await bench.send(CHAT)).status == 200
    with_budget(bench, 10_000_000)
    assert (await bench.send(CHAT)).status == 503

"""A hard budget is never overspent, however many calls come at once."""

import asyncio
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server

CALLS = 200
TEXT = "[[sandbox latency=0.5 tokens=40]] Hello"


async def _burst(server: "Server", secret: str, say: "Say") -> tuple[int, int]:
    """Make all calls at once; how many were served and how many refused for want of money."""

    async def call(client: openai.AsyncOpenAI) -> int:
        try:
            await client.chat.completions.create(model="sandbox-small", messages=say(TEXT), max_tokens=60)
        except openai.APIStatusError as refused:
            return refused.status_code
        return 200

    async with server.async_sdk(secret) as client:
        statuses = await asyncio.gather(*(call(client) for _ in range(CALLS)))
    return statuses.count(200), statuses.count(402)


async def _overspend_nothing(server: "Server", say: "Say") -> None:
    probe = server.sdk().chat.completions.with_raw_response.create(
        model="sandbox-small", messages=say(TEXT), max_tokens=60
    )
    cost = server.event(probe.headers["x-request-id"])["cost_nano"]
    budget = cost * 40
    key = server.management.key(monthly_budget_usd=f"{budget / 1e9:.9f}")

    served, refused = await _burst(server, key["secret"], say)
    assert served + refused == CALLS
    assert 0 < served <= 40
    # What was set aside and not spent is free again: more calls fit in, one after another, and then no more.
    more, _ = await _burst(server, key["secret"], say)
    assert served + more <= 40

    events = server.events(2 * CALLS, key=key["id"])
    spent = sum(event["cost_nano"] for event in events)
    assert spent == cost * (served + more)
    assert spent <= budget
    assert server.usage(key=key["id"])["totals"]["cost_nano"] == spent


async def test_two_hundred_concurrent_calls_overspend_nothing(server: "Server", say: "Say") -> None:
    await _overspend_nothing(server, say)


async def test_two_workers_share_one_budget(two_workers: "Server", say: "Say") -> None:
    await _overspend_nothing(two_workers, say)


def test_a_raised_budget_counts_at_once(server: "Server", say: "Say") -> None:
    key = server.management.key(monthly_budget_usd="0")
    client = server.sdk(key["secret"])
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="sandbox-small", messages=say("Hello"))
    assert refused.value.status_code == 402
    server.management.patch(f"/keys/{key['id']}", monthly_budget_usd="1")
    assert client.chat.completions.create(model="sandbox-small", messages=say("Hello")).choices

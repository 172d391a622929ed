"""Usage over HTTP: who may, which parameters, money, pages and CSV."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from fastapi import APIRouter

from auterity.engines.database.sessions import Database
from auterity.kit.clock import ManualClock
from auterity.kit.money import format_dollars
from auterity.platform.usage.collector import Collector
from auterity.platform.usage.endpoints import router
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.generator import EventGenerator
from auterity.platform.usage.service import UsageService

Authorization = Callable[..., Awaitable[dict[str, str]]]


@pytest_asyncio.fixture
async def events(
    tenant_id: str,
    write: Callable[[Sequence[UsageEvent]], None],
    new_collector: Callable[..., Collector],
) -> list[UsageEvent]:
    made = EventGenerator(tenants=(tenant_id,)).events(60)
    made[0] = EventGenerator(tenants=(tenant_id,)).event(end_user="=2+5", cost_nano=1)
    write(made)
    await new_collector().collect_once()
    return made


@pytest_asyncio.fixture
async def client(
    database: Database,
    store: Path,
    tenant_id: str,
    api_client: Callable[[APIRouter], httpx2.AsyncClient],
    authorization_of: Authorization,
) -> AsyncIterator[httpx2.AsyncClient]:
    service = UsageService(database, store, clock=ManualClock(datetime(2026, 11, 25, tzinfo=UTC)))
    client = api_client(router(service))
    client.headers.update(await authorization_of(tenant_id, "finance"))
    yield client
    await service.close()


async def test_a_report_tells_what_was_used_and_what_it_cost(
    client: httpx2.AsyncClient, events: list[UsageEvent]
) -> None:
    answer = await client.get("/usage", params={"group_by": "model,day", "model": ["gpt-5-mini", "claude-haiku"]})
    report = answer.json()
    chosen = [event for event in events if event.model != "sandbox-small"]
    cost = sum(event.cost_nano for event in chosen)
    assert (report["totals"]["calls"], report["totals"]["cost_nano"]) == (len(chosen), cost)
    assert report["totals"]["cost_usd"] == format_dollars(cost)
    assert report["source"] == "rollups"
    assert report["period"] == {"begin": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"}
    assert [row["group"] for row in report["items"]] == [
        {"model": model, "day": "2026-11-22"} for model in ("claude-haiku", "gpt-5-mini")
    ]
    assert sum(row["cost_nano"] for row in report["items"]) == cost


async def test_periods_may_be_days_or_moments(client: httpx2.AsyncClient, events: list[UsageEvent]) -> None:
    day = await client.get("/usage", params={"from": "2026-11-22", "to": "2026-11-23"})
    moments = await client.get("/usage", params={"from": "2026-11-22T01:00:00+01:00", "to": "2026-11-23T00:00:00Z"})
    assert day.json()["totals"]["calls"] == len(events)
    assert day.json()["totals"] == moments.json()["totals"]
    before = await client.get("/usage", params={"to": "2026-11-22"})
    assert (before.json()["totals"]["calls"], before.json()["totals"]["latency_us_mean"]) == (0, None)


async def test_tags_narrow_and_group(client: httpx2.AsyncClient, events: list[UsageEvent]) -> None:
    both = await client.get(
        "/usage", params={"tag": ["team:ads", "team:search", "env:prod"], "group_by": "tag:team", "limit": 1}
    )
    assert both.json()["totals"]["calls"] == len(events)
    assert [row["group"]["tag:team"] for row in both.json()["items"]] == ["ads"]
    rest = await client.get("/usage", params={"group_by": "tag:team", "cursor": both.json()["next_cursor"]})
    assert [row["group"]["tag:team"] for row in rest.json()["items"]] == ["search"]


async def test_events_are_listed_and_shown(client: httpx2.AsyncClient, events: list[UsageEvent]) -> None:
    newest = max(events, key=lambda event: (event.time_us, event.id))
    listed = (await client.get("/usage/events", params={"limit": 2})).json()
    assert listed["items"][0]["id"] == newest.id
    assert listed["items"][0]["tags"] == newest.tags
    assert listed["items"][0]["cost_usd"] == format_dollars(newest.cost_nano)
    assert "tenant_id" not in listed["items"][0]
    assert listed["next_cursor"]
    missing = await client.get("/usage/events/evt_" + "0" * 32)
    assert (missing.status_code, missing.json()["code"]) == (404, "usage_event_not_found")


async def test_all_pages_come_as_csv(client: httpx2.AsyncClient, events: list[UsageEvent]) -> None:
    answer = await client.get("/usage/events", params={"limit": 7}, headers={"accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert sorted(row["id"] for row in rows) == sorted(event.id for event in events)
    assert next(row for row in rows if row["id"] == events[0].id)["end_user"] == "'=2+5"

    report = await client.get("/usage", params={"group_by": "key,model", "limit": 2, "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(report.text)))
    assert sum(int(row["cost_nano"]) for row in rows) == sum(event.cost_nano for event in events)
    totals = await client.get("/usage", params={"format": "csv"})
    assert len(list(csv.DictReader(io.StringIO(totals.text)))) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"group_by": "colour"},
        {"tag": "team"},
        {"from": "yesterday"},
        {"from": "2026-11-22", "to": "2026-11-21"},
        {"cursor": "rubbish", "group_by": "model"},
        {"limit": "0"},
        {"format": "xml"},
        {"modle": "gpt-5-mini"},
        {"model": "a\0b"},
    ],
)
async def test_a_parameter_that_cannot_be_is_refused(client: httpx2.AsyncClient, query: dict[str, str]) -> None:
    answer = await client.get("/usage", params=query)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_only_who_may_read_usage_sees_it(
    client: httpx2.AsyncClient, events: list[UsageEvent], other_tenant_id: str, authorization_of: Authorization
) -> None:
    theirs = await authorization_of(other_tenant_id, "owner")
    assert (await client.get("/usage", headers=theirs)).json()["totals"]["calls"] == 0
    assert (await client.get("/usage/events", headers=theirs)).json()["items"] == []
    assert (await client.get("/usage", headers={"authorization": ""})).status_code == 401

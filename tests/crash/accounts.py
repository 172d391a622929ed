"""The comparison: what clients were answered, against the event store, the roll-ups and the command line."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from auterity.engines.database.connection import connect
from auterity.engines.database.sessions import Database
from auterity.platform.usage.backlog import Backlog
from tests.crash.node import Node
from tests.crash.traffic import Call

__all__ = ["Account", "collected", "compare"]

_PATIENCE_S = 60.0
_SUMS = ("calls", "cost_nano", "input_tokens", "output_tokens")
_PERIOD_DAYS = 2


@dataclass(frozen=True, slots=True)
class Account:
    """What was compared, and found equal."""

    answered: int
    unanswered: int
    of_them_recorded: int
    """Unanswered calls that have an event all the same: they were cut off after they had been recorded."""
    events: int
    cost_nano: int

    def __str__(self) -> str:
        return (
            f"{self.answered} answered, {self.unanswered} not ({self.of_them_recorded} of these recorded); "
            f"{self.events} events, {self.cost_nano} nano-dollars in each place"
        )


async def collected(node: Node) -> None:
    """Return once all that is in the spool now is in the roll-ups.

    Raises:
        TimeoutError: it is not within a minute.
    """
    backlog = Backlog.take(node.home / "spool")
    database = Database(node.database_url, pool_size=1)
    try:
        if not await backlog.wait(database, seconds=_PATIENCE_S):
            raise TimeoutError("the spool was not collected")
    finally:
        await database.close()


async def compare(node: Node, calls: Sequence[Call]) -> Account:
    """Hold every place where a call is recorded against what the clients saw.

    Args:
        calls: all calls ever sent to this home.

    Raises:
        AssertionError: a place disagrees.
    """
    await collected(node)
    events, hourly, daily, report, told = await asyncio.gather(
        asyncio.to_thread(_events, node),
        _rolled_up(node, "usage_hourly"),
        _rolled_up(node, "usage_daily"),
        asyncio.to_thread(_report, node),
        asyncio.to_thread(_command_line, node),
    )
    ids = Counter(event["id"] for event in events)
    assert not [each for each, count in ids.items() if count > 1], "an event is there twice"
    by_tag = {str(event["tags"]["n"]): event for event in events}
    assert len(by_tag) == len(events), "a call has two events"
    known = {call.tag: call for call in calls}
    assert len(known) == len(calls), "two calls had the same tag"
    assert by_tag.keys() <= known.keys(), "there are events of calls that nobody made"
    answered = [call for call in calls if call.done]
    lost = [call.tag for call in answered if call.tag not in by_tag]
    assert not lost, f"{len(lost)} of {len(answered)} answered calls have no event: {lost[:5]}"
    for call in answered:
        event = by_tag[call.tag]
        assert (event["outcome"], event["status"]) == ("ok", 200), f"an answered call is recorded as {event}"
        assert call.cost_nano == event["cost_nano"], f"{call} and {event} do not agree on the cost"
    sums = {name: len(events) if name == "calls" else sum(event[name] for event in events) for name in _SUMS}
    for place, found in (("hourly", hourly), ("daily", daily), ("API", report), ("auterity usage", told)):
        assert {name: found[name] for name in _SUMS} == sums, f"{place} does not agree with the event store"
    assert hourly == daily, "the roll-ups do not agree with each other"
    unanswered = [call for call in calls if not call.done]
    return Account(
        answered=len(answered),
        unanswered=len(unanswered),
        of_them_recorded=sum(call.tag in by_tag for call in unanswered),
        events=len(events),
        cost_nano=sums["cost_nano"],
    )


def _period() -> dict[str, str]:
    today = datetime.now(UTC).date()
    return {"from": str(today - timedelta(days=_PERIOD_DAYS)), "to": str(today + timedelta(days=1))}


def _events(node: Node) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    query: dict[str, object] = {"limit": 1000, **_period()}
    while True:
        page = node.management.get("/usage/events", **query)
        events += page["items"]
        if page["next_cursor"] is None:
            return events
        query["cursor"] = page["next_cursor"]


def _report(node: Node) -> Mapping[str, int]:
    return node.management.get("/usage", group_by="hour", **_period())["totals"]


def _command_line(node: Node) -> Mapping[str, int]:
    period = _period()
    done = node.cli("usage", "--json", "--from", period["from"], "--to", period["to"])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["totals"]


async def _rolled_up(node: Node, table: str) -> dict[str, int]:
    """The sums over a whole roll-up, of all tenants."""
    row = "coalesce(sum({0}), 0)::bigint"
    columns = ", ".join(row.format(name) for name in _SUMS)
    async with connect(node.database_url) as connection:
        (found,) = await connection.fetch(f"SELECT {columns} FROM {table}")
    return dict(zip(_SUMS, (cast(int, value) for value in found), strict=True))

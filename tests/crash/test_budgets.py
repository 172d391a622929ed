"""A hard budget stays hard through crashes: not one nano-dollar beyond it is spent by calls that were answered."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal

import pytest

from tests.crash.node import MODEL, Node, add_twin, nodes, wait_until
from tests.crash.scenarios import Crashes, spend_through, tell
from tests.crash.traffic import Kind, Traffic, call
from tests.fixtures.twins import Twin

pytestmark = pytest.mark.slow


_PLAIN = Kind(MODEL, stream=False)
_PRICE_NANO = 6750
"""Of one such call."""

Restart = Callable[[Node], Awaitable[Node]]


def _crash(*, workers: int, database: bool = False) -> Restart:
    async def restart(node: Node) -> Node:
        await asyncio.to_thread(node.crash, database=database)
        return await asyncio.to_thread(node.again, workers=workers)

    return restart


def _stop(*, workers: int) -> Restart:
    async def restart(node: Node) -> Node:
        assert await asyncio.to_thread(node.stop) == 0
        return await asyncio.to_thread(node.again, workers=workers)

    return restart


async def _exchange(node: Node) -> Node:
    """Exchange the workers, while calls go on in the old ones."""
    (node.home / "auterity.yaml").write_text("body_limit_bytes: 11MiB\n")
    node.process.send_signal(signal.SIGHUP)
    applied = lambda: any("SIGHUP: applied" in str(line["message"]) for line in node.log)  # noqa: E731
    await asyncio.to_thread(wait_until, applied, "the exchange of the workers")
    return node


@pytest.fixture(scope="module")
def crashes(openai_twin_server: Twin) -> Iterator[Crashes]:
    with nodes() as start:
        node = start(workers=2)
        add_twin(node, openai_twin_server)
        crashes = Crashes(node)
        yield crashes
        assert crashes.node.stop() == 0
        crashes.node.check()
        openai_twin_server.faults()


async def _spend(crashes: Crashes, ways: Sequence[Restart], label: str, *, callers: int, calls: int) -> None:
    spent = await spend_through(crashes, ways, label=label, callers=callers, calls=calls)
    tell(spent)
    assert spent.spent_nano <= spent.budget_nano
    assert spent.spent_nano > spent.budget_nano * 0.6, "it was not spent, so nothing was shown"
    assert spent.refused > 0
    tell(await crashes.account())


async def test_a_hard_budget_stays_hard_when_workers_are_added_and_taken_away(
    crashes: Crashes, openai_twin_server: Twin
) -> None:
    # One worker keeps budgets in its memory, two share a file: what was spent in one way counts in the other.
    openai_twin_server.faults(delay_s=0.02)
    await _spend(crashes, [_stop(workers=1), _stop(workers=2)], "numbers", callers=10, calls=200)


async def test_a_hard_budget_is_not_overspent_by_a_nano_dollar_through_crashes(
    crashes: Crashes, openai_twin_server: Twin
) -> None:
    openai_twin_server.faults(delay_s=0.02)
    await _spend(crashes, [_crash(workers=2), _crash(workers=1, database=True)], "crash", callers=10, calls=150)


async def test_a_hard_budget_stays_hard_while_workers_are_exchanged_under_load(
    crashes: Crashes, openai_twin_server: Twin
) -> None:
    node = crashes.node
    assert node.settings["workers"] == 1
    # Calls that go on in the old worker for longer than the new one needs to be there: 40 of a budget of 170.
    openai_twin_server.faults(delay_s=6)
    budget = 170 * _PRICE_NANO
    key = node.management.key(monthly_budget_usd=str(Decimal(budget).scaleb(-9)))["secret"]
    old = Traffic(node.url, key, (_PLAIN,), label="exchange-old")
    async with old.running(40):
        await old.until(in_flight=40)
        await _exchange(node)
        early = await call(node.url, key, _PLAIN, "exchange-early")
        assert early.done or early.code == "usage_unsettled", "a budget must not begin before the old worker has ended"
    openai_twin_server.faults()
    new = Traffic(node.url, key, (_PLAIN,), label="exchange-new")
    async with new.running(10):
        # Refused at first, while the old worker's last calls are added up; then for the budget.
        await new.until(done=100)
        await new.until(refused=new.refused + 40)
    crashes.calls += [*old.calls, early, *new.calls]
    spent = sum(each.cost_nano or 0 for each in (*old.calls, early, *new.calls))
    tell(f"{spent} of {budget} nano-dollars spent; a call during the exchange got {early.status} {early.code}")
    assert 0.6 * budget < spent <= budget
    tell(await crashes.account())

"""A hard budget stays hard through crashes: not one nano-dollar beyond it is spent by calls that were answered."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest

from tests.crash.node import Node, add_twin, nodes, wait_until
from tests.crash.scenarios import Crashes, spend_through, tell
from tests.fixtures.twins import Twin

pytestmark = pytest.mark.slow


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


async def test_a_hard_budget_is_not_overspent_by_a_nano_dollar_through_crashes(
    crashes: Crashes, openai_twin_server: Twin
) -> None:
    openai_twin_server.faults(delay_s=0.02)
    ways = [_crash(workers=2), _crash(workers=2, database=True), _crash(workers=1), _crash(workers=1)]
    await _spend(crashes, ways, "crash", callers=10, calls=250)


async def test_a_hard_budget_stays_hard_when_workers_are_added_and_taken_away(
    crashes: Crashes, openai_twin_server: Twin
) -> None:
    # One worker keeps budgets in its memory, two share a file: what was spent in one way counts in the other.
    openai_twin_server.faults(delay_s=0.02)
    ways = [_stop(workers=2), _stop(workers=1), _stop(workers=2)]
    await _spend(crashes, ways, "numbers", callers=10, calls=250)


async def test_a_hard_budget_stays_hard_while_workers_are_exchanged_under_load(
    crashes: Crashes, openai_twin_server: Twin
) -> None:
    await _stop(workers=1)(crashes.node)
    crashes.node = crashes.node.family[-1]
    # Calls that go on in the old worker for longer than the new one needs to be there.
    openai_twin_server.faults(delay_s=3)
    await _spend(crashes, [_exchange], "exchange", callers=40, calls=100)

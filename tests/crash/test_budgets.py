"""A hard budget stays hard through crashes: not one nano-dollar beyond it is spent by calls that were answered."""

import asyncio

import pytest
from tests.crash.node import Node, add_twin, nodes
from tests.crash.scenarios import Crashes, spend_through
from tests.fixtures.twins import Twin

pytestmark = pytest.mark.slow


def _crash(*, workers: int, database: bool = False):
    async def restart(node: Node) -> Node:
        await asyncio.to_thread(node.crash, database=database)
        return await asyncio.to_thread(node.again, workers=workers)

    return restart


async def test_a_hard_budget_is_not_overspent_by_a_nano_dollar_through_crashes(openai_twin: Twin) -> None:
    with nodes() as start:
        node = start(workers=2)
        add_twin(node, openai_twin)
        openai_twin.faults(delay_s=0.02)
        crashes = Crashes(node)
        # One worker keeps budgets in its memory, two share a file: what one way spent must count in the other.
        ways = [_crash(workers=1), _crash(workers=1, database=True), _crash(workers=2), _crash(workers=2)]
        spent = await spend_through(crashes, ways, label="budget", callers=20, calls=250)
        print(spent)
        assert spent.spent_nano <= spent.budget_nano
        assert spent.spent_nano > spent.budget_nano * 0.6, "it was not spent, so nothing was shown"
        assert spent.refused > 0
        print(await crashes.account())
        assert crashes.node.stop() == 0
        crashes.node.check()

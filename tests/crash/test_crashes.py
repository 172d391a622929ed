"""Whatever is killed, and however often: each answered call is recorded exactly once, everywhere the same."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.crash.node import Node, add_twin, nodes
from tests.crash.scenarios import PARTS, Crashes, kill_part, kill_whole, stop_under_load, tell, warm
from tests.fixtures.twins import Twin

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def crashes(openai_twin_server: Twin) -> Iterator[Crashes]:
    """A server with two workers; what happened to its home is compared after each test."""
    with nodes() as start:
        node = start(workers=2)
        add_twin(node, openai_twin_server)
        openai_twin_server.faults(delay_s=0.2, drip_s=0.02)
        crashes = Crashes(node)
        yield crashes
        assert crashes.node.stop() == 0
        assert not [*(node.home / "spool").glob("*.seg")], "a stop in good order leaves nothing in the spool"
        crashes.node.check()
        openai_twin_server.faults()


async def test_calls_survive_the_death_of_the_whole_server_among_a_thousand_of_them(crashes: Crashes) -> None:
    chance = random.Random()
    for number, database in enumerate((False, True)):
        traffic = await kill_whole(crashes, label=f"whole-{number}", callers=1000, chance=chance, database=database)
        assert traffic.done > 0
        assert set(traffic.failed) <= {"IncompleteReadError", "ConnectionResetError", "BrokenPipeError"}
    tell(await crashes.account())


@pytest.mark.parametrize("part", PARTS)
async def test_a_part_that_dies_comes_back_and_calls_go_on(crashes: Crashes, part: str) -> None:
    await warm(crashes, f"warm-{part}")
    crashes.node.expected_errors += ["was ended by SIGKILL"]
    outage = await kill_part(crashes, part, label=part, callers=40)
    tell(outage)
    # A dead worker takes the calls that it had with it; nothing else costs a caller anything.
    assert part == "worker" or not outage.failed
    assert outage.served > 0
    tell(await crashes.account())


async def test_a_stop_in_good_order_lets_running_calls_end_and_loses_nothing(crashes: Crashes) -> None:
    stop = await stop_under_load(crashes, label="stop", callers=100)
    tell(stop)
    assert stop.code == 0
    assert stop.under_way > 0
    assert stop.cut == 0
    tell(await crashes.account())


async def test_a_second_server_on_a_home_is_turned_away(crashes: Crashes) -> None:
    node: Node = crashes.node
    command = [sys.executable, "-m", "auterity", "serve", "--port=0", f"--home={node.home}"]
    second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert (
        f"Another Auterity server (process {node.process.pid} at {node.url}) is running on {node.home}" in second.stderr
    )
    assert "Stop it, or give this one its own folder with --home." in second.stderr
    assert "Traceback" not in second.stderr
    await warm(crashes, "after-the-second")
    await crashes.account()

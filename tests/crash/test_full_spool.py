"""A spool without room: nothing is served unmetered, nothing that was served is lost, and it passes by itself."""

import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.crash.node import add_twin, nodes
from tests.crash.scenarios import Crashes, Room, fill_spool, tell
from tests.fixtures.twins import Twin

pytestmark = pytest.mark.slow

_REFUSED = {(503, "usage_backlog_full", True)}


async def test_a_full_spool_refuses_calls_before_they_cost_anything_and_recovers_by_itself(openai_twin: Twin) -> None:
    with nodes() as start:
        node = start(spool_max_bytes="16MiB")
        add_twin(node, openai_twin)
        crashes = Crashes(node)
        flood = await fill_spool(crashes, openai_twin, label="limit")
        tell(flood)
        assert flood.answers == _REFUSED
        assert flood.asked == flood.answered, "a refused call must not reach the provider"
        tell(await crashes.account())
        assert node.stop() == 0
        node.check()


async def test_a_full_disk_refuses_calls_before_they_cost_anything_and_recovers_by_itself(openai_twin: Twin) -> None:
    with nodes() as start, contextlib.ExitStack() as disk:

        def small(home: Path) -> None:
            disk.enter_context(_small_disk(home / "spool", "48m"))

        node = start(before=small)
        add_twin(node, openai_twin)
        crashes = Crashes(node)
        flood = await fill_spool(crashes, openai_twin, label="disk", room=Room(node.home / "spool"))
        tell(flood)
        assert flood.answers == _REFUSED
        assert flood.asked == flood.answered, "a refused call must not reach the provider"
        tell(await crashes.account())
        assert node.stop() == 0
        node.check()


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Generator[None]:
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only a user who may mount can make a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)

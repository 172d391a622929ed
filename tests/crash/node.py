"""One server and all its processes, as something that can be killed part by part and started again on its home."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import psutil

from auterity.engines.database.connection import connect
from auterity.engines.database.embedded import DATABASE_NAME, SUPERUSER, EmbeddedPostgres
from auterity.engines.database.errors import DatabaseRefused, DatabaseUnavailable
from tests.fixtures.server import Server
from tests.fixtures.twins import Twin

__all__ = ["MODEL", "Node", "add_twin", "nodes", "wait_until"]

MODEL = "gpt-4o-mini"
"""What the twin serves under this name."""
_PATIENCE_S = 60.0


class Node(Server):
    """A server that is crashed."""

    family: "list[Node]"
    """All that ever ran on this home."""

    @property
    def collector(self) -> psutil.Process | None:
        """The collector's process, where there is one at the moment."""
        return next(iter(self._children("auterity.app.collector")), None)

    @property
    def postmaster(self) -> psutil.Process | None:
        """The database's first process, where it lives."""
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
            claim = self.home / "postgres" / "data" / "postmaster.pid"
            found = psutil.Process(int(claim.read_text().split()[0]))
            if found.status() != psutil.STATUS_ZOMBIE and found.name().startswith("postgres"):
                return found
        return None

    @property
    def database_url(self) -> str:
        """The database as its superuser, whom row-level security does not bind."""
        return EmbeddedPostgres(self.home / "postgres").url_for(DATABASE_NAME, login=SUPERUSER)

    def database_answers(self) -> bool:
        """PostgreSQL takes connections and answers: it has recovered."""

        async def ask() -> bool:
            async with connect(self.database_url) as connection:
                return await connection.fetchval("SELECT 1") == 1

        with contextlib.suppress(DatabaseUnavailable, DatabaseRefused):
            return asyncio.run(ask())
        return False

    def crash(self, *, database: bool) -> None:
        """``kill -9`` of the supervisor and all that it started, all at once; of PostgreSQL too if wished."""
        supervisor = psutil.Process(self.process.pid)
        victims = [supervisor, *supervisor.children(recursive=True)]
        postmaster = self.postmaster if database else None
        if postmaster is not None:
            victims += [postmaster, *postmaster.children(recursive=True)]
        _kill(victims)
        self.process.wait(_PATIENCE_S)
        psutil.wait_procs(victims, _PATIENCE_S)
        self._closing.close()

    def again(self, **settings: object) -> "Node":
        """Start on the same home, with the same settings but for these."""
        node = Node(self.home.parent, prior=self)
        node.settings = {**self.settings, **settings}
        node.family = self.family
        node.family.append(node)
        node.start()
        return node

    def bury(self) -> None:
        """Whatever became of it: no process and no open connection is left."""
        self._closing.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_PATIENCE_S)

    def _children(self, module: str) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if module in child.cmdline():
                        found.append(child)
        return found


@contextlib.contextmanager
def nodes() -> Generator[Callable[..., Node]]:
    """Makes nodes, each on a new home; at the end all processes on these homes are gone, and the homes too."""
    folders: list[Path] = []
    family: list[Node] = []

    def start(*, before: Callable[[Path], object] | None = None, **settings: object) -> Node:
        folder = Path(tempfile.mkdtemp(prefix="auterity-crash-"))
        folders.append(folder)
        given: dict[str, Any] = {"sandbox_latency": 0, "allow_private_providers": True, **settings}
        node = Node(folder, **given)
        node.family = family
        family.append(node)
        if before is not None:
            before(node.home)
        node.start()
        return node

    try:
        yield start
    finally:
        for node in family:
            node.bury()
        for folder in folders:
            _kill(_works_in(folder))
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_twin() -> Generator[Twin]:
    """The OpenAI twin, for programs that are no tests."""
    command = [sys.executable, "-m", "tests.twins.openai_twin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        twin = Twin(process.stdout.readline().strip())
        try:
            yield twin
        finally:
            twin.close()
            process.terminate()


def add_twin(node: Node, twin: Twin) -> None:
    """Let the node serve :data:`MODEL` from the twin."""
    node.management.provider(
        "openai-twin", "openai_compatible", twin.url, api_key="sk-provider-0123456789abcdef", price_provider="openai"
    )
    node.management.model(MODEL, {"provider": "openai-twin", "upstream_model": MODEL})


def wait_until(condition: Callable[[], object], what: str, *, poll_s: float = 0.02) -> float:
    """Wait for something; returns the seconds that it took.

    Raises:
        TimeoutError: it did not come within a minute.
    """
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > _PATIENCE_S:
            raise TimeoutError(f"waited {_PATIENCE_S:g} s in vain for {what}")
        time.sleep(poll_s)
    return time.monotonic() - begun


def _kill(victims: Iterable[psutil.Process]) -> None:
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)


def _works_in(folder: Path) -> list[psutil.Process]:
    """Processes that name the folder in their command, or work in it (PostgreSQL's)."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if any(str(folder) in word for word in process.cmdline()) or Path(process.cwd()).is_relative_to(folder):
                supervised = process.children(recursive=True)
                found += [process, *supervised]
    return found

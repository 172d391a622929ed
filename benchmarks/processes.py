"""Processes under measurement: started on one core, their CPU and memory counted with all they start, ended as a group.

A started program carries a mark in its environment. Its family is the tree below it, and any process that left the
tree (a database that made itself a daemon) but has the mark or works in the program's folder, with the tree below that.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

__all__ = ["MARK", "Family", "Memory", "NotStarted", "Started", "free_port", "start"]

MARK = "BENCHMARK_FAMILY"
"""The environment variable that marks a family."""


class NotStarted(RuntimeError):
    """A program did not come up; the message carries the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (10**6 bytes)."""

    rss: float
    pss: float
    """RSS with each shared page divided among those who share it."""


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Family:
    """All processes of one started program."""

    def __init__(self, root: int, mark: str, folder: Path | None = None) -> None:
        self._root = root
        self._folder = folder.resolve() if folder is not None else None
        self._mark = f"{MARK}={mark}".encode()
        self._strays: dict[int, psutil.Process] = {}
        self._looked_at: set[int] = set()
        self._workers: set[int] = set()

    def processes(self) -> list[psutil.Process]:
        """The live members; those of ended members are not waited for."""
        found: dict[int, psutil.Process] = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._root)
            found[root.pid] = root
            found |= {child.pid: child for child in root.children(recursive=True)}
        for pid in psutil.pids():
            if pid in self._looked_at:
                continue
            # A new process may still carry the environment of the one that forked it, which is right here.
            self._looked_at.add(pid)
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if self._is_marked(pid) or self._works_in_folder(pid):
                    self._strays[pid] = psutil.Process(pid)
        for pid, process in list(self._strays.items()):
            if not process.is_running():
                del self._strays[pid]
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                found[pid] = process
                found |= {child.pid: child for child in process.children(recursive=True)}
        return list(found.values())

    def _is_marked(self, pid: int) -> bool:
        return self._mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")

    def _works_in_folder(self, pid: int) -> bool:
        # PostgreSQL's processes work in their data folder, whoever started them and with whatever environment.
        return self._folder is not None and Path(f"/proc/{pid}/cwd").readlink().is_relative_to(self._folder)

    def cpu_seconds(self) -> dict[str, float]:
        """User and system seconds so far, by role (see :meth:`role`), with those of ended and reaped children."""
        seconds: dict[str, float] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                times = process.cpu_times()
                role = self.role(process)
                total = times.user + times.system + times.children_user + times.children_system
                seconds[role] = seconds.get(role, 0.0) + total
        return seconds

    def memory(self) -> dict[str, Memory]:
        """Memory by role."""
        sums: dict[str, Memory] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                info = process.memory_full_info()
                role = self.role(process)
                before = sums.get(role, Memory(0.0, 0.0))
                sums[role] = Memory(before.rss + info.rss / 1e6, before.pss + info.pss / 1e6)
        return sums

    def role(self, process: psutil.Process) -> str:
        """``worker`` (see :meth:`find_workers`), ``database``, ``collector``, else ``other``."""
        if process.pid in self._workers:
            return "worker"
        if process.name().startswith("postgres"):
            return "database"
        return "collector" if any("collector" in word for word in process.cmdline()) else "other"

    @property
    def workers(self) -> int:
        """How many workers :meth:`find_workers` found."""
        return len(self._workers)

    def find_workers(self, port: int) -> int:
        """Take the members that accept connections on ``port`` as the workers, and tell how many they are.

        A supervisor that only holds the socket for its children is none.
        """
        # By now all have done what their start-up does; before, one may not have looked like a member yet.
        self._looked_at.clear()
        listening: dict[int, psutil.Process] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if any(c.status == psutil.CONN_LISTEN and c.laddr[1] == port for c in process.net_connections("tcp")):
                    listening[process.pid] = process
        parents = {process.ppid() for process in listening.values()}
        self._workers = set(listening) - parents
        return len(self._workers)

    def stop(self, patience: float = 10.0) -> None:
        """Ask all to end, then make them."""
        members = self.processes()
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(self._root).send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(members, timeout=patience)
        for process in [*alive, *self.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=patience)


@dataclass(frozen=True, slots=True)
class Started:
    """A running program."""

    process: subprocess.Popen[bytes]
    family: Family
    log: Path

    def stop(self) -> None:
        self.family.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code < 500
    except (OSError, ValueError):
        return False


def start(
    command: Sequence[str],
    *,
    log: Path,
    core: int | None,
    ready_url: str | None = None,
    patience: float = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    folder: Path | None = None,
) -> Started:
    """Start ``command`` pinned to ``core`` and wait until ``ready_url`` answers.

    Whatever works in ``folder`` is taken as a part of it, so the folder must be its own.

    Raises:
        NotStarted: it ended, or did not answer within ``patience`` seconds.
    """
    mark = uuid.uuid4().hex
    output: IO[bytes]
    with log.open("wb") as output:
        process = subprocess.Popen(
            # Pinned before it can start threads or children: they inherit it.
            [*(() if core is None else ("taskset", "-c", str(core))), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            # Settings of a developer's own server must not reach the one under test.
            env={k: v for k, v in os.environ.items() if not k.startswith("AUTERITY_")} | {**(env or {}), MARK: mark},
            start_new_session=True,
        )
    started = Started(process, Family(process.pid, mark, folder), log)
    deadline = time.monotonic() + patience
    while ready_url is not None and not _answers(ready_url):
        if process.poll() is not None or time.monotonic() > deadline:
            started.stop()
            raise NotStarted(f"it did not answer; the end of its output:\n{_tail(log)}")
        time.sleep(0.1)
    return started

"""Child processes that are kept alive: one that dies is started again, later each time it dies young.

A seat is one place for a child (``worker`` 0 … N − 1, ``collector`` 0). It can also exchange its child for one with
other settings: the successor serves before the old one is told to finish, so no caller notices.
"""

import asyncio
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

import msgspec

from auterity.app.child import Launch
from auterity.kit.errors import AuterityError

__all__ = ["Backoff", "ChildFailed", "Role", "Seat", "clean_environment"]

_logger = logging.getLogger(__name__)
_numbers = count(1)

READY_TIMEOUT_S = 60.0
_KILL_MARGIN_S = 5.0
"""What a child gets beyond the grace of its calls, for its own last writes."""
_FIRST_TRIES = 3


class ChildFailed(AuterityError):
    """A child did not get to the point of serving."""

    code = "child_failed"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before the n-th restart in a row: doubling, with jitter so that children do not march in step."""

    first: float = 0.1
    most: float = 30.0
    forgiven_after: float = 30.0
    """A child that served this long has earned a clean slate."""

    def delay(self, failures: int) -> float:
        """The wait after ``failures`` (≥ 1) deaths in a row, between half and the whole of the doubled time."""
        whole = min(self.most, self.first * 2.0 ** min(failures - 1, 20))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


@dataclass(frozen=True, slots=True)
class Role:
    """What the children of some seats have in common."""

    name: str
    module: str
    """Run as ``python -m``."""
    inherited: tuple[int, ...] = ()
    """File descriptors, e.g. the listening socket."""
    exclusive: bool = False
    """Two of them may never run at once: an exchange ends the old one first."""


class _Child:
    """One running process."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, ready: asyncio.Future[bool], ready_fd: int
    ) -> None:
        self.name = name
        self.process = process
        self.ready_fd = ready_fd
        """The number of its descriptor for readiness."""
        self._ready = ready
        self._born = time.monotonic()
        self.exited = asyncio.ensure_future(process.wait())

    @classmethod
    async def start(cls, role: Role) -> "_Child":
        """Start the process; it loads its program and waits for its launch."""
        name = f"{role.name}-{next(_numbers)}"
        ready_read, ready_write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                role.module,
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(ready_write, *role.inherited),
                env=clean_environment(),
                # A group of its own: Ctrl-C on the terminal is the parent's to handle, in order.
                process_group=0,
            )
        except BaseException:
            os.close(ready_read)
            raise
        finally:
            os.close(ready_write)
        return cls(name, process, _read_ready(ready_read), ready_write)

    def launch(self, launch: Launch) -> None:
        """Let it begin. A few kilobytes fit into the pipe without waiting."""
        if self.process.stdin is not None:
            self.process.stdin.write(msgspec.json.encode(launch) + b"\n")

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def age(self) -> float:
        return time.monotonic() - self._born

    async def serves(self, timeout_s: float) -> None:
        """Return once the child serves.

        Raises:
            ChildFailed: it ended, or took too long (then it is killed).
        """
        try:
            ready = await asyncio.wait_for(asyncio.shield(self._ready), timeout_s)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.exited
            raise ChildFailed(f"{self.name} was not ready after {timeout_s:g} s") from None
        if not ready:
            await self.exited
            raise ChildFailed(f"{self.name} {self.ending} before it was ready; its output above says why")

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        if code is None:
            return "runs"
        if code < 0:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"exited with code {code}"

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def finish(self, grace_s: float) -> bool:
        """Ask it to finish; kill it if it does not. Say whether it finished by itself."""
        self.signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self.exited}, timeout=grace_s + _KILL_MARGIN_S)
        if not done:
            _logger.warning("%s did not finish within %g s and is killed", self.name, grace_s + _KILL_MARGIN_S)
            self.signal(signal.SIGKILL)
            await self.exited
        return bool(done)


class Seat:
    """Keeps one child of a role alive."""

    def __init__(
        self,
        role: Role,
        slot: int,
        write_launch: Callable[[str, int, int], Launch],
        *,
        cleared: asyncio.Event,
        backoff: Backoff | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        """
        Args:
            write_launch: what a child is told, from its name, its slot and its descriptor for readiness; asked anew for
                each child.
            cleared: set when children may begin; until then they are started, and load their programs.
        """
        self._role = role
        self._slot = slot
        self._write_launch = write_launch
        self._cleared = cleared
        self._backoff = backoff or Backoff()
        self._ready_timeout_s = ready_timeout_s
        self._child: _Child | None = None
        self._retiring: dict[_Child, asyncio.Task[bool]] = {}
        self._all: set[_Child] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._dismissed: _Child | None = None

    @property
    def pid(self) -> int | None:
        """The present child's process id."""
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """Start the child, wait until it serves, and keep it alive from then on.

        Raises:
            ChildFailed: it failed several times in a row.
        """
        for attempt in range(1, _FIRST_TRIES + 1):
            try:
                self._child = await self._start_child()
                break
            except ChildFailed as failure:
                _logger.error("%s", failure)  # noqa: TRY400 - the child's own output has the trace
                if attempt == _FIRST_TRIES:
                    raise
                await asyncio.sleep(self._backoff.delay(attempt))
        self._keeper = asyncio.create_task(self._keep(), name=f"keep-{self._role.name}-{self._slot}")

    async def exchange(self, grace_s: float) -> None:
        """Start a successor, and tell the present child to finish once it serves.

        Raises:
            ChildFailed: the successor does not serve; the present child goes on.
        """
        if self._role.exclusive:
            # The keeper puts the next one in its place.
            self._dismissed = self._child
            if self._dismissed is not None:
                await self._dismissed.finish(grace_s)
            return
        async with self._starting:
            successor = await self._start_child()
            former, self._child = self._child, successor
        if former is not None:
            task = asyncio.create_task(former.finish(grace_s))
            self._retiring[former] = task
            task.add_done_callback(lambda _: self._retiring.pop(former, None))

    async def stop(self, grace_s: float) -> bool:
        """Let the child finish, and start no other. Say whether it finished by itself."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        endings = [child.finish(grace_s) for child in self._all if child not in self._retiring]
        return all(await asyncio.gather(*endings, *self._retiring.values()))

    def kill(self) -> None:
        """End every child of this seat at once."""
        for child in self._all:
            child.signal(signal.SIGKILL)

    async def _start_child(self) -> _Child:
        child = await _Child.start(self._role)
        self._all.add(child)
        child.exited.add_done_callback(lambda _: self._all.discard(child))
        await self._cleared.wait()
        child.launch(self._write_launch(child.name, self._slot, child.ready_fd))
        await child.serves(self._ready_timeout_s)
        return child

    async def _keep(self) -> None:
        failures = 0
        while True:
            child = self._child
            if child is not None:
                await asyncio.shield(child.exited)
                if child is not self._child:
                    continue  # it was exchanged
                self._child = None
                if child is self._dismissed:
                    failures = 0
                else:
                    failures = 1 if child.age >= self._backoff.forgiven_after else failures + 1
                    _logger.error("%s (process %d) %s after %.1f s", child.name, child.pid, child.ending, child.age)
            if failures:
                delay = self._backoff.delay(failures)
                _logger.info("starting another %s in %.1f s", self._role.name, delay)
                await asyncio.sleep(delay)
            async with self._starting:
                if self._child is not None:
                    continue  # an exchange was faster
                try:
                    self._child = await self._start_child()
                except ChildFailed as failure:
                    failures += 1
                    _logger.error("%s", failure)  # noqa: TRY400 - the child's own output has the trace
                else:
                    _logger.info("%s serves (process %d)", self._child.name, self._child.pid)


def clean_environment() -> dict[str, str]:
    """The environment for children: without our variables, for children get settings from their parent alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AUTERITY_")}


def _read_ready(descriptor: int) -> asyncio.Future[bool]:
    """A future that is true once the child has written, false once it closed the pipe without."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bool] = loop.create_future()

    def read() -> None:
        loop.remove_reader(descriptor)
        said = os.read(descriptor, 64)
        os.close(descriptor)
        if not future.done():
            future.set_result(bool(said))

    loop.add_reader(descriptor, read)
    return future

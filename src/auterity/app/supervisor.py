"""``auterity serve``: starts everything in order, keeps it alive, and ends it in the opposite order.

Up: home lock, listening socket, PostgreSQL, migrations and first data (``app/preparation``), collector and workers.
Down: workers finish their calls (``shutdown_grace_s``), the collector empties the spool, PostgreSQL stops, the lock
goes.

This process loads little and starts its children at once, so that they load their programs while PostgreSQL starts.

Exit codes: 0 stopped as asked; 1 it could not start; 2 the settings are wrong; 3 it was stopped by force (a second
signal, or a child that did not finish in time), after which the next start catches up on what was left in the spool.

Signals: SIGTERM and SIGINT stop, a second one by force; SIGHUP reads the settings again.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import TypeVar

import msgspec

from auterity.app import logs
from auterity.app.banner import FirstRun, first_banner, later_banner
from auterity.app.child import Launch
from auterity.app.home import Home, HomeLock, Serving
from auterity.app.listener import bind, url_of
from auterity.app.preparing import prepare
from auterity.app.processes import ChildFailed, Role, Seat
from auterity.app.settings import SETTINGS, InvalidSettings, Settings
from auterity.engines.counters import selection as counters
from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.errors import EmbeddedDatabaseFailed
from auterity.engines.telemetry import metrics

__all__ = ["FORCED", "STOPPED", "UNABLE", "Supervisor"]

STOPPED, UNABLE, FORCED = 0, 1, 3

_DATABASE_WATCH_S = 1.0
_COLLECTOR_GRACE_S = 30.0
_SAME_SIGNAL_S = 0.5
"""A signal so soon after the first is its echo: terminals, make and timeout send theirs to the whole process group."""

Result = TypeVar("Result")

_logger = logging.getLogger(__name__)


class Supervisor:
    """One server's life."""

    def __init__(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings],
        say: Callable[[str], None],
        worker_module: str = "auterity.app.worker",
        collector_module: str = "auterity.app.collector",
        preparation_module: str = "auterity.app.preparation",
    ) -> None:
        """
        Args:
            reread: reads the settings again from all sources, for a reload.
            say: where the banner goes.
        """
        self._settings = settings
        self._preparation_module = preparation_module
        self._reread = reread
        self._say = say
        self._worker_module = worker_module
        self._collector_module = collector_module
        self._home = Home(settings.home)
        self._lock: HomeLock | None = None
        self._listener: socket.socket | None = None
        self._postgres: EmbeddedPostgres | None = None
        self._postgres_start: asyncio.Future[None] | None = None
        self._database_url = ""
        self._workers: list[Seat] = []
        self._collector: Seat | None = None
        self._watch: asyncio.Task[None] | None = None
        self._reload_task: asyncio.Task[None] | None = None
        self._cleared = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._asked_at = 0.0
        self._forced = False

    async def run(self) -> int:
        """Serve until told to stop; returns the exit code.

        Raises:
            AuterityError: it could not start; everything that had been started is stopped again.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_force, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload_asked)
        start = asyncio.create_task(self._start())
        stop = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
                await stop
        finally:
            for task in (start, stop):
                task.cancel()
            await asyncio.wait({start, stop})
            orderly = await self._shut_down()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
                # All is stopped; a signal that comes now must not change the exit code.
                signal.signal(number, signal.SIG_IGN)
        return STOPPED if orderly and not self._forced else FORCED

    async def _start(self) -> None:
        settings = self._settings
        self._home.prepare()
        self._lock = self._home.lock()
        metrics.clear(self._home.run / "metrics")
        counters.clear(self._home.run)
        self._listener = bind(settings.host, settings.port)
        self._collector = self._seat(Role("collector", self._collector_module, exclusive=True), 0)
        self._workers = [self._worker_seat(slot) for slot in range(settings.workers)]
        *_, first = await _all(
            [
                *(seat.start() for seat in (*self._workers, self._collector)),
                self._prepare(),
            ]
        )
        url = url_of(self._listener)
        self._lock.announce(Serving(os.getpid(), url))
        home = str(self._home.path)
        self._say(later_banner(url, home) if first is None else first_banner(url, home, first))

    async def _prepare(self) -> FirstRun | None:
        """Bring the database up, and let the children begin."""
        if self._settings.database_url is None:
            self._postgres = EmbeddedPostgres(self._home.postgres)
            self._postgres_start = asyncio.ensure_future(asyncio.to_thread(self._postgres.start))
            await asyncio.shield(self._postgres_start)
            self._database_url = self._postgres.url
            self._watch = asyncio.create_task(self._watch_database(self._postgres))
        else:
            self._database_url = self._settings.database_url
        first = await prepare(self._preparation_module, self._launch("preparation", 0, 0, None))
        self._cleared.set()
        return first

    async def _watch_database(self, postgres: EmbeddedPostgres) -> None:
        while True:
            await asyncio.sleep(_DATABASE_WATCH_S)
            try:
                await asyncio.to_thread(postgres.ensure_running)
            except EmbeddedDatabaseFailed as error:
                _logger.error("%s", error)  # noqa: TRY400 - the message has PostgreSQL's own log

    def _worker_seat(self, slot: int) -> Seat:
        descriptors = (self._listener.fileno(),) if self._listener is not None else ()
        return self._seat(Role("worker", self._worker_module, descriptors), slot)

    def _seat(self, role: Role, slot: int) -> Seat:
        socket_fd = role.inherited[0] if role.inherited else None
        return Seat(role, slot, lambda name, slot, fd: self._launch(name, slot, fd, socket_fd), cleared=self._cleared)

    def _launch(self, name: str, slot: int, ready_fd: int, socket_fd: int | None) -> Launch:
        return Launch(
            name=name,
            slot=slot,
            settings_json=self._settings.to_json().decode(),
            database_url=self._database_url,
            ready_fd=ready_fd,
            socket_fd=socket_fd,
        )

    def _stop_or_force(self, number: int) -> None:
        if not self._stop_asked.is_set():
            _logger.info("%s: stopping; calls may take %g s to finish", _name(number), self._settings.shutdown_grace_s)
            self._stop_asked.set()
            self._asked_at = asyncio.get_running_loop().time()
            return
        if asyncio.get_running_loop().time() - self._asked_at < _SAME_SIGNAL_S:
            return
        _logger.warning("%s again: stopping by force", _name(number))
        self._forced = True
        for seat in self._seats():
            seat.kill()

    async def _shut_down(self) -> bool:
        """Stop all that was started; say whether every child finished by itself."""
        for task in (self._watch, self._reload_task):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        if self._listener is not None:
            self._listener.close()
        orderly = await _all(seat.stop(self._settings.shutdown_grace_s) for seat in self._workers)
        if self._collector is not None:
            orderly.append(await self._collector.stop(0 if self._forced else _COLLECTOR_GRACE_S))
        if self._postgres is not None and self._postgres_start is not None:
            # A start that was interrupted goes on in its thread; only a started server can be stopped.
            await asyncio.wait({self._postgres_start})
            try:
                await asyncio.to_thread(self._postgres.stop)
            except EmbeddedDatabaseFailed as error:
                _logger.error("%s", error)  # noqa: TRY400 - the message has PostgreSQL's own words
                orderly.append(False)
        if self._lock is not None:
            self._lock.release()
        return all(orderly)

    def _reload_asked(self) -> None:
        if self._stop_asked.is_set() or (self._reload_task is not None and not self._reload_task.done()):
            _logger.warning("SIGHUP: ignored, another change is under way")
            return
        self._reload_task = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        try:
            read = self._reread()
        except InvalidSettings as error:
            for problem in error.problems:
                _logger.error("SIGHUP: nothing changed: %s", problem)  # noqa: TRY400 - the problem is the person's
            return
        changed = self._settings.changed(read)
        later = sorted(name for name in changed if SETTINGS[name].spec.restart)
        now = sorted(changed.difference(later))
        if later:
            _logger.warning("SIGHUP: %s can only change with a restart", ", ".join(later))
        if not now:
            _logger.info("SIGHUP: nothing to apply")
            return
        former = self._settings
        kept = {name: getattr(former, name) for name in later}
        self._settings = msgspec.structs.replace(read, **kept)
        if former.workers == 1:
            # It counts in memory: what workers before it left in the file is out of date.
            counters.clear(self._home.run)
        logs.configure(self._settings, "server")
        try:
            await self._apply()
        except ChildFailed as failure:
            # What is started from now on gets the former settings again; the first exchange is the usual one to fail.
            self._settings = former
            _logger.error("SIGHUP: the new settings do not work, back to the former ones: %s", failure)  # noqa: TRY400
            return
        _logger.info("SIGHUP: applied %s", ", ".join(now))

    async def _apply(self) -> None:
        grace = self._settings.shutdown_grace_s
        wanted = self._settings.workers
        for seat in self._workers[:wanted]:
            await seat.exchange(grace)
        for slot in range(len(self._workers), wanted):
            seat = self._worker_seat(slot)
            await seat.start()
            self._workers.append(seat)
        dismissed = self._workers[wanted:]
        if self._collector is not None:
            await self._collector.exchange(_COLLECTOR_GRACE_S)
        await _all(seat.stop(grace) for seat in dismissed)
        del self._workers[wanted:]

    def _seats(self) -> list[Seat]:
        return [*self._workers, *([self._collector] if self._collector is not None else [])]


def _name(number: int) -> str:
    return signal.Signals(number).name


async def _all(calls: Iterable[Coroutine[None, None, Result]]) -> list[Result]:
    """Run together; the first failure ends the others and is raised."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise

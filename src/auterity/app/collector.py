"""The collector's process: one per node, started by the server, guarded by a lock on the spool."""

import asyncio
import fcntl
import gc
import logging
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from auterity.app import logs
from auterity.app.child import begin, ready
from auterity.app.home import Home
from auterity.engines.database.sessions import COLLECTOR_ROLE, Database
from auterity.platform.usage.collector import Collector

__all__ = ["collect", "main"]

_log = logging.getLogger(__name__)

_LOCK_POLL_S = 0.1


async def collect(database_url: str, spool: Path, store: Path, stop: asyncio.Event) -> None:
    """Collect from ``spool`` into ``store`` and the database until ``stop``; alone on this spool.

    Waits while another collector holds the spool: a predecessor that is about to end.
    """
    # A batch makes a hundred thousand objects that all go together; searching them for cycles finds nothing.
    gc.set_threshold(200_000, 20, 20)
    await asyncio.to_thread(spool.mkdir, parents=True, exist_ok=True)
    async with _alone(spool, stop) as alone:
        if not alone:
            return
        database = Database(database_url, role=COLLECTOR_ROLE, pool_size=2)
        try:
            await Collector(database, spool, store).run(stop)
        finally:
            await database.close()


@asynccontextmanager
async def _alone(spool: Path, stop: asyncio.Event) -> AsyncGenerator[bool]:
    """Hold the lock file for as long as this lasts; False where ``stop`` came first."""
    fd = os.open(spool / "collector.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        told = False
        while not stop.is_set():
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    _log.warning("usage collector: another collector holds %s; waiting for it to end", spool)
                    told = True
                await asyncio.sleep(_LOCK_POLL_S)
            else:
                yield True
                return
        yield False
    finally:
        os.close(fd)


async def _main() -> None:
    launch = begin()
    settings = launch.settings
    logs.configure(settings, launch.name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    home = Home(settings.home)
    ready(launch)
    await collect(launch.database_url, home.spool, home.events, stop)


def main() -> None:
    """Run until SIGTERM."""
    asyncio.run(_main())


if __name__ == "__main__":
    main()

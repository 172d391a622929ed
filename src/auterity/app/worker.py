"""A worker process: one event loop that serves the gateway and the management API on the inherited socket."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Generator

import uvicorn
import uvloop

from auterity.app import logs
from auterity.app.assembly import assemble
from auterity.app.child import Launch, begin, listening_socket, ready
from auterity.app.protocol import GatewayProtocol

__all__ = ["main"]

_KEEP_ALIVE_S = 75
"""Longer than the 60 s after which load balancers usually let go, so that they close first."""

_GC_THRESHOLDS = (20_000, 20, 50)
"""A call leaves next to no cycles behind; the usual 700 would look for them several times in each."""


class _Server(uvicorn.Server):
    """Leaves the signals to us: uvicorn raises them again at its end, which would cut our own end short."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _serve(launch: Launch, listener: socket.socket) -> None:
    settings = launch.settings
    async with assemble(launch) as app:
        config = uvicorn.Config(
            app,
            http=GatewayProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
        )
        server = _Server(config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, server)
        serving = asyncio.create_task(server.serve([listener]))
        announcing = asyncio.create_task(_announce(launch, server))
        # What the program is made of lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        try:
            await serving
        finally:
            announcing.cancel()


async def _announce(launch: Launch, server: uvicorn.Server) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn has a flag, not an event
        await asyncio.sleep(0.005)
    ready(launch)


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True


def main() -> None:
    """Serve until SIGTERM."""
    launch = begin()
    logs.configure(launch.settings, launch.name)
    uvloop.run(_serve(launch, listening_socket(launch)))


if __name__ == "__main__":
    main()

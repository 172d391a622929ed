"""Opening connections: names resolved, addresses of both families tried in a staggered race (RFC 8305).

The plain event loop has this built in, uvloop has not: there a dead IPv6 route would cost the whole connect limit.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine
from itertools import chain, zip_longest
from typing import TypeVar

from auterity.engines.http.origin import Origin

__all__ = ["dial"]

STAGGER_S = 0.25
"""How long an attempt may take before the next address is tried beside it (RFC 8305, section 5)."""

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


async def dial(origin: Origin, tls: ssl.SSLContext | None, protocol: Callable[[], _Protocol]) -> _Protocol:
    """Return a connected protocol; with ``tls``, after the handshake and the check of the certificate.

    Raises:
        OSError: no address could be reached, or the certificate does not hold (``ssl.SSLError`` is one).
    """
    loop = asyncio.get_running_loop()

    async def attempt(address: str) -> tuple[asyncio.BaseTransport, _Protocol]:
        return await loop.create_connection(
            protocol, address, origin.port, ssl=tls, server_hostname=origin.host if tls is not None else None
        )

    addresses = await _addresses(loop, origin)
    if len(addresses) == 1:
        return (await attempt(addresses[0]))[1]
    return await _first(attempt, addresses)


async def _addresses(loop: asyncio.AbstractEventLoop, origin: Origin) -> list[str]:
    """All addresses of a host, families in turn, in the resolver's order."""
    try:
        ipaddress.ip_address(origin.host)
    except ValueError:
        pass
    else:
        return [origin.host]
    found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    families: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append(str(address[0]))
    turns = chain.from_iterable(zip_longest(*families.values()))
    addresses = list(dict.fromkeys(address for address in turns if address is not None))
    if not addresses:
        raise OSError("the name has no address")
    return addresses


async def _first(
    attempt: Callable[[str], Coroutine[None, None, tuple[asyncio.BaseTransport, _Protocol]]], addresses: list[str]
) -> _Protocol:
    waiting = addresses[::-1]
    running: set[asyncio.Task[tuple[asyncio.BaseTransport, _Protocol]]] = set()
    failure: OSError | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(attempt(waiting.pop())))
            done, _ = await asyncio.wait(
                running, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()[1]
                if not isinstance(error, OSError):
                    raise error
                failure = failure or error
        raise failure or OSError("no address could be reached")
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_loser)


def _close_loser(task: asyncio.Task[tuple[asyncio.BaseTransport, _Protocol]]) -> None:
    if not task.cancelled() and task.exception() is None:
        transport = task.result()[0]
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()

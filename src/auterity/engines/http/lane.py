"""The connections to one origin: who may use which, and who waits for one."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable

import msgspec

from auterity.engines.http.connection import Connection
from auterity.engines.http.dialing import dial
from auterity.engines.http.origin import Origin
from auterity.engines.http.port import FailureKind, Timeouts, TransportError

__all__ = ["Lane", "LaneCounts"]


class LaneCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How the connections to one origin stand."""

    open: int
    """Sockets, those that are being connected included."""
    idle: int
    in_use: int
    waiting: int
    """Requests that wait because the limit is reached."""


class Lane:
    """Connections to one origin.

    A *slot* is the right to have one connection open. It belongs to the coroutine that connects, then to the
    connection until it is lost; where requests wait, a free slot goes to the first of them and never back on the pile,
    so that nobody overtakes.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        max_connections: int,
        max_idle: int,
        max_response_bytes: int,
        tls: ssl.SSLContext | None,
        time: Callable[[], float],
    ) -> None:
        self.idle: deque[Connection] = deque()
        self.connections: set[Connection] = set()
        self._origin = origin
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._max_response_bytes = max_response_bytes
        self._tls = tls
        self.time = time
        self._emptied: asyncio.Event = asyncio.Event()
        self._slots = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False

    @property
    def counts(self) -> LaneCounts:
        idle = len(self.idle)
        waiting = sum(not waiter.done() for waiter in self._waiters)
        return LaneCounts(open=self._slots, idle=idle, in_use=self._slots - idle, waiting=waiting)

    @property
    def empty(self) -> bool:
        return not self._slots and not self._waiters

    def take(self, unused_since: float) -> Connection | None:
        """Return the idle connection that was used last, unless that is longer ago than this moment."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.since >= unused_since and not connection.closing:
                return connection
            connection.drop()
        return None

    async def acquire(self, timeouts: Timeouts, total_at: float, *, fresh: bool) -> Connection:
        """Wait for a connection that is free, or open one.

        Args:
            timeouts: ``connect`` is for waiting and connecting together.
            total_at: the moment when the whole call is late, on the pool's clock.
            fresh: never return a connection that has been used.

        Raises:
            TransportError: none could be had; the kind is always ``CONNECT``, because nothing was sent.
        """
        label = self._origin.label
        seconds, limit = timeouts.connect, f"{timeouts.connect:g} s (connect)"
        left = total_at - self.time()
        if left < seconds:
            seconds, limit = left, f"{timeouts.total:g} s (total)"
        waiting = self._slots >= self._max_connections
        try:
            async with asyncio.timeout(seconds):
                connection = await self._acquire(fresh)
        except TimeoutError as error:
            why = "all connections to it were in use" if waiting else "it did not answer"
            message = f"{label} could not be connected to within the limit of {limit}: {why}."
            raise TransportError(FailureKind.CONNECT, message) from error
        except ssl.SSLCertVerificationError as error:
            message = f"The TLS certificate of {label} does not hold: {error.verify_message}."
            raise TransportError(FailureKind.CONNECT, message) from error
        except ssl.SSLError as error:
            raise TransportError(FailureKind.CONNECT, f"The TLS handshake with {label} failed.") from error
        except (OSError, UnicodeError) as error:
            # UnicodeError: a host name that the resolver's encoding cannot take, such as a label of 64 letters.
            reason = getattr(error, "strerror", None) or "unreachable"
            raise TransportError(FailureKind.CONNECT, f"{label} could not be connected to: {reason}.") from error
        return connection

    async def _acquire(self, fresh: bool) -> Connection:
        while True:
            if self._closed:
                raise TransportError(FailureKind.CONNECT, "The connection pool is closed.")
            if self._slots < self._max_connections:
                self._slots += 1
                return await self._open()
            handed = await self._wait()
            if handed is None:
                return await self._open()
            if handed.closing:
                continue
            if not fresh:
                return handed
            self._disown(handed)
            return await self._open()

    async def _wait(self) -> Connection | None:
        """Return a connection, or None with a slot to open one."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except BaseException:
            if not waiter.done() or waiter.cancelled():
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            elif waiter.exception() is None:
                # Cancelled in the moment after it was served: pass it on.
                handed = waiter.result()
                if handed is None:
                    self._return_slot()
                elif not handed.closing:
                    self.free(handed)
            raise

    async def _open(self) -> Connection:
        """Connect; the caller's slot becomes the connection's."""
        try:
            connection = await dial(self._origin, self._tls, self._new_connection)
            self._check(connection)
        except BaseException:
            self._return_slot()
            raise
        connection.owner = self
        self.connections.add(connection)
        return connection

    def _check(self, connection: Connection) -> None:
        if self._closed:
            connection.drop()
            raise TransportError(FailureKind.CONNECT, "The connection pool is closed.")
        if connection.closing:
            raise ConnectionResetError

    def _new_connection(self) -> Connection:
        return Connection(self._origin.label, self.time, self._max_response_bytes)

    def _disown(self, connection: Connection) -> None:
        """Close a connection and keep its slot."""
        connection.owner = None
        self.connections.discard(connection)
        connection.drop()

    def _next_waiter(self) -> "asyncio.Future[Connection | None] | None":
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _return_slot(self) -> None:
        waiter = self._next_waiter()
        if waiter is None:
            self._slots -= 1
        else:
            waiter.set_result(None)

    def free(self, connection: Connection) -> None:
        waiter = self._next_waiter() if self._waiters else None
        if waiter is not None:
            waiter.set_result(connection)
        elif self._closed or len(self.idle) >= self._max_idle:
            connection.drop()
        else:
            self.idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()
        if connection in self.idle:
            self.idle.remove(connection)
        self._return_slot()

    def drop_idle(self, unused_since: float) -> None:
        """Close the connections that have not been used after this moment."""
        idle = self.idle
        while idle and idle[0].since <= unused_since:
            idle.popleft().drop()

    def close(self) -> None:
        """Break what is under way and refuse what waits."""
        self._closed = True
        self._emptied.clear()
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(TransportError(FailureKind.CONNECT, "The connection pool is closed."))
        self.idle.clear()
        for connection in list(self.connections):
            connection.fail(FailureKind.BROKEN, "The connection pool was closed.")

    async def wait_closed(self) -> None:
        """Return once every socket is closed."""
        if self.connections:
            await self._emptied.wait()

"""The answer as its reader sees it: whole or in pieces, waiting only where nothing has come yet."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from auterity.engines.http.port import FailureKind, Header, TransportError

__all__ = ["END_OF_HEAD", "ByteSource", "PooledResponse"]

END_OF_HEAD = b"\r\n\r\n"


class ByteSource(Protocol):
    """What an answer asks of the connection it is still coming from."""

    loop: asyncio.AbstractEventLoop

    def take(self) -> bytes:
        """Return what is buffered, in one piece."""
        ...

    def await_bytes(self) -> "asyncio.Future[None]":
        """Return a future for the next bytes; the limit between bytes counts from now."""
        ...

    def allow(self, limit: int) -> bool:
        """Let no more than ``limit`` bytes of body come, those that are buffered included; False if there are more."""
        ...

    def fail(self, kind: FailureKind, message: str) -> None:
        """End the request under way with a failure, and the connection with it. Harmless where there is none."""
        ...


class PooledResponse:
    """An answer. While it is under way it reads from its connection; afterwards it stands alone."""

    __slots__ = (
        "_connection",
        "_failure",
        "_head",
        "_headers",
        "_rest",
        "_waiter",
        "_whole",
        "retry_is_safe",
        "status",
    )

    def __init__(self, connection: ByteSource) -> None:
        self.status = 0
        self.retry_is_safe = False
        """The connection was an old one and ended before a byte of the answer; see ``HttpPool.send``."""
        self._connection: ByteSource | None = connection
        self._head = b""
        self._headers: list[Header] | None = None
        self._rest = b""
        self._failure: tuple[FailureKind, str] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._whole = False

    @property
    def headers(self) -> Sequence[Header]:
        """Names in lower case, in the order they came; without trailers."""
        headers = self._headers
        if headers is None:
            headers = self._headers = []
            # The parser has seen this head: every line ends with CRLF, none is folded, each has a colon.
            for line in self._head[: self._head.find(END_OF_HEAD)].split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                headers.append((name.lower(), value.strip(b" \t")))
        return headers

    @property
    def failure(self) -> TransportError | None:
        """Why the answer broke; a new exception each time, so that none keeps its traceback's frames alive."""
        failure = self._failure
        return None if failure is None else TransportError(*failure)

    async def head(self) -> None:
        """Wait for the answer's head, or for its failure, which is left in ``failure``."""
        connection = self._connection
        if connection is not None:
            waiter = self._waiter = connection.loop.create_future()
            try:
                await waiter
            except BaseException:
                self.abort()
                raise

    async def read(self, limit: int) -> bytes:
        self._whole = True
        connection = self._connection
        if connection is not None and connection.allow(limit):
            waiter = self._waiter = connection.await_bytes()
            try:
                await waiter
            except BaseException:
                self.abort()
                raise
        if self._failure is not None:
            raise TransportError(*self._failure)
        rest = self._rest
        if len(rest) > limit:
            raise TransportError(FailureKind.TOO_LARGE, f"The provider's answer is longer than {limit} bytes.")
        self._rest = b""
        return rest

    async def chunk(self) -> bytes:
        while (connection := self._connection) is not None:
            data = connection.take()
            if data:
                return data
            waiter = self._waiter = connection.await_bytes()
            try:
                await waiter
            except BaseException:
                self.abort()
                raise
        rest = self._rest
        if rest:
            self._rest = b""
            return rest
        if self._failure is not None:
            raise TransportError(*self._failure)
        return b""

    def abort(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.fail(FailureKind.BROKEN, "The answer was given up before its end.")
            self._rest = b""

    def detach(self, rest: bytes, failure: tuple[FailureKind, str] | None) -> None:
        """Take what is left of the body, and leave the connection."""
        self._connection = None
        self._rest = rest
        self._failure = failure
        self.wake()

    def begin(self, status: int, head: bytes) -> None:
        """Take status and head."""
        self.status = status
        self._head = head

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    @property
    def waits(self) -> bool:
        """Somebody awaits bytes."""
        return self._waiter is not None

    @property
    def wants_all(self) -> bool:
        """The reader wants the body as a whole, so back-pressure would only be a standstill."""
        return self._whole

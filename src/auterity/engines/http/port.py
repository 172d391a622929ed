"""What the gateway asks of an HTTP client: one request out, an answer that can be read whole or as it comes.

The pipeline knows only this port. Adapters: the HTTP/1.1 connection pool in this package, and the sandbox provider,
which answers in-process.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from auterity.kit.errors import AuterityError

__all__ = ["FailureKind", "HttpRequest", "HttpResponse", "Timeouts", "Transport", "TransportError"]

Header = tuple[bytes, bytes]


class HttpRequest(msgspec.Struct, frozen=True):
    """A request to a provider. Header names are lower-case; ``host`` and ``content-length`` are the transport's."""

    method: str
    url: str
    """Absolute, ``http://`` or ``https://``."""
    headers: tuple[Header, ...]
    body: bytes


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in seconds."""

    connect: float = 5.0
    first_byte: float = 120.0
    """From the request's last byte to the answer's first."""
    between_bytes: float = 60.0
    total: float = 600.0


class FailureKind(StrEnum):
    """Where a call broke, which decides whether another try is safe."""

    CONNECT = "connect"
    """No connection: nothing was sent, another try is safe."""
    TIMEOUT = "timeout"
    BROKEN = "broken"
    """The connection ended in the middle, or what came was not HTTP."""
    TOO_LARGE = "too_large"


class TransportError(AuterityError):
    """The provider could not be reached or did not answer properly."""

    code = "provider_unreachable"
    status = 502

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class HttpResponse(Protocol):
    """An answer whose head has arrived. It must be read to the end or aborted."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[Header]:
        """Names in lower case, in the order they came."""
        ...

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            TransportError: it is longer than ``limit`` bytes, late or broken.
        """
        ...

    async def chunk(self) -> bytes:
        """Return the next bytes as they came, or ``b""`` at the end. What is not asked for is not read from the socket.

        Raises:
            TransportError: late or broken, a missing end of a chunked body included.
        """
        ...

    def abort(self) -> None:
        """Give the answer up: the connection is closed unless all of it has been read. Harmless after the end."""
        ...


class Transport(Protocol):
    """Sends requests to providers."""

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        """Send a request and return once the answer's head has come.

        Cancelling the call closes the connection.

        Raises:
            TransportError: no connection, no answer in time, or no HTTP.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

"""The way back to the client, as the pipeline sees it. The transport stands behind it."""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["ClientLeft", "DepartureWatch", "Header", "Reply", "Request"]

Header = tuple[bytes, bytes]


class ClientLeft(Exception):
    """The client closed the connection before it had its answer."""


class DepartureWatch(Protocol):
    """``with reply.watch():`` the block ends with :class:`ClientLeft` at once when the client leaves."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None: ...


class Request(Protocol):
    """What the client sent."""

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Names in lower case; of a repeated header the last."""
        ...

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge: it is longer than ``limit`` bytes.
            ClientLeft: the client went away before it was complete.
        """
        ...


class Reply(Protocol):
    """Writing waits while the client does not read. Once the client left, nothing is sent any more."""

    @property
    def started(self) -> bool:
        """The status and the headers are out."""
        ...

    async def start(self, status: int, headers: Sequence[Header]) -> None: ...

    async def write(self, data: bytes) -> None: ...

    async def finish(self, data: bytes = b"") -> None:
        """Send the last bytes; the answer is complete."""
        ...

    def watch(self, limit_s: float) -> DepartureWatch:
        """Begin to notice that the client leaves, or has not taken its answer after ``limit_s`` seconds."""
        ...

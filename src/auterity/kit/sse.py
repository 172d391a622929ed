"""Server-sent events, put together again from bytes that were cut anywhere.

The rules are those of the WHATWG HTML standard, §9.2 "Server-sent events": lines end in LF, CRLF or CR, an empty line
ends a frame, lines that start with a colon are comments, several ``data`` lines are joined by LF, and a byte order
mark may open the stream. There are two layers: :class:`FrameCutter` finds whole frames and leaves them as bytes, which
is all that a proxy needs most of the time; :func:`read_events` reads frames where their meaning matters.
"""

from collections.abc import Iterator

import msgspec

from auterity.kit.errors import AuterityError

__all__ = ["DEFAULT_MAX_FRAME", "FrameCutter", "FrameTooLarge", "ServerSentEvent", "read_events"]

DEFAULT_MAX_FRAME = 8 * 1024 * 1024
"""Bytes that one frame may have."""

_BOM = b"\xef\xbb\xbf"


class FrameTooLarge(AuterityError):
    """One event is longer than allowed; nothing of it was kept."""

    code = "stream_frame_too_large"
    status = 502


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as it would be dispatched."""

    data: bytes
    name: bytes = b"message"
    """The ``event`` field; ``message`` where the frame had none."""
    id: bytes | None = None
    """The frame's ``id`` field; None where it had none."""


class FrameCutter:
    """Cuts a stream into whole frames, at most ``max_frame`` bytes each."""

    __slots__ = ("_after_cr", "_max_frame", "_started", "tail")

    def __init__(self, max_frame: int = DEFAULT_MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._after_cr = False
        self._started = False
        self.tail = bytearray()
        """What has come of a frame that is not complete; always the same object, not to be changed from outside."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; return all frames that are complete now, each ended by an empty line.

        Line ends come out as LF whatever they were, and a byte order mark is taken away; nothing else is changed.

        Raises:
            FrameTooLarge: a frame, complete or not, is longer than ``max_frame``.
        """
        if self._after_cr or b"\r" in data:
            data = self._with_plain_line_ends(data)
        tail = self.tail
        if not tail:
            if data.endswith(b"\n\n"):
                block = data
            else:
                end = data.rfind(b"\n\n") + 2
                if end == 1:
                    tail += data
                    return self._waiting()
                block = data[:end]
                tail += data[end:]
        else:
            seen = len(tail) - 1
            tail += data
            end = tail.rfind(b"\n\n", seen) + 2
            if end == 1:
                return self._waiting()
            block = bytes(memoryview(tail)[:end])
            del tail[:end]
        if not self._started:
            self._started = True
            block = block.removeprefix(_BOM)
        if len(block) > self._max_frame or len(tail) > self._max_frame:
            self._check(block)
        return block

    def _waiting(self) -> bytes:
        if len(self.tail) > self._max_frame:
            self._check(b"")
        return b""

    def _check(self, block: bytes) -> None:
        if len(self.tail) > self._max_frame or any(len(frame) > self._max_frame for frame in block.split(b"\n\n")):
            self.tail.clear()
            raise FrameTooLarge(f"An event of the stream is longer than {self._max_frame} bytes.")

    def _with_plain_line_ends(self, data: bytes) -> bytes:
        """Turn CRLF and CR into LF, also where the CR came with the bytes before."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data


def read_events(block: bytes) -> Iterator[tuple[bytes, ServerSentEvent | None]]:
    """Go through whole frames as :class:`FrameCutter` returns them.

    Yields:
        The frame's bytes with the empty line that ends it, and its event; None where the standard dispatches nothing
        (comments, or no ``data`` line).
    """
    for frame in block.split(b"\n\n"):
        if frame.startswith(b"data: ") and b"\n" not in frame:
            yield frame + b"\n\n", ServerSentEvent(frame[6:])
        elif frame and frame != b"\n":
            yield frame + b"\n\n", _event(frame)


def _event(frame: bytes) -> ServerSentEvent | None:
    data: list[bytes] = []
    name = b""
    identifier: bytes | None = None
    for line in frame.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        elif field == b"id" and b"\0" not in value:
            identifier = value
    if not data:
        return None
    return ServerSentEvent(b"\n".join(data), name or b"message", identifier)

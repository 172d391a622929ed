"""The format of a segment file: a header, then frames, then zeros or a seal.

Header, 64 bytes, little-endian: magic ``AUTSPOOL``, version (u16), two spare bytes, the longest frame (u32), time of
creation in microseconds since the Unix epoch (u64), the segment's id (32 ASCII characters), four spare bytes, CRC-32
of all that (u32).

Frame: payload length (u32), CRC-32 of the payload that starts from the length (u32), payload, end mark ``0xA5``. The
end mark is never zero, so that a frame cut short in a preallocated file is told from one that was damaged.

Seal: the length ``0xFFFFFFFF`` and a CRC-32 of its own offset; nothing follows.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from auterity.engines.spool.errors import NotASegment

__all__ = [
    "HEADER_SIZE",
    "MAX_FRAME",
    "MAX_PAYLOAD",
    "OVERHEAD",
    "SEAL_SIZE",
    "Ending",
    "Frames",
    "Header",
    "encode_frame",
    "encode_header",
    "encode_seal",
    "read_frames",
    "read_header",
]

MAX_FRAME = 16 * 1024
"""Bytes that one frame takes at most; what one claim of room is worth."""
OVERHEAD = 9
MAX_PAYLOAD = MAX_FRAME - OVERHEAD

_VERSION = 1
_MAGIC = b"AUTSPOOL"
_HEADER = struct.Struct("<8sHxxIQ32s4xI")
_FRAME = struct.Struct("<II")
_END_MARK = b"\xa5"
_SEALED = 0xFFFFFFFF
HEADER_SIZE = _HEADER.size
SEAL_SIZE = _FRAME.size
_CHUNK = 256 * 1024
_HEAD = _FRAME.size

_pack = _FRAME.pack
_crc32 = zlib.crc32


class Ending(StrEnum):
    """Why the reading stopped."""

    MORE = "more"
    """As many frames as were asked for; there may be others."""
    OPEN = "open"
    """The end of what has been written so far; the writer lives."""
    CLEAN = "clean"
    """The end: a seal, or nothing but zeros."""
    TORN = "torn"
    """The last frame was cut short when its writer died; it was never acknowledged."""
    CORRUPT = "corrupt"
    """Damage before the end of what was written."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself. A copy under another name has the same id."""

    segment_id: str
    created_us: int


@dataclass(frozen=True, slots=True)
class Frames:
    """What one reading found."""

    payloads: list[bytes]
    offset: int
    """After the last good frame: where to read on, or the first bad byte."""
    ending: Ending


def encode_header(segment_id: str, created_us: int) -> bytes:
    """``segment_id`` has 32 ASCII characters."""
    body = _HEADER.pack(_MAGIC, _VERSION, MAX_FRAME, created_us, segment_id.encode("ascii"), 0)[:-4]
    return body + _crc32(body).to_bytes(4, "little")


def encode_frame(payload: bytes) -> bytes:
    """``payload`` has 1 to ``MAX_PAYLOAD`` bytes."""
    size = len(payload)
    return _pack(size, _crc32(payload, size)) + payload + _END_MARK


def encode_seal(offset: int) -> bytes:
    """The seal to be written at ``offset``."""
    return _pack(_SEALED, _crc32(offset.to_bytes(8, "little")))


def read_header(path: Path) -> Header:
    """
    Raises:
        FileNotFoundError: the file is gone.
        NotASegment: it is no segment, or of a format that this release cannot read.
    """
    with path.open("rb") as file:
        data = file.read(HEADER_SIZE)
    if len(data) < HEADER_SIZE or data[:8] != _MAGIC or _crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise NotASegment(f"{path.name} is not a spool segment, or its header is damaged.")
    _magic, version, _longest, created_us, segment_id, _crc = _HEADER.unpack(data)
    if version != _VERSION:
        raise NotASegment(f"{path.name} is a spool segment of version {version}, which this release cannot read.")
    return Header(segment_id.decode("ascii", "replace"), created_us)


def read_frames(path: Path, offset: int = HEADER_SIZE, *, limit: int = 1 << 30, ended: bool = True) -> Frames:
    """Read whole frames from ``offset`` on, at most ``limit`` of them.

    ``ended`` says that no writer has the segment open any more: only then can an unfinished frame be called torn or
    damaged, rather than one that is being written at this moment.

    Raises:
        FileNotFoundError: the file is gone.
        OSError: the disk cannot be read.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        payloads: list[bytes] = []
        while True:
            chunk = os.pread(fd, _CHUNK, offset)
            used, stopped = _parse(chunk, offset, payloads, limit)
            offset += used
            if stopped is not None:
                return Frames(payloads, offset, stopped)
            if used == 0:
                break
        return Frames(payloads, offset, _judge(fd, offset) if ended else Ending.OPEN)
    finally:
        os.close(fd)


def _parse(chunk: bytes, base: int, payloads: list[bytes], limit: int) -> tuple[int, Ending | None]:
    """Add the whole frames in ``chunk`` (which begins at file offset ``base``) to ``payloads``.

    Returns how many bytes they took, and the ending where one is already certain.
    """
    at = 0
    while True:
        if len(payloads) >= limit:
            return at, Ending.MORE
        payload = _frame_at(chunk, at)
        if payload is None:
            sealed = chunk[at : at + SEAL_SIZE] == encode_seal(base + at)
            return at, Ending.CLEAN if sealed else None
        payloads.append(payload)
        at += len(payload) + OVERHEAD


def _frame_at(data: bytes, at: int) -> bytes | None:
    """The payload of the whole, sound frame that begins at ``at``, if there is one."""
    if at + _HEAD > len(data):
        return None
    size, crc = _FRAME.unpack_from(data, at)
    end = at + _HEAD + size
    if not 0 < size <= MAX_PAYLOAD or end >= len(data) or data[end] != _END_MARK[0]:
        return None
    payload = data[at + _HEAD : end]
    return payload if _crc32(payload, size) == crc else None


def _judge(fd: int, offset: int) -> Ending:
    """Say what the bytes are that follow the last good frame of a segment without a writer."""
    rest = bytearray()
    at = offset
    while chunk := os.pread(fd, 1 << 20, at):
        rest += chunk
        at += len(chunk)
    data = bytes(rest.rstrip(b"\0"))
    if not data:
        return Ending.CLEAN
    if len(data) >= MAX_FRAME:
        return Ending.CORRUPT
    if len(data) > _HEAD:
        size = int.from_bytes(data[:4], "little")
        if not len(data) - OVERHEAD < size <= MAX_PAYLOAD:
            return Ending.CORRUPT
    # A damaged length can make a frame look cut short; then sound ones follow it.
    if any(_frame_at(data, start) is not None for start in range(1, len(data))):
        return Ending.CORRUPT
    return Ending.TORN

"""Segment files in their directory: making one, sealing it, and telling whether its writer still lives.

A writer holds an exclusive ``flock`` on each of its files for as long as it lives, whatever way it dies, so a segment
whose lock is free has ended.
"""

import fcntl
import os
from pathlib import Path

from auterity.engines.spool.frames import HEADER_SIZE, SEAL_SIZE, encode_header, encode_seal

__all__ = [
    "SUFFIX",
    "Segment",
    "create_segment",
    "list_segments",
    "sync_directory",
    "used_bytes",
    "writer_gone",
    "writer_of",
]

SUFFIX = ".seg"
_UNFINISHED = ".new"


class Segment:
    """One preallocated file that this process writes."""

    __slots__ = ("fd", "limit", "opened_at", "path", "position", "segment_id")

    def __init__(self, fd: int, path: Path, segment_id: str, size: int, opened_at: float) -> None:
        self.fd = fd
        self.path = path
        self.segment_id = segment_id
        self.position = HEADER_SIZE
        self.limit = size - SEAL_SIZE
        """Frames end at or before this offset."""
        self.opened_at = opened_at

    def finish(self) -> None:
        """Seal the file, give unused room back and let go of it; a file without frames is removed.

        Raises:
            OSError: the disk failed. The file is let go of all the same; its frames stand.
        """
        try:
            if self.position == HEADER_SIZE:
                self.path.unlink(missing_ok=True)
                return
            os.pwrite(self.fd, encode_seal(self.position), self.position)
            os.ftruncate(self.fd, self.position + SEAL_SIZE)
            os.fsync(self.fd)
        finally:
            os.close(self.fd)


def create_segment(directory: Path, segment_id: str, size: int, created_us: int, opened_at: float) -> Segment:
    """Make a file with all its room taken on disk. It has its name only once it is locked and whole.

    Raises:
        OSError: no space, or the disk failed; nothing is left behind.
    """
    name = f"{segment_id[:16]}-{segment_id[16:]}"
    unfinished = directory / (name + _UNFINISHED)
    path = directory / (name + SUFFIX)
    fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, encode_header(segment_id, created_us), 0)
        unfinished.rename(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        os.close(fd)
        raise
    return Segment(fd, path, segment_id, size, opened_at)


def list_segments(directory: Path) -> list[Path]:
    """All segments, oldest first."""
    return sorted(directory / name for name in os.listdir(directory) if name.endswith(SUFFIX))


def used_bytes(directory: Path) -> int:
    """Room that segments take, written or not."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith((SUFFIX, _UNFINISHED)):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:  # moved on meanwhile
                    continue
    return total


def writer_gone(path: Path) -> bool:
    """Say whether no process writes this segment any more.

    Raises:
        FileNotFoundError: the file is gone.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def writer_of(path: Path) -> str:
    """Which writer a segment is of, by the file's name; two writers never have the same."""
    return path.stem.rpartition("-")[2]


def sync_directory(directory: Path) -> None:
    """Make created, renamed and removed names in the directory survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

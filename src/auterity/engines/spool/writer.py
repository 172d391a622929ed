"""The writing end of the spool: room is claimed before the work, a frame written after it, and synced in groups.

A frame is in the kernel's hands when :meth:`SpoolWriter.append` returns, so it survives the death of the process; a
thread syncs it to the disk within ``sync_delay_s``, which is what a power cut can cost. Written with ``pwrite``: an
``mmap`` of the file is 0.6 µs faster, and turns a full or failing disk into a signal that kills the process.

Room is real: a claim is only given while preallocated files hold a whole ``MAX_FRAME`` for it and for every other open
claim, so a disk that fills up is met at admission and never in the middle of a record.
"""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from auterity.engines.spool.errors import FrameTooLarge, SpoolFull
from auterity.engines.spool.frames import HEADER_SIZE, MAX_FRAME, MAX_PAYLOAD, SEAL_SIZE, encode_frame
from auterity.engines.spool.segments import Segment, create_segment, sync_directory, used_bytes

__all__ = ["SpoolGauges", "SpoolWriter"]

_log = logging.getLogger(__name__)

_MIB = 1 << 20
_RETRY_S = 0.05
"""How often a full spool is looked at again."""
_HOUSEKEEPING_S = 1.0


@dataclass(frozen=True, slots=True)
class SpoolGauges:
    """What a metrics page shows of one writer."""

    claims: int
    """Claims that are neither written nor withdrawn yet."""
    appended: int
    """Frames since the start."""
    unsynced: int
    """Frames that a power cut would take."""
    sync_failures: int
    refused: int
    """Claims that were refused."""
    directory_bytes: int
    """Room that the segments of all writers take, measured at most a second or so ago."""


class SpoolWriter:
    """One process's segments in the spool directory. Its methods are called from one thread: the event loop's."""

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = 2048 * _MIB,
        segment_bytes: int = 16 * _MIB,
        max_age_s: float = 60.0,
        sync_delay_s: float = 0.03,
    ) -> None:
        """
        Args:
            directory: made if it is not there; shared by all writers of the node.
            max_bytes: room that all segments in the directory may take; writers that grow at the same moment may
                pass it by one segment each.
            segment_bytes: size of one file; smaller where ``max_bytes`` is.
            max_age_s: a file that has frames is followed by the next after this time.
            sync_delay_s: from the first unsynced frame to the sync of the group; 0 where each frame is waited for.

        Raises:
            OSError: the directory cannot be made or written.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = max(4 * MAX_FRAME, min(segment_bytes, max_bytes // 8))
        self._per_segment = (self._segment_bytes - HEADER_SIZE - SEAL_SIZE) // MAX_FRAME
        self._max_age_s = max_age_s
        self._sync_delay_s = sync_delay_s
        self._writer_id = os.urandom(8).hex()
        self._serial = 0
        self._allocation = threading.Lock()
        self._claims = 0
        self._appended = 0
        self._synced = 0
        self._dirty = False
        self._sync_failures = 0
        self._refused = 0
        self._directory_bytes = 0
        self._directory_dirty = True
        self._aged = False
        self._look_again_at = 0.0
        self._spares: deque[Segment] = deque()
        self._retired: deque[Segment] = deque()
        self._current: Segment | None = None
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="spool-sync", daemon=True)
        self._thread.start()
        self._wake.set()

    def admit(self) -> None:
        """Claim room for one frame; ended by one :meth:`append` or :meth:`withdraw`.

        Raises:
            SpoolFull: there is none.
        """
        if self._claims >= self._capacity():
            self._make_room()
        self._claims += 1

    def withdraw(self) -> None:
        """Give a claim back."""
        if self._claims <= 0:
            raise RuntimeError("withdraw without admit")
        self._claims -= 1

    def append(self, payload: bytes) -> int:
        """Write one frame into the claimed room and end the claim, also where it fails. Returns its number.

        Raises:
            FrameTooLarge: the payload is empty or longer than ``MAX_PAYLOAD``.
            SpoolFull: the disk failed, and so did a second try in another file.
        """
        if self._claims <= 0:
            raise RuntimeError("append without admit")
        self._claims -= 1
        if not 0 < len(payload) <= MAX_PAYLOAD:
            raise FrameTooLarge(f"A frame holds 1 to {MAX_PAYLOAD} bytes, not {len(payload)}.")
        frame = encode_frame(payload)
        size = len(frame)
        segment = self._current
        if segment is None or segment.position + size > segment.limit or self._aged:
            segment = self._turn_over(size)
        try:
            written = os.pwrite(segment.fd, frame, segment.position)
        except OSError as error:
            segment = self._write_elsewhere(frame, str(error))
        else:
            if written != size:
                segment = self._write_elsewhere(frame, "short write")
        segment.position += size
        self._appended += 1
        if not self._dirty:
            self._dirty = True
            self._wake.set()
        return self._appended

    async def synced(self, number: int) -> None:
        """Return once the frame with this number, and all before it, survive a power cut.

        Raises:
            SpoolFull: the disk refused the sync.
        """
        if number > self._synced:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((number, waiter))
            self._dirty = True
            self._wake.set()
            await waiter

    @property
    def gauges(self) -> SpoolGauges:
        return SpoolGauges(
            claims=self._claims,
            appended=self._appended,
            unsynced=self._appended - self._synced,
            sync_failures=self._sync_failures,
            refused=self._refused,
            directory_bytes=self._directory_bytes,
        )

    def close(self) -> None:
        """Sync and seal everything; the files are the reader's from now on."""
        self._closing.set()
        self._wake.set()
        self._thread.join()
        if self._current is not None:
            self._retired.append(self._current)
            self._current = None
        self._retired.extend(self._spares)
        self._spares.clear()
        self._sync()

    def _capacity(self) -> int:
        """Frames of any size that the files at hand can still take."""
        spare = len(self._spares) * self._per_segment
        current = self._current
        return spare if current is None else spare + (current.limit - current.position) // MAX_FRAME

    def _turn_over(self, size: int) -> Segment:
        """The file for a frame of this size: the present one, or the next where that is full or old enough."""
        current = self._current
        fits = current is not None and current.position + size <= current.limit
        # A file is left for its age only, and never at the price of room that is promised.
        if current is not None and fits and len(self._spares) * self._per_segment <= self._claims:
            return current
        return self._next_segment()

    def _next_segment(self) -> Segment:
        if not self._spares:
            self._make_room()
        if self._current is not None:
            self._retired.append(self._current)
        self._current = segment = self._spares.popleft()
        self._aged = False
        self._wake.set()
        return segment

    def _write_elsewhere(self, frame: bytes, reason: str) -> Segment:
        """A write failed: leave the file, which its seal ends before the half-written frame, and try the next."""
        _log.error("usage spool: writing failed (%s); trying another file", reason)
        segment = self._next_segment()
        try:
            if os.pwrite(segment.fd, frame, segment.position) == len(frame):
                return segment
        except OSError as error:
            raise SpoolFull("Usage cannot be written to disk; see the server's log.", retry_after=1) from error
        raise SpoolFull("Usage cannot be written to disk; see the server's log.", retry_after=1)

    def _make_room(self) -> None:
        """Preallocate now, on the caller's thread.

        Raises:
            SpoolFull: the directory's limit or the disk's end is reached, or was a moment ago.
        """
        now = time.monotonic()
        if now >= self._look_again_at and self._preallocate():
            return
        if now >= self._look_again_at:
            self._look_again_at = now + _RETRY_S
        self._refused += 1
        raise SpoolFull("There is no room left to record usage; calls are refused until there is.", retry_after=1)

    def _preallocate(self) -> bool:
        with self._allocation:
            try:
                self._directory_bytes = used_bytes(self._directory)
                if self._directory_bytes + self._segment_bytes > self._max_bytes:
                    return False
                self._serial += 1
                now_us = time.time_ns() // 1000
                segment_id = f"{now_us // 1000:012x}{self._serial & 0xFFFF:04x}{self._writer_id}"
                segment = create_segment(
                    self._directory, segment_id, self._segment_bytes, now_us, opened_at=time.monotonic()
                )
            except OSError as error:
                _log.warning("usage spool: no room for another file (%s)", error)
                return False
            self._directory_dirty = True
            self._directory_bytes += self._segment_bytes
            self._spares.append(segment)
            return True

    def _keep(self) -> None:
        """The thread: sync groups, finish full files, have a spare one ready."""
        while not self._closing.is_set():
            self._replenish()
            self._wake.wait(_HOUSEKEEPING_S)
            self._wake.clear()
            if self._dirty:
                self._closing.wait(self._sync_delay_s)
                self._sync()
            elif self._retired:
                self._sync()
            current = self._current
            if current is not None and current.position > HEADER_SIZE:
                self._aged = self._aged or time.monotonic() - current.opened_at > self._max_age_s

    def _replenish(self) -> None:
        now = time.monotonic()
        if now < self._look_again_at:
            return
        while not self._spares or self._capacity() * 3 < self._claims * 4:
            if not self._preallocate():
                self._look_again_at = now + _RETRY_S
                return

    def _sync(self) -> None:
        # The order matters: a frame that comes after the first line asks for another sync, and those up to ``number``
        # lie in the files that are looked up after it.
        self._dirty = False
        number = self._appended
        current = self._current
        retired = [self._retired.popleft() for _ in range(len(self._retired))]
        failure: OSError | None = None
        try:
            if self._directory_dirty:
                self._directory_dirty = False
                sync_directory(self._directory)
            if current is not None and current not in retired:
                os.fdatasync(current.fd)
        except OSError as error:
            failure = error
        for segment in retired:
            try:
                segment.finish()
            except OSError as error:
                failure = error
        if failure is not None:
            # The kernel drops what it could not write and says so once: the next sync would succeed for nothing.
            # The frames are still readable until a power cut, and the file is left for another.
            self._sync_failures += 1
            self._aged = True
            _log.error("usage spool: syncing failed (%s)", failure)
        self._synced = max(self._synced, number)
        self._tell_waiters(number, failure)

    def _tell_waiters(self, number: int, failure: OSError | None) -> None:
        done: list[asyncio.Future[None]] = []
        while self._waiters and self._waiters[0][0] <= number:
            done.append(self._waiters.popleft()[1])
        if done:
            done[0].get_loop().call_soon_threadsafe(_resolve, done, failure)


def _resolve(waiters: list[asyncio.Future[None]], failure: OSError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(SpoolFull("Usage could not be synced to disk; see the server's log."))

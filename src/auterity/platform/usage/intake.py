"""Reading the spool for the collector: batches of events with the segments' steps forward, damage set aside.

Nothing here is final: a batch that is not committed is read again. What is set aside (``.bad`` beside the segment, and
the dead letters) is written before the commit, so after a crash it may be there twice, never not at all.
"""

import logging
import os
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from auterity.engines.spool.errors import NotASegment
from auterity.engines.spool.frames import HEADER_SIZE, OVERHEAD, Ending, read_frames, read_header
from auterity.engines.spool.segments import list_segments, sync_directory, writer_gone
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.ledger import Advance, Position
from auterity.platform.usage.stored import implausible, without_nul

__all__ = ["Batch", "DeadLetter", "Intake"]

_log = logging.getLogger(__name__)

_UNFINISHED_S = 60.0
"""A segment is made in far less."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A frame that is no usage event, as a line of the dead-letter file."""

    segment_id: str
    offset: int
    reason: str
    payload: str
    """Base64."""


@dataclass(slots=True)
class Batch:
    """What one round found."""

    events: list[UsageEvent] = field(default_factory=list[UsageEvent])
    origins: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """Segment and offset of each event."""
    advances: list[Advance] = field(default_factory=list[Advance])
    finished: list[Path] = field(default_factory=list[Path])
    """Segments to remove once the batch is committed."""
    dead: list[DeadLetter] = field(default_factory=list[DeadLetter])
    full: bool = False
    """There is more to read at once."""
    bytes_behind: int = 0
    """Room of what was not read, an upper bound: a living segment's free room counts too."""
    quarantined: int = 0
    """Bytes set aside as damaged."""


class Intake:
    """The spool directory as the collector sees it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._decode = msgspec.msgpack.Decoder(UsageEvent).decode
        self._ids: dict[Path, str] = {}
        self._suspects: set[tuple[str, int]] = set()

    def segments(self) -> dict[Path, str]:
        """The segments that are there, oldest first, with their ids; a file that is none is set aside."""
        found: dict[Path, str] = {}
        seen: set[str] = set()
        for path in list_segments(self._directory):
            try:
                segment_id = self._ids.get(path) or read_header(path).segment_id
            except FileNotFoundError:
                continue
            except NotASegment as error:
                self._set_aside_headless(path, error)
                continue
            # Two copies of one segment are read one after the other.
            if segment_id not in seen:
                seen.add(segment_id)
                found[path] = segment_id
        self._ids = found
        return found

    def read(self, segments: Mapping[Path, str], positions: Mapping[str, Position], limit: int) -> Batch:
        """The next events of all segments, at most ``limit`` of them (dead letters count too)."""
        batch = Batch()
        room = limit
        for path, segment_id in segments.items():
            position = positions.get(segment_id)
            if position is not None and position.drained:
                batch.finished.append(path)
                continue
            try:
                if room <= 0:
                    batch.full = True
                    batch.bytes_behind += path.stat().st_size - (position.offset if position else 0)
                else:
                    room -= self._read_segment(path, segment_id, position, room, batch)
            except FileNotFoundError:
                continue
        return batch

    def suspect(self, batch: Batch) -> None:
        """Treat the batch's events as dead letters from now on: they are what cannot be stored."""
        self._suspects.update(batch.origins)

    def write_dead_letters(self, batch: Batch) -> None:
        """Keep what could not be read where a person can find it.

        Raises:
            OSError: the disk failed or is full.
        """
        for letter in batch.dead:
            _log.error(
                "usage collector: %s at %d is a dead letter: %s", letter.segment_id, letter.offset, letter.reason
            )
        with (self._directory / "dead-letters.jsonl").open("ab") as file:
            file.write(msgspec.json.Encoder().encode_lines(batch.dead))
            file.flush()
            os.fsync(file.fileno())

    def remove(self, batch: Batch) -> None:
        """Remove drained segments. One that stays for a power cut's sake is known to be drained and goes later."""
        for path in batch.finished:
            path.unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        """Remove what writers left that died while they made a segment; it never held a frame."""
        for path in self._directory.glob("*.new"):
            try:
                if time.time() - path.stat().st_mtime > _UNFINISHED_S and writer_gone(path):
                    path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue

    def _read_segment(self, path: Path, segment_id: str, position: Position | None, room: int, batch: Batch) -> int:
        begin = HEADER_SIZE if position is None else position.offset
        # Asked before reading: a writer that is gone now has written all that it ever will.
        ended = writer_gone(path)
        found = read_frames(path, begin, limit=room, ended=ended)
        at = begin
        for payload in found.payloads:
            self._take(payload, segment_id, at, batch)
            at += len(payload) + OVERHEAD
        if found.ending is Ending.MORE:
            batch.full = True
            batch.bytes_behind += path.stat().st_size - found.offset
        if found.ending is Ending.TORN:
            _log.warning("usage collector: %s ends in a frame that its writer never finished", path.name)
        if found.ending is Ending.CORRUPT:
            batch.quarantined += self._set_aside(path, found.offset)
        drained = ended and found.ending in {Ending.CLEAN, Ending.TORN, Ending.CORRUPT}
        if drained:
            batch.finished.append(path)
        if drained and position is None and not found.payloads and found.ending is Ending.CLEAN:
            return 0  # it never held anything, and nothing needs to remember it
        if drained or found.payloads:
            old = None if position is None else position.offset
            batch.advances.append(Advance(segment_id, old, found.offset, drained))
        return len(found.payloads)

    def _take(self, payload: bytes, segment_id: str, offset: int, batch: Batch) -> None:
        origin = (segment_id, offset)
        try:
            event = self._decode(payload)
            reason = implausible(event) if origin not in self._suspects else "the store refuses it"
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            reason = f"it cannot be decoded ({error})"
        else:
            if reason is None:
                batch.events.append(without_nul(event))
                batch.origins.append(origin)
                return
        batch.dead.append(DeadLetter(segment_id, offset, reason, b64encode(payload).decode()))

    def _set_aside(self, path: Path, offset: int) -> int:
        """Keep the rest of a damaged segment, from its first bad byte on, as ``<name>.bad``."""
        with path.open("rb") as file:
            file.seek(offset)
            rest = file.read().rstrip(b"\0")
        _log.error("usage collector: %s is damaged at %d; %d bytes set aside as .bad", path.name, offset, len(rest))
        unfinished = path.with_name(path.name + ".bad.new")
        with unfinished.open("wb") as file:
            file.write(rest)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path.with_name(path.name + ".bad"))
        sync_directory(self._directory)
        return len(rest)

    def _set_aside_headless(self, path: Path, error: NotASegment) -> None:
        """A segment without a sound header: empty after a power cut, or damaged from its first byte on."""
        try:
            if not writer_gone(path):
                return
            if not path.read_bytes().strip(b"\0"):
                path.unlink(missing_ok=True)
            else:
                _log.error("usage collector: %s", error.message)
                path.rename(path.with_name(path.name + ".bad"))
        except FileNotFoundError:
            return

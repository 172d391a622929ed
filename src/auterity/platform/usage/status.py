"""What the collector says of itself: a small file that the server reads for its metrics and health pages."""

import os
from pathlib import Path

import msgspec

__all__ = ["STATUS_FILE", "CollectorStatus", "read_status", "write_status"]

STATUS_FILE = "collector.json"


class CollectorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The collector's state at ``updated_us``; a state that is older than a few seconds means that it does not run."""

    pid: int
    updated_us: int
    """Microseconds since the Unix epoch."""
    events: int = 0
    """Collected since the process started."""
    events_per_second: float = 0.0
    """Over the last seconds."""
    lag_s: float = 0.0
    """Since it last had collected all there was; about 0 while it keeps up."""
    bytes_behind: int = 0
    """Not collected yet, an upper bound."""
    duplicates: int = 0
    """Events that were counted before, and not again."""
    dead_letters: int = 0
    quarantined_bytes: int = 0
    """Set aside as damaged."""
    last_error: str = ""
    """Empty while all is well."""


def write_status(directory: Path, status: CollectorStatus) -> None:
    """Replace the status file in one step.

    Raises:
        OSError: the disk failed or is full.
    """
    unfinished = directory / (STATUS_FILE + ".new")
    unfinished.write_bytes(msgspec.json.encode(status))
    os.replace(unfinished, directory / STATUS_FILE)


def read_status(directory: Path) -> CollectorStatus | None:
    """The last state that was written, or None where there is none."""
    try:
        return msgspec.json.decode((directory / STATUS_FILE).read_bytes(), type=CollectorStatus)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None

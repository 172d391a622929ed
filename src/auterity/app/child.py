"""What passes between the server and the processes it starts (workers, collector).

- **stdin**: one line of JSON, the :class:`Launch`, which holds the settings. Secrets reach a child this way only:
  ``argv`` and the environment can be read by others. The pipe then stays open for the parent's whole life; its end
  tells the child that the parent is gone, however it went, and the child ends at once (its usage is in the spool).
- **a listening socket**, for workers, by inheritance. The server binds it once; children come and go and no caller is
  refused meanwhile.
- **a pipe for readiness**: the child writes one line when it serves.
- **SIGTERM**: finish within ``shutdown_grace_s`` and exit with 0.
"""

import os
import socket
import sys
import threading
from contextlib import suppress

import msgspec

from auterity.app.settings import Settings

__all__ = ["ORPHANED", "Launch", "begin", "listening_socket", "ready"]

ORPHANED = 70
"""Exit code of a child whose parent is gone."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is told."""

    name: str
    """Unique among all children of one server's life, e.g. ``worker-3``."""
    slot: int
    """0 … workers − 1 for workers; the successor of a dead or replaced worker has the same slot, perhaps while the old
    one still finishes its calls. 0 for the collector."""
    settings_json: str
    database_url: str
    """Where PostgreSQL is, the embedded one included."""
    ready_fd: int
    socket_fd: int | None = None

    @property
    def settings(self) -> Settings:
        return Settings.from_json(self.settings_json.encode())


def begin() -> Launch:
    """Read what the parent says, and end this process when the parent is gone. Call it first."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(ORPHANED)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    return msgspec.json.decode(line, type=Launch)


def listening_socket(launch: Launch) -> socket.socket:
    """The server's listening socket.

    Raises:
        ValueError: this child has none.
    """
    if launch.socket_fd is None:
        raise ValueError(f"{launch.name} was given no listening socket")
    return socket.socket(fileno=launch.socket_fd)


def ready(launch: Launch) -> None:
    """Tell the parent that this child serves."""
    # The parent may be gone already; the watch on stdin ends this process then.
    with suppress(OSError):
        os.write(launch.ready_fd, b"ready\n")
        os.close(launch.ready_fd)


def _end_with_parent() -> None:
    # The raw descriptor: a thread that waits in the buffered reader would hold its lock at interpreter exit.
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(ORPHANED)

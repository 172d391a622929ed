"""The home folder: where one Auterity node keeps its data, its secrets and its lock.

::

    auterity.yaml   settings, where they are in a file (the person's, never written by the program)
    layout          which layout this is, and the release that made it
    secrets/        keys that the program made for itself; nobody else may read them
    postgres/       the embedded PostgreSQL's data
    spool/          usage that waits for the collector
    events/         the event store
    run/            the server's lock and what it says of itself; its workers' metrics and counters, new with each start
    logs/           output of the programs that Auterity starts
"""

import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from auterity import __version__
from auterity.kit.errors import AuterityError

__all__ = ["Home", "HomeInUse", "HomeLock", "HomeUnusable", "Serving"]

_LAYOUT = 1
_FOLDERS = ("secrets", "postgres", "spool", "events", "run", "logs")
_OURS = frozenset({*_FOLDERS, "layout", "auterity.yaml"})


class HomeUnusable(AuterityError):
    """The home folder cannot be used as it is; the message says why and what to do."""

    code = "home_unusable"


class HomeInUse(AuterityError):
    """Another server runs on this home folder."""

    code = "home_in_use"


class Serving(msgspec.Struct, frozen=True):
    """What a running server says of itself."""

    pid: int
    url: str = ""
    """Empty until it listens."""


class _Layout(msgspec.Struct, frozen=True):
    layout: int
    made_by: str


@dataclass(frozen=True, slots=True)
class Home:
    """One home folder."""

    path: Path

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def events(self) -> Path:
        return self.path / "events"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def exists(self) -> bool:
        """This is an Auterity home, not just a path for one."""
        return (self.path / "layout").is_file()

    def prepare(self) -> None:
        """Make the folders that are missing, for this user alone; harmless where all are there.

        Raises:
            HomeUnusable: it is something else's folder, another user's, a newer layout's, or cannot be written.
        """
        try:
            self._prepare()
        except OSError as error:
            raise HomeUnusable(
                f"The home folder {self.path} cannot be prepared ({error.strerror}: {error.filename}). "
                "Make it writable for this user, or choose another with --home."
            ) from error

    def _prepare(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.stat().st_uid != os.geteuid():
            raise HomeUnusable(
                f"The home folder {self.path} belongs to another user (id {self.path.stat().st_uid}). "
                "Run as that user, or choose another with --home."
            )
        self._check_layout()
        for name in _FOLDERS:
            folder = self.path / name
            folder.mkdir(mode=0o700, exist_ok=True)
            # PostgreSQL's folder belongs to the user it runs as, which is not this one where this one is root.
            if name != "postgres" and stat.S_IMODE(folder.stat().st_mode) != 0o700:
                folder.chmod(0o700)
        if not self.exists:
            _write(self.path / "layout", msgspec.json.encode(_Layout(_LAYOUT, __version__)) + b"\n")

    def _check_layout(self) -> None:
        try:
            found = msgspec.json.decode((self.path / "layout").read_bytes(), type=_Layout)
        except FileNotFoundError:
            strangers = sorted(entry.name for entry in self.path.iterdir() if entry.name not in _OURS)
            if strangers:
                raise HomeUnusable(
                    f"{self.path} holds other things ({', '.join(strangers[:3])}{', …' if len(strangers) > 3 else ''}) "
                    "and is not an Auterity home. Choose an empty or a new folder with --home."
                ) from None
            return
        except msgspec.MsgspecError as error:
            raise HomeUnusable(
                f"{self.path / 'layout'} is damaged. Restore the home folder from a backup, or choose another "
                "with --home."
            ) from error
        if found.layout > _LAYOUT:
            raise HomeUnusable(
                f"The home folder {self.path} was made by Auterity {found.made_by}, which is newer than this one "
                f"({__version__}). Install that release or a later one."
            )

    def lock(self) -> "HomeLock":
        """Take the folder for this server until it ends, by whatever means.

        Raises:
            HomeInUse: another server has it.
        """
        descriptor = os.open(self.run / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            other = self.serving()
            who = f"process {other.pid}" + (f" at {other.url}" if other.url else "") if other else "another process"
            raise HomeInUse(
                f"Another Auterity server ({who}) is running on {self.path}. "
                "Stop it, or give this one its own folder with --home."
            ) from None
        lock = HomeLock(descriptor)
        lock.announce(Serving(os.getpid()))
        return lock

    def serving(self) -> Serving | None:
        """The server that runs on this folder, or None."""
        try:
            descriptor = os.open(self.run / "server.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with suppress(msgspec.MsgspecError):
                return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Serving)
            return Serving(0)  # it has the lock and has not yet said who it is
        else:
            return None
        finally:
            os.close(descriptor)


class HomeLock:
    """The hold on a home folder. The kernel lets go of it when the process ends, so it is never stale."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def announce(self, serving: Serving) -> None:
        """Let others read who has the lock."""
        said = msgspec.json.encode(serving)
        os.pwrite(self._descriptor, said, 0)
        os.ftruncate(self._descriptor, len(said))

    def release(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is whole or not there."""
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

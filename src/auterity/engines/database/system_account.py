"""The operating system's account that runs the embedded PostgreSQL, which refuses to run as root."""

import logging
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from auterity.engines.database.errors import EmbeddedDatabaseFailed

__all__ = ["Account", "open_path", "run_as", "server_account"]

ACCOUNT_NAME = "auterity-db"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """A user to switch to."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """The account to run PostgreSQL as; None for our own. Root gets a system user, made on first use.

    Raises:
        EmbeddedDatabaseFailed: it cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        entry = _make_account()
    return Account(entry.pw_uid, entry.pw_gid)


def open_path(*paths: Path) -> None:
    """Let the server's account pass through ``paths`` and the folders above them.

    One that is closed gets ``o+x``, with which others enter it by name but do not list it.
    """
    for path in paths:
        for folder in (*reversed(path.absolute().parents), path):
            mode = folder.stat().st_mode
            if mode & 0o001:
                continue
            folder.chmod(mode | 0o001)
            _logger.info("the embedded database must pass through %s: added o+x", folder)


def run_as(account: Account | None, command: list[str], stdin: str = "") -> tuple[int, str]:
    """Run a command to its end as ``account``; returns its status and what it said.

    A pipe would stay open as long as a server that the command leaves behind, so what it says goes to a file.
    """
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as given:
        given.write(stdin)
        given.seek(0)
        finished = subprocess.run(  # noqa: S603 - the command is the program's own
            command,
            stdin=given,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=() if account else None,
            umask=0o077,
        )
        said.seek(0)
        return finished.returncode, said.read()


def _make_account() -> pwd.struct_passwd:
    program = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    deadline = time.monotonic() + 10
    while program is not None and time.monotonic() < deadline:
        subprocess.run(  # noqa: S603 - fixed arguments
            [program, *options, "--shell", "/usr/sbin/nologin", ACCOUNT_NAME],
            check=False,
            capture_output=True,
        )
        with suppress(KeyError):
            return pwd.getpwnam(ACCOUNT_NAME)
        # Another server may be making it at this moment and hold the lock of the account file.
        time.sleep(0.2)
    raise EmbeddedDatabaseFailed(
        f"PostgreSQL does not run as root and the system user {ACCOUNT_NAME!r} cannot be made. Make it, run "
        "Auterity as an ordinary user, or give a --database-url."
    )

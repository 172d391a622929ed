"""Master keys in a file of the home folder, made on first use."""

import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from auterity.engines.secrets.errors import MasterKeyUnusable
from auterity.engines.secrets.port import KEY_BYTES, MasterKey, read_keys

__all__ = ["FileMasterKeys"]

_HEADER = (
    "# Auterity's master keys, in base64, the current one first. Keep a copy apart from the database: without them\n"
    "# provider credentials and all virtual keys are lost. To change keys put a new line first and keep the old ones.\n"
)


class FileMasterKeys:
    """One key a line; lines that begin with ``#`` are comments. Only the owner may read the file."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: ``<home>/secrets/master.key``.
        """
        self._path = path

    def keys(self) -> Sequence[MasterKey]:
        with suppress(FileExistsError):
            self._make()
        try:
            with self._path.open(encoding="ascii") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if mode & 0o077:
                    raise MasterKeyUnusable(
                        f"{self._path} may be read by others (mode {mode:04o}). Run: chmod 600 '{self._path}'"
                    )
                lines = [line.strip() for line in file]
        except (OSError, UnicodeDecodeError) as error:
            raise MasterKeyUnusable(f"The master key file {self._path} cannot be read.") from error
        return read_keys([line for line in lines if line and not line.startswith("#")], str(self._path))

    def _make(self) -> None:
        """Write a first key. Complete or not there at all, and of several servers that start at once one wins.

        Raises:
            FileExistsError: there is a file.
        """
        if self._path.exists():
            raise FileExistsError
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{_HEADER}{MasterKey.of(secrets.token_bytes(KEY_BYTES)).text()}\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, self._path)
            self._remember_name()
        except FileExistsError:
            raise
        except OSError as error:
            raise MasterKeyUnusable(f"The master key file {self._path} cannot be written.") from error
        finally:
            draft.unlink(missing_ok=True)

    def _remember_name(self) -> None:
        """A power cut must not take the file's name away once something has been sealed with its key."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

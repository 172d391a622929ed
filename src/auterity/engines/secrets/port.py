"""Master keys: what everything else that is secret is sealed with or derived from."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from auterity.engines.secrets.errors import MasterKeyUnusable

__all__ = ["KEY_BYTES", "MasterKey", "MasterKeys", "read_keys"]

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One key of 256 bits."""

    secret: bytes = field(repr=False)
    id: bytes
    """Eight bytes that name the key and tell nothing about it."""

    @classmethod
    def of(cls, secret: bytes) -> "MasterKey":
        """Name a key after itself, so that every node gives it the same name."""
        return cls(secret, sha256(b"auterity master key name\0" + secret).digest()[:8])

    def text(self) -> str:
        """The key as it is written in a file or a variable."""
        return base64.b64encode(self.secret).decode()


class MasterKeys(Protocol):
    """Where the keys come from."""

    def keys(self) -> Sequence[MasterKey]:
        """All keys that still hold, at least one: the current one first, then earlier ones, the oldest last.

        Raises:
            MasterKeyUnusable: there is none, or one cannot be read.
        """
        ...


def read_keys(texts: Sequence[str], source: str) -> tuple[MasterKey, ...]:
    """Read keys written in base64. ``source`` names the place in errors, which never show a key.

    Raises:
        MasterKeyUnusable: none, not base64, or not 32 bytes.
    """
    keys: list[MasterKey] = []
    for number, written in enumerate(texts, 1):
        try:
            secret = base64.b64decode(written.strip(), validate=True)
        except (binascii.Error, ValueError) as error:
            raise MasterKeyUnusable(f"Master key {number} in {source} is not base64.") from error
        if len(secret) != KEY_BYTES:
            raise MasterKeyUnusable(
                f"Master key {number} in {source} has {len(secret)} bytes; it needs {KEY_BYTES}. "
                "Make one with: openssl rand -base64 32"
            )
        keys.append(MasterKey.of(secret))
    if not keys:
        raise MasterKeyUnusable(f"There is no master key in {source}. Make one with: openssl rand -base64 32")
    if len({key.id for key in keys}) != len(keys):
        raise MasterKeyUnusable(f"A master key stands twice in {source}.")
    return tuple(keys)

"""The secret of a virtual key: how it is made, recognised and stored.

A secret reads ``ak-``, 40 random base62 characters (238 bits) and 6 characters of checksum: the CRC-32 of all before it
in base62. Scanners for leaked credentials find one with ``SCANNER_PATTERN`` and rule out chance by the checksum.

Only HMAC-SHA256 (RFC 2104) under the server's pepper is stored. A slow password hash would add nothing: a random secret
of 238 bits cannot be guessed, and the look-up is on the way of every call.
"""

import hmac
import re
import secrets
import zlib

__all__ = [
    "LONGEST_SECRET",
    "SCANNER_PATTERN",
    "SHORTEST_SECRET",
    "hash_secret",
    "hint",
    "is_importable",
    "is_well_formed",
    "new_secret",
]

SCANNER_PATTERN = r"\bak-[0-9A-Za-z]{46}\b"
"""For scanners."""
SHORTEST_SECRET = 16
LONGEST_SECRET = 256
"""Bounds of a secret that a caller brings."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX = "ak-"
_RANDOM_LENGTH = 40
_CHECKSUM_LENGTH = 6
_WELL_FORMED = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")
_PRINTABLE = re.compile(rf"[!-~]{{{SHORTEST_SECRET},{LONGEST_SECRET}}}")


def new_secret() -> str:
    """Make a secret."""
    body = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Say whether this is a secret that we made, as far as its checksum tells."""
    body, checksum = secret[:-_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
    return _WELL_FORMED.fullmatch(secret) is not None and checksum == _checksum(body)


def is_importable(secret: str) -> bool:
    """Say whether a caller may bring this secret: printable ASCII without spaces, long enough, and not almost ours."""
    return _PRINTABLE.fullmatch(secret) is not None and (not secret.startswith(_PREFIX) or is_well_formed(secret))


def hash_secret(pepper: bytes, secret: str) -> bytes:
    """What is stored and looked up in place of a secret: 32 bytes. Any text may be asked for."""
    return hmac.digest(pepper, secret.encode("utf-8", "surrogatepass"), "sha256")


def hint(secret: str) -> str:
    """The last four characters, by which a person recognises a key."""
    return secret[-4:]


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, 62)
        digits = _ALPHABET[digit] + digits
    return digits

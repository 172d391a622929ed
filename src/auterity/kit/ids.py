"""Prefixed, sortable identifiers such as ``key_019aa1…``.

The first 12 hexadecimal digits are milliseconds since the Unix epoch, the other 20 are random (80 bits),
so that ids sort by creation time and cannot be guessed. The layout follows ULID (48 bits of time, 80 bits of
randomness), written in lower-case hexadecimal because ``format`` is the fastest encoder Python has.
"""

import os
import re
import time

__all__ = ["ID_PATTERN", "is_id", "new_id"]

ID_PATTERN = r"^[a-z]{2,5}_[0-9a-f]{32}$"
_ID = re.compile(ID_PATTERN)


def new_id(prefix: str) -> str:
    """Return a new identifier ``<prefix>_<32 hexadecimal digits>``."""
    milliseconds = time.time_ns() // 1_000_000
    return f"{prefix}_{milliseconds:012x}{int.from_bytes(os.urandom(10)):020x}"


def is_id(value: str, prefix: str) -> bool:
    """Say whether ``value`` is a well-formed identifier with this prefix."""
    return _ID.fullmatch(value) is not None and value.startswith(prefix + "_")

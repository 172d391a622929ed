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


_RANDOM_DIGITS = 20
_BATCH = 512
_digits: list[str] = []


def new_id(prefix: str) -> str:
    """Return a new identifier ``<prefix>_<32 hexadecimal digits>``."""
    if not _digits:
        # One system call for many ids: each call on the gateway's path needs one.
        batch = os.urandom(_BATCH * _RANDOM_DIGITS // 2).hex()
        _digits.extend(batch[i : i + _RANDOM_DIGITS] for i in range(0, len(batch), _RANDOM_DIGITS))
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{_digits.pop()}"


os.register_at_fork(after_in_child=_digits.clear)


def is_id(value: str, prefix: str) -> bool:
    """Say whether ``value`` is a well-formed identifier with this prefix."""
    return _ID.fullmatch(value) is not None and value.startswith(prefix + "_")

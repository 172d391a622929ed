"""JSON whose shape is not known beforehand: decoded without fear, and narrowed to objects and arrays."""

from collections.abc import Mapping
from typing import Final, cast

import msgspec

__all__ = ["UNREADABLE", "as_list", "as_object", "decoded"]

UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoding raises where bytes are not the JSON that is wanted: msgspec's own error (too deep and bad UTF-8 are
Python's)."""


def decoded(raw: bytes | msgspec.Raw) -> object:
    """The value, or None where it is not JSON."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return None


def as_object(value: object) -> Mapping[str, object] | None:
    """``value`` as a JSON object, or None where it is something else."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object]:
    """``value`` as a JSON array; empty where it is something else."""
    return cast("list[object]", value) if isinstance(value, list) else []

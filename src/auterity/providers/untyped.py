"""JSON values whose shape is not known beforehand, narrowed to objects and arrays."""

from collections.abc import Mapping
from typing import cast

__all__ = ["as_list", "as_object"]


def as_object(value: object) -> Mapping[str, object] | None:
    """``value`` as a JSON object, or None where it is something else."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object]:
    """``value`` as a JSON array; empty where it is something else."""
    return cast("list[object]", value) if isinstance(value, list) else []

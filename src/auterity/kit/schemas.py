"""The shapes of the management API share two rules: unknown fields are refused, and lists come in pages."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Page", "Schema"]

Item = TypeVar("Item")


class Schema(BaseModel):
    """Base of all request and response bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Schema, Generic[Item]):
    """One page of a listing."""

    items: list[Item]
    next_cursor: str | None = None
    """Pass it as ``cursor`` to get the next page; null on the last one."""

"""A virtual key as the hot path needs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["KeyPlan"]


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """What the holder of one key may do."""

    id: str
    tenant_id: str
    name: str
    user_id: str
    """The owner; ``""`` for a key of no person."""
    allowed_models: frozenset[str] | None = None
    """None: all of the tenant's models."""
    requests_per_minute: int | None = None
    monthly_budget_nano: int | None = None
    """Hard, per calendar month in UTC; None: no budget."""
    expires_at: datetime | None = None
    revoked: bool = False
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """From the key's metadata; added to each usage event."""

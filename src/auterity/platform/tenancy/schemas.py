"""Shapes of tenants in the management API."""

from datetime import datetime
from typing import Annotated, Literal, Self

import msgspec
from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from auterity.kit.schemas import Schema

__all__ = ["TenantCreate", "TenantOut", "TenantPatch", "TenantStatus"]

_LARGEST_SETTINGS = 16 * 1024


def _small(settings: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if len(msgspec.json.encode(settings)) > _LARGEST_SETTINGS:
        raise ValueError(f"settings may take at most {_LARGEST_SETTINGS} bytes as JSON")
    return settings


TenantStatus = Literal["active", "suspended"]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]*$")
]
Settings = Annotated[
    dict[str, JsonValue], AfterValidator(_small), Field(description="Your own notes on the tenant; kept as they are.")
]


class TenantCreate(Schema):
    """A tenant to make."""

    slug: Slug = Field(description="A short name, as in a host name; it cannot be changed.")
    name: Name
    settings: Settings = Field(default_factory=dict[str, JsonValue])


class TenantPatch(Schema):
    """What to change; a field left out stays as it is."""

    name: Name | None = None
    status: TenantStatus | None = Field(default=None, description="Only the operator changes it.")
    settings: Settings | None = None

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        for name in self.model_fields_set:
            if getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null; leave it out to keep it")
        return self


class TenantOut(Schema):
    """A tenant."""

    id: str
    slug: str
    name: str
    status: TenantStatus
    settings: dict[str, JsonValue]
    created_at: datetime

"""Shapes of virtual keys in the management API. A secret is shown once, in the answer that makes it."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, StringConstraints, model_validator

from auterity.kit.schemas import Schema

__all__ = ["KeyCreate", "KeyOut", "KeyPatch", "KeyWithSecret", "RotationRequest", "SecretOut"]

_MOST_TAGS = 16
_MOST_USD = 9_000_000
"""The shared counters hold 2^53 - 1 nano-dollars, some $9.007 million."""


def _countable(amount: Decimal) -> Decimal:
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -9:
        raise ValueError("at most nine decimal places")
    if amount > _MOST_USD:
        raise ValueError(f"a key's budget is at most {_MOST_USD:,} US dollars a month; leave it out for no limit")
    return amount


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]*$")
]
TagKey = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]*$")]
TagValue = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f]*$")]
Tags = Annotated[
    dict[TagKey, TagValue], Field(max_length=_MOST_TAGS, description="Added to each usage event of the key.")
]
ModelNames = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f]*$")]],
    Field(max_length=1000, description="Public model names; null: all of the tenant's models."),
]
RequestsPerMinute = Annotated[int, Field(ge=1, le=1_000_000_000)]
Budget = Annotated[
    Decimal,
    Field(ge=0, description=f"US dollars per calendar month (UTC), at most {_MOST_USD:,}; hard."),
    AfterValidator(_countable),
]
UserId = Annotated[str, StringConstraints(pattern=r"^usr_[0-9a-f]{32}$")]


class KeyCreate(Schema):
    """A key to make."""

    name: Name
    user_id: UserId | None = Field(default=None, description="The owner, a member of the tenant.")
    allowed_models: ModelNames | None = None
    requests_per_minute: RequestsPerMinute | None = None
    monthly_budget_usd: Budget | None = None
    expires_at: AwareDatetime | None = None
    tags: Tags = Field(default_factory=dict[str, str])
    secret: SecretStr | None = Field(
        default=None, description="Your own value, to keep clients of another gateway working; 16 to 256 characters."
    )


class KeyPatch(Schema):
    """What to change; a field left out stays as it is, null takes a limit away."""

    name: Name | None = None
    user_id: UserId | None = None
    allowed_models: ModelNames | None = None
    requests_per_minute: RequestsPerMinute | None = None
    monthly_budget_usd: Budget | None = None
    expires_at: AwareDatetime | None = None
    tags: Tags | None = None

    @model_validator(mode="after")
    def _keep_what_must_be(self) -> Self:
        for name in ("name", "tags"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null; leave it out to keep it")
        return self


class RotationRequest(Schema):
    """How to change a key's secret."""

    grace_s: int = Field(default=0, ge=0, le=90 * 86_400, description="Seconds for which the old secret still works.")


class SecretOut(Schema):
    """A secret as far as it is shown."""

    hint: str = Field(description="Its last four characters.")
    expires_at: datetime | None = Field(description="When it stops working; null: with the key.")


class KeyOut(Schema):
    """A key."""

    id: str
    name: str
    user_id: str | None
    allowed_models: list[str] | None
    requests_per_minute: int | None
    monthly_budget_usd: Decimal | None
    expires_at: datetime | None
    revoked_at: datetime | None
    tags: dict[str, str]
    last_used_at: datetime | None = Field(description="Right to a minute or so.")
    created_at: datetime
    secrets: list[SecretOut] = Field(description="The current secret first, then one that is being rotated out.")


class KeyWithSecret(KeyOut):
    """A key with the secret that was just made."""

    secret: str = Field(description="Shown this once; keep it safe.")

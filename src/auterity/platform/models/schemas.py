"""Shapes of the catalogue in the management API. Credentials go in and never come out."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, SecretStr, StringConstraints, model_validator

from auterity.kit.schemas import Schema
from auterity.platform.models.prices import TokenKind
from auterity.providers.contract import Endpoint

__all__ = [
    "DeploymentCreate",
    "DeploymentOut",
    "DeploymentPatch",
    "DeploymentTest",
    "ModelCreate",
    "ModelOut",
    "ModelPatch",
    "ModelTest",
    "ModelTestRequest",
    "OverlayCreate",
    "OverlayOut",
    "OverlayPatch",
    "PriceResolution",
    "ProviderCreate",
    "ProviderOut",
    "ProviderPatch",
    "TimeoutLimits",
]

_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110, section 5.6.2."""
_OURS = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})
_SECRET_PARAMETERS = frozenset({"access_token", "api-key", "api_key", "apikey", "key", "sig", "token"})


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    lowered = {name.lower(): value.strip() for name, value in headers.items()}
    for name, value in lowered.items():
        if not _FIELD_NAME.fullmatch(name) or name in _OURS:
            raise ValueError(f"{name!r} cannot be used as an extra header")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the value of {name!r} may only hold printable ASCII characters")
    return lowered


def _checked_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a key is made of printable ASCII characters without spaces")
    return key


def _checked_query(query: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*", query):
        raise ValueError("a query string may only hold the plain characters of a URL")
    if _SECRET_PARAMETERS & {part.partition("=")[0].lower() for part in query.split("&")}:
        raise ValueError("a query string is shown in clear; put the secret into api_key or headers")
    return query


def _given(patch: BaseModel, *nullable: str) -> None:
    """Refuse ``null`` for a field that cannot be empty: leaving it out keeps it."""
    for name in patch.model_fields_set - {*nullable}:
        if getattr(patch, name) is None:
            raise ValueError(f"{name} cannot be null; leave it out to keep it")


ProviderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$")]
UpstreamModel = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$")]
Text = Annotated[str, StringConstraints(max_length=2000)]
Credential = Annotated[SecretStr, Field(max_length=8192), AfterValidator(_checked_key)]
Headers = Annotated[dict[str, str], Field(max_length=32), AfterValidator(_checked_headers)]
Query = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_checked_query)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000_000)]
Place = Annotated[int, Field(ge=0, le=1_000_000)]
Weight = Annotated[int, Field(ge=0, le=1_000_000)]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=20, decimal_places=12)]
Percent = Annotated[Decimal, Field(ge=-900, le=100, decimal_places=6)]
Multiplier = Annotated[Decimal, Field(ge=0, le=100, decimal_places=6)]


class TimeoutLimits(Schema):
    """Limits of a call in seconds; what is left out has its default."""

    connect: Seconds | None = None
    first_byte: Seconds | None = None
    between_bytes: Seconds | None = None
    total: Seconds | None = None


class ProviderCreate(Schema):
    """A provider to be."""

    name: ProviderName
    kind: str = Field(examples=["openai_compatible", "anthropic", "sandbox"])
    base_url: Annotated[str, StringConstraints(max_length=2048)] | None = Field(
        default=None, description="Where its API begins, e.g. https://api.openai.com/v1; some kinds have a default."
    )
    api_key: Credential | None = None
    headers: Headers = Field(default_factory=dict[str, str])
    query: Query = Field(
        default="", description="Added to each call's URL, e.g. api-version=2024-10-21. Not for secrets."
    )
    stream_options: bool = Field(
        default=True,
        description="False: it refuses stream_options. A stream's usage is then what it tells unasked, or estimated.",
    )
    price_provider: ProviderName | None = Field(
        default=None, description="Its id in the public price list, where the address does not tell it."
    )
    timeouts: TimeoutLimits = TimeoutLimits()
    enabled: bool = True
    shared: bool = Field(default=False, description="Offered to all tenants; only for operators.")


class ProviderPatch(Schema):
    """Changes to a provider; what is left out stays. ``api_key: null`` removes the key."""

    name: ProviderName | None = None
    base_url: Annotated[str, StringConstraints(max_length=2048)] | None = None
    api_key: Credential | None = None
    headers: Headers | None = None
    query: Query | None = None
    stream_options: bool | None = None
    price_provider: ProviderName | None = None
    timeouts: TimeoutLimits | None = None
    enabled: bool | None = None
    shared: bool | None = None

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        _given(self, "api_key", "price_provider")
        return self


class ProviderOut(Schema):
    """A provider. Its key and the values of its headers cannot be read back."""

    id: str
    name: str
    kind: str
    base_url: str
    has_credential: bool
    credential_hint: str = Field(description="The key's last four characters, where it is long enough.")
    header_names: list[str]
    query: str
    stream_options: bool
    price_provider: str | None
    timeouts: TimeoutLimits
    enabled: bool
    shared: bool
    created_at: datetime
    updated_at: datetime


class DeploymentCreate(Schema):
    """One more way to serve a model."""

    provider: str = Field(description="Name or id of one of your providers.")
    upstream_model: UpstreamModel
    listed_as: UpstreamModel | None = Field(
        default=None, description="The model's name in the public price list, where the provider's name is another."
    )
    position: Place = Field(default=0, description="Order among the fallbacks: lower is tried first.")
    weight: Weight = Field(default=1, description="Share of the calls; 0: a fallback, tried only after the others.")
    context_window: Tokens | None = None
    max_output_tokens: Tokens | None = None
    enabled: bool = True


class DeploymentPatch(Schema):
    """Changes to a deployment; what is left out stays."""

    upstream_model: UpstreamModel | None = None
    listed_as: UpstreamModel | None = None
    position: Place | None = None
    weight: Weight | None = None
    context_window: Tokens | None = None
    max_output_tokens: Tokens | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        _given(self, "listed_as", "context_window", "max_output_tokens")
        return self


class DeploymentOut(Schema):
    """A deployment of a model."""

    id: str
    provider_id: str
    provider: str
    upstream_model: str
    listed_as: str | None
    position: int
    weight: int
    context_window: int | None
    max_output_tokens: int | None
    enabled: bool


class ModelCreate(Schema):
    """A model to be, with what serves it."""

    name: ModelName
    description: Text = ""
    allow_unpriced: bool = Field(default=False, description="Serve calls whose price is not known, and flag them.")
    enabled: bool = True
    shared: bool = Field(default=False, description="Offered to all tenants; only for operators.")
    deployments: Annotated[list[DeploymentCreate], Field(max_length=100)] = Field(
        default_factory=list[DeploymentCreate]
    )


class ModelPatch(Schema):
    """Changes to a model; what is left out stays."""

    name: ModelName | None = None
    description: Text | None = None
    allow_unpriced: bool | None = None
    enabled: bool | None = None
    shared: bool | None = None

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        _given(self)
        return self


class ModelOut(Schema):
    """A model that clients can ask for."""

    id: str
    name: str
    description: str
    allow_unpriced: bool
    enabled: bool
    shared: bool
    yours: bool = Field(description="False for a model that the operator shares: it can be called, not changed.")
    deployments: list[DeploymentOut] = Field(description="In order of position; empty where it is not yours.")
    created_at: datetime
    updated_at: datetime


class ModelTestRequest(Schema):
    """How to try a model."""

    endpoint: Endpoint = "chat.completions"
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=1000)] = "Answer with the one word: ready"


class DeploymentTest(Schema):
    """What came of one real call to one deployment. It costs what it costs at the provider."""

    deployment_id: str
    provider: str
    upstream_model: str
    ok: bool
    latency_ms: float
    status: int = Field(description="The provider's HTTP status; 0 where none came.")
    error_code: str | None = None
    error: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano: int | None = Field(
        default=None, description="Nano-dollars; null where the price or the usage is not known."
    )
    price_source: str | None = None
    finish_reason: str | None = None


class ModelTest(Schema):
    """A model tried on each of its deployments."""

    model: str
    ok: bool
    deployments: list[DeploymentTest]


def _no_gap(prices: dict[TokenKind, Decimal]) -> dict[TokenKind, Decimal]:
    if {"cache_read", "input_audio"} <= prices.keys() and "cache_read_audio" not in prices:
        raise ValueError("give a price for cache_read_audio too, beside those for cache_read and input_audio")
    return prices


FixedPrices = Annotated[dict[TokenKind, Dollars], AfterValidator(_no_gap)]


class OverlayCreate(Schema):
    """Terms to be. Exactly one overlay applies to a call: the narrowest valid one, then the latest."""

    note: Text = ""
    provider: str | None = Field(default=None, description="Name or id of one of your providers; null: any.")
    upstream_model: UpstreamModel | None = Field(
        default=None, description="The model's name at the provider; null: any."
    )
    discount_percent: Percent = Field(
        default=Decimal(0), description="Off the list price, for all that prices does not fix."
    )
    prices: FixedPrices = Field(
        default_factory=dict[TokenKind, Decimal], description="Fixed US dollars per million tokens by kind."
    )
    per_request: Dollars | None = Field(default=None, description="Fixed US dollars per call; null: the list's.")
    batch_multiplier: Multiplier = Field(
        default=Decimal(1),
        description="What batched calls cost, relative to others. Kept for later: this release serves no batches, "
        "so it changes no price yet.",
    )
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = Field(default=None, description="The first moment at which it no longer holds.")
    shared: bool = Field(default=False, description="For your shared models, whoever calls them; only for operators.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must come after valid_from")
        return self


class OverlayPatch(Schema):
    """Changes to terms; what is left out stays. ``prices`` replaces all fixed prices."""

    note: Text | None = None
    discount_percent: Percent | None = None
    prices: FixedPrices | None = None
    per_request: Dollars | None = None
    batch_multiplier: Multiplier | None = None
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        _given(self, "per_request", "valid_from", "valid_to")
        return self


class OverlayOut(Schema):
    """Terms of the tenant."""

    id: str
    note: str
    provider_id: str | None
    upstream_model: str | None
    discount_percent: Decimal
    prices: dict[TokenKind, Decimal]
    per_request: Decimal | None
    batch_multiplier: Decimal
    valid_from: datetime | None
    valid_to: datetime | None
    shared: bool
    created_at: datetime
    updated_at: datetime


class PriceResolution(Schema):
    """Which price applies to a model, and why."""

    provider: str
    model: str
    at: datetime
    known: bool
    source: str | None = Field(description="genai-prices, overlay or sandbox; null where no price is known.")
    version: str | None
    reason: str
    valid_until: datetime | None = Field(description="The next moment at which another price may apply.")
    per_million: dict[TokenKind, Decimal] = Field(
        description="US dollars per million tokens of short contexts; kinds not named cost what they are a part of."
    )
    tiers: dict[TokenKind, dict[int, Decimal]] = Field(
        description="US dollars per million tokens for calls with more input tokens than the key says."
    )
    per_request: Decimal = Field(description="US dollars per call.")
    overlay_id: str | None
    unmetered: list[str] = Field(description="Charges of the list that the gateway does not meter.")

"""The usage event: one wide, immutable fact per gateway call, whatever came of it."""

import msgspec

__all__ = ["SCHEMA_VERSION", "Attempt", "UsageEvent"]

SCHEMA_VERSION = 1
"""Goes up when a field is added; fields are only ever appended, with a default."""


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One try at one deployment."""

    deployment_id: str
    provider: str
    status: int
    """The provider's HTTP status; 0 where none came."""
    latency_us: int
    error_code: str = ""
    after_us: int = 0
    """From the start of the call to the start of this try."""


class UsageEvent(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One call. Times in microseconds, money in nano-dollars, absent text is ``""``."""

    id: str
    """``evt_…``; the collector counts each id once."""
    time_us: int
    """Start of the call, microseconds since the Unix epoch."""
    request_id: str
    tenant_id: str
    key_id: str
    user_id: str = ""
    """The key's owner."""
    end_user: str = ""
    """The request's ``user`` field."""
    tags: dict[str, str] = {}
    endpoint: str
    stream: bool = False
    requested_model: str = ""
    model: str = ""
    """The public model that served; ``""`` where none did."""
    deployment_id: str = ""
    provider: str = ""
    """The configured provider's name."""
    upstream_model: str = ""
    attempts: tuple[Attempt, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    input_audio_tokens: int = 0
    cache_read_audio_tokens: int = 0
    output_audio_tokens: int = 0
    reasoning_tokens: int = 0
    tokens_estimated: bool = False
    cost_nano: int = 0
    price_source: str = ""
    """``genai-prices``, ``overlay``, ``sandbox``; ``""`` where nothing was priced."""
    price_version: str = ""
    unpriced: bool = False
    """The call was served without a known price, by explicit setting: ``cost_nano`` is not the truth."""
    latency_us: int = 0
    first_byte_us: int = 0
    """Until the first byte of the answer went out; 0 where none did."""
    overhead_us: int = 0
    """Auterity's own time: the call less the time spent waiting for providers."""
    status: int = 200
    """The HTTP status the client saw."""
    outcome: str = "ok"
    """``ok``, ``error`` (refused or failed), ``cancelled`` (the client left), ``interrupted`` (the provider died
    mid-stream)."""
    error_code: str = ""
    cache: str = "off"
    """``off``, ``hit`` or ``miss``."""

"""Usage as the management API shows it. Money as integer nano-dollars and, exactly, as a decimal number of dollars."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal

from pydantic import Field

from auterity.kit.pagination import MAX_PAGE_SIZE
from auterity.kit.schemas import Page, Schema
from auterity.platform.usage.errors import UsageQuestionInvalid
from auterity.platform.usage.query import GROUPS, TAG, Filter, Question

__all__ = [
    "AttemptOut",
    "EventsParameters",
    "ReportParameters",
    "UsageEventOut",
    "UsageMeasures",
    "UsagePeriod",
    "UsageReport",
    "UsageRow",
]

_Any = Annotated[
    list[str], Field(default_factory=list[str], max_length=100, description="May be repeated: any of these.")
]


class EventsParameters(Schema):
    """The query string: which events, which page, which format."""

    begin: datetime | date | None = Field(
        None, alias="from", description="Calls that began at or after it. Without it: this calendar month (UTC)."
    )
    end: datetime | date | None = Field(None, alias="to", description="Calls that began before it.")
    model: _Any
    requested_model: _Any
    provider: _Any
    key: _Any
    user: _Any
    endpoint: _Any
    outcome: _Any
    end_user: _Any
    tag: list[str] = Field(
        [], max_length=100, description="`name:value`. The same name twice: either; different names: all of them."
    )
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: int = Field(100, ge=1, le=MAX_PAGE_SIZE)
    format: Literal["json", "csv"] | None = Field(None, description="`csv`, as `Accept: text/csv`: all pages in one.")

    def question(self) -> Question:
        """The period and the conditions.

        Raises:
            UsageQuestionInvalid: a tag is not ``name:value``.
        """
        given = {
            "model": self.model,
            "requested_model": self.requested_model,
            "provider": self.provider,
            "key": self.key,
            "user": self.user,
            "endpoint": self.endpoint,
            "outcome": self.outcome,
            "end_user": self.end_user,
        }
        filters = [Filter(GROUPS[name], tuple(values)) for name, values in given.items() if values]
        return Question(begin=_utc(self.begin), end=_utc(self.end), filters=(*filters, *_tag_filters(self.tag)))


class ReportParameters(EventsParameters):
    """The query string of a report."""

    group_by: list[str] = Field(
        [],
        description=f"Any of {', '.join(GROUPS)}, hour, day, month, tag:<name>; several with commas or repeated.",
    )

    def groups(self) -> tuple[str, ...]:
        """The groups, in the order given."""
        return tuple(part for item in self.group_by for part in item.split(",") if part)


class UsageMeasures(Schema):
    """Sums over calls. Means are null where there is nothing to take a mean of."""

    calls: int
    attempts: int
    """Tries at providers, retries and fallbacks included."""
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    input_audio_tokens: int
    cache_read_audio_tokens: int
    output_audio_tokens: int
    reasoning_tokens: int
    cost_nano: int
    cost_usd: str
    unpriced_calls: int
    """Calls whose price was not known: their cost is missing."""
    estimated_calls: int
    """Calls whose tokens are Auterity's estimate."""
    cache_hits: int
    streamed_calls: int
    latency_us_mean: int | None
    first_byte_us_mean: int | None
    """Over calls that sent a first byte."""
    overhead_us_mean: int | None
    latency_buckets: dict[str, int]
    """Calls that took at most so long, cumulative: ``100ms``, ``300ms``, ``1s``, ``3s``, ``10s``, ``30s``."""


class UsageRow(UsageMeasures):
    """One group."""

    group: dict[str, str]
    """Value by group; ``""`` where the calls had none."""


class UsagePeriod(Schema):
    """Calls that began in [begin, end)."""

    begin: datetime
    end: datetime


class UsageReport(Page[UsageRow]):
    """Usage by group, in ascending order of the groups."""

    period: UsagePeriod
    group_by: list[str]
    source: Literal["rollups", "events"]
    """Where the answer comes from; both are exact and hold the same calls."""
    totals: UsageMeasures
    """Over all pages."""


class AttemptOut(Schema):
    """One try at one deployment."""

    deployment_id: str
    provider: str
    status: int
    latency_us: int
    error_code: str
    after_us: int
    """From the start of the call to the start of this try."""


class UsageEventOut(Schema):
    """One call."""

    id: str
    time: datetime
    """Start of the call."""
    request_id: str
    key_id: str
    user_id: str
    end_user: str
    tags: dict[str, str]
    endpoint: str
    stream: bool
    requested_model: str
    model: str
    deployment_id: str
    provider: str
    upstream_model: str
    attempts: list[AttemptOut]
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    input_audio_tokens: int
    cache_read_audio_tokens: int
    output_audio_tokens: int
    reasoning_tokens: int
    tokens_estimated: bool
    cost_nano: int
    cost_usd: str
    price_source: str
    price_version: str
    unpriced: bool
    latency_us: int
    first_byte_us: int
    overhead_us: int
    status: int
    outcome: str
    error_code: str
    cache: str


def _utc(moment: datetime | date | None) -> datetime | None:
    """Midnight for a day; UTC where no zone is given."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _tag_filters(tags: Sequence[str]) -> Sequence[Filter]:
    wanted: dict[str, list[str]] = {}
    for tag in tags:
        name, colon, value = tag.partition(":")
        if not name or not colon:
            raise UsageQuestionInvalid("Write a tag as name:value.", param="tag")
        wanted.setdefault(name, []).append(value)
    return [Filter(TAG + name, tuple(values)) for name, values in wanted.items()]

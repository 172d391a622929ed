"""What can be asked of usage: period, conditions, groups. Light, and sent to the query process as it is."""

from datetime import datetime
from typing import Literal

import msgspec

from auterity.platform.usage.dimensions import DIMENSIONS
from auterity.platform.usage.rollups import DAY_US, HOUR_US

__all__ = [
    "GROUPS",
    "TAG",
    "TIMES",
    "EventsAsked",
    "Filter",
    "Listing",
    "Question",
    "ReportAsked",
    "ReportRow",
    "Request",
    "Selection",
]

GROUPS = {
    "model": "model",
    "requested_model": "requested_model",
    "provider": "provider",
    "key": "key_id",
    "user": "user_id",
    "endpoint": "endpoint",
    "outcome": "outcome",
    "end_user": "end_user",
}
"""Names of the API to the event's fields."""

TIMES = ("hour", "day", "month")
"""Groups of time, in UTC: ``2026-11-22T13:00:00Z``, ``2026-11-22``, ``2026-11``."""

TAG = "tag:"
"""``tag:team`` groups by the value of the tag ``team``; events without it have ``""``."""


class Filter(msgspec.Struct, frozen=True):
    """A field (or ``tag:<name>``) that has one of these values."""

    field: str
    values: tuple[str, ...]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Which events. Without a period: the present calendar month (UTC); without an end: until now and on."""

    begin: datetime | None = None
    end: datetime | None = None
    """Events that began before it."""
    filters: tuple[Filter, ...] = ()


class Selection(msgspec.Struct, frozen=True):
    """Events that began in [begin, end), microseconds since the Unix epoch, and pass all filters."""

    begin_us: int
    end_us: int
    filters: tuple[Filter, ...] = ()


class Listing(msgspec.Struct, frozen=True):
    """Which page: what follows ``after`` (the sort key of the page before), at most ``limit`` rows."""

    limit: int
    after: tuple[str, ...] = ()


class ReportAsked(msgspec.Struct, frozen=True, tag="report"):
    """Measures by group, in ascending order of the groups. Without groups: the totals alone, as one row."""

    selection: Selection
    groups: tuple[str, ...]
    """Names of ``GROUPS``, of ``TIMES``, or ``tag:<name>``."""
    listing: Listing

    @property
    def fits_rollups(self) -> bool:
        """The roll-ups answer this exactly: whole hours, and only dimensions that they hold."""
        fields = {condition.field for condition in self.selection.filters}
        fields |= {GROUPS[group] for group in self.groups if group in GROUPS}
        tagged = any(group.startswith(TAG) for group in self.groups)
        whole = self.selection.begin_us % HOUR_US == 0 and self.selection.end_us % HOUR_US == 0
        return whole and not tagged and fields <= set(DIMENSIONS)

    @property
    def resolution(self) -> Literal["hour", "day"]:
        """The coarsest roll-up that answers this."""
        selection = self.selection
        whole = selection.begin_us % DAY_US == 0 and selection.end_us % DAY_US == 0
        return "day" if whole and "hour" not in self.groups else "hour"


class EventsAsked(msgspec.Struct, frozen=True, tag="events"):
    """Events themselves, the newest first."""

    selection: Selection
    limit: int
    before: tuple[int, str] | None = None
    """Start and id of the last event of the page before."""
    event_id: str | None = None


class Request(msgspec.Struct, frozen=True):
    """What the query process is asked; the tenant is no part of the question."""

    tenant_id: str
    root: str
    paths: tuple[str, ...]
    """Files of the event store, by the manifest."""
    asked: ReportAsked | EventsAsked
    seconds: float
    """Given up after."""


class ReportRow(msgspec.Struct, frozen=True, array_like=True):
    """One group."""

    group: tuple[str, ...]
    measures: tuple[int, ...]
    """In the order of ``MEASURES``."""

"""Usage events as the event store keeps them: its columns, and what an event must be to be kept."""

from collections.abc import Mapping, Sequence
from typing import get_type_hints

import msgspec

from auterity.engines.eventstore.files import Column, ColumnType
from auterity.platform.usage.event import Attempt, UsageEvent

__all__ = ["EVENT_COLUMNS", "SORT_BY", "columns_of", "implausible", "without_nul"]

SORT_BY = ("tenant_id", "time_us")
"""One tenant's events lie together in a file."""

_SCALARS: Mapping[object, ColumnType] = {str: "text", int: "integer", bool: "flag", dict[str, str]: "labels"}


def _columns(struct: type[msgspec.Struct]) -> list[Column]:
    types = get_type_hints(struct)
    return [Column(name, _SCALARS.get(types[name]) or _columns(Attempt)) for name in struct.__struct_fields__]


EVENT_COLUMNS: Sequence[Column] = _columns(UsageEvent)
"""One column per field of the event, in the event's order; ``attempts`` is a list of records."""

_INTEGERS = tuple(column.name for column in EVENT_COLUMNS if column.type == "integer")
_NAMES = ("id", "tenant_id", "key_id")
_LONGEST_NAME = 200
_TIMES = (946_684_800_000_000, 4_102_444_800_000_000)
"""The years 2000 to 2100, in microseconds since the Unix epoch."""
_LARGEST = 1 << 53
"""A quantity beyond it is a mistake: nine million dollars for one call."""
_GROUPED = ("user_id", "requested_model", "model", "provider", "endpoint", "outcome")


def implausible(event: UsageEvent) -> str | None:
    """Say why an event cannot be kept with the others, or None. What passes breaks no batch."""
    if not _TIMES[0] <= event.time_us < _TIMES[1]:
        return "its time is outside the years 2000 to 2100"
    for name in _INTEGERS:
        if not -_LARGEST <= getattr(event, name) <= _LARGEST:
            return f"{name} is out of range"
    for attempt in event.attempts:
        if not (-_LARGEST <= attempt.status <= _LARGEST and -_LARGEST <= attempt.latency_us <= _LARGEST):
            return "a figure of an attempt is out of range"
    for name in _NAMES:
        text: str = getattr(event, name)
        if not text or len(text) > _LONGEST_NAME or "\0" in text:
            return f"{name} is empty, too long or malformed"
    return None


def without_nul(event: UsageEvent) -> UsageEvent:
    """The event with U+FFFD for each NUL in what roll-ups group by: PostgreSQL's text cannot hold it."""
    if (
        "\0"
        not in event.user_id + event.requested_model + event.model + event.provider + event.endpoint + event.outcome
    ):
        return event
    cleaned = {name: getattr(event, name).replace("\0", "\ufffd") for name in _GROUPED}
    return msgspec.structs.replace(event, **cleaned)


def columns_of(events: Sequence[UsageEvent]) -> dict[str, Sequence[object]]:
    """Plausible events by column."""
    columns: dict[str, Sequence[object]] = {
        column.name: [getattr(event, column.name) for event in events] for column in EVENT_COLUMNS
    }
    columns["tags"] = [list(event.tags.items()) for event in events]
    names = Attempt.__struct_fields__
    columns["attempts"] = [
        [{name: getattr(attempt, name) for name in names} for attempt in event.attempts] for event in events
    ]
    return columns

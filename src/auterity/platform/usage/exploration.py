"""Answers from the event store. Runs in the query process; nothing else imports it.

:func:`answer` is the only way in, and it opens the files through :func:`_events_of` alone, which leaves nothing of
other tenants for any question to reach.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import msgspec

from auterity.engines.eventstore.arrow import ArrowTable
from auterity.engines.eventstore.duck import EventsExpression, FilesVanished, Value, event_files
from auterity.platform.usage.dimensions import LATENCY_BUCKETS, MEASURES, SUMMED_FIELDS
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.query import (
    GROUPS,
    TAG,
    EventsAsked,
    Filter,
    ReportAsked,
    ReportRow,
    Request,
    Selection,
)

__all__ = ["VANISHED", "answer"]

VANISHED = b""
"""The answer where a file was merged into another meanwhile."""

_FORMATS = {"hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}
_FLAGS = {"streamed_calls": "stream", "unpriced_calls": "unpriced", "estimated_calls": "tokens_estimated"}


def answer(request: bytes) -> bytes:
    """A :class:`Request` in MessagePack → a list of :class:`ReportRow` or :class:`UsageEvent`, or ``VANISHED``."""
    wanted = msgspec.msgpack.decode(request, type=Request)
    try:
        with _events_of(wanted) as events:
            if isinstance(wanted.asked, ReportAsked):
                return msgspec.msgpack.encode(_report(events, wanted.asked))
            return msgspec.msgpack.encode(_listing(events, wanted.asked))
    except FilesVanished:
        return VANISHED


@contextmanager
def _events_of(request: Request) -> Generator[EventsExpression]:
    """The one place where files are opened: what comes out is one tenant's events of the period asked for."""
    with event_files(request.root, request.paths, seconds=request.seconds) as everything:
        selection = request.asked.selection
        mine = everything.filter(everything["tenant_id"].isin([request.tenant_id]))
        time = mine["time_us"]
        yield mine.filter((time >= selection.begin_us) & (time < selection.end_us))


def _report(events: EventsExpression, asked: ReportAsked) -> list[ReportRow]:
    chosen = _passing(events, asked.selection)
    names = [f"g{number}" for number in range(len(asked.groups))]
    if not names:
        table = chosen.aggregate(_measures(chosen), by=()).to_pyarrow()
        return [_row(table, names, 0)]
    grouped = chosen.mutate(**{name: _group(chosen, group) for name, group in zip(names, asked.groups, strict=True)})
    rows = grouped.aggregate(_measures(grouped), by=names)
    if asked.listing.after:
        rows = rows.filter(_beyond([rows[name] for name in names], asked.listing.after))
    table = rows.order_by(*names).limit(asked.listing.limit).to_pyarrow()
    return [_row(table, names, number) for number in range(table.num_rows)]


def _listing(events: EventsExpression, asked: EventsAsked) -> list[UsageEvent]:
    chosen = _passing(events, asked.selection)
    if asked.event_id is not None:
        chosen = chosen.filter(chosen["id"].isin([asked.event_id]))
    if asked.before is not None:
        time_us, event_id = asked.before
        time = chosen["time_us"]
        chosen = chosen.filter((time < time_us) | (time.isin([time_us]) & (chosen["id"] < event_id)))
    newest = chosen.order_by(chosen["time_us"].desc(), chosen["id"].desc()).limit(asked.limit)
    fields = UsageEvent.__struct_fields__
    table = newest.select(*fields).to_pyarrow()
    return [_event(row) for row in table.to_pylist()]


def _row(table: ArrowTable, names: Sequence[str], number: int) -> ReportRow:
    def cell(name: str) -> object:
        return table.column(name)[number].as_py()

    # The sum over no rows is null.
    return ReportRow(
        tuple(str(cell(name)) for name in names),
        tuple(int(str(cell(f"m_{measure}") or 0)) for measure in MEASURES),
    )


def _passing(events: EventsExpression, selection: Selection) -> EventsExpression:
    for condition in selection.filters:
        events = events.filter(_condition(events, condition))
    return events


def _condition(events: EventsExpression, condition: Filter) -> Value:
    if condition.field.startswith(TAG):
        return events["tags"].get(condition.field.removeprefix(TAG), "").isin(condition.values)
    return events[condition.field].isin(condition.values)


def _group(events: EventsExpression, group: str) -> Value:
    if group in _FORMATS:
        return (events["time_us"] // 1_000_000).as_timestamp("s").strftime(_FORMATS[group])
    if group.startswith(TAG):
        return events["tags"].get(group.removeprefix(TAG), "")
    return events[GROUPS[group]]


def _measures(events: EventsExpression) -> dict[str, Value]:
    """The same sums that the roll-ups hold; see ``rollups.measures_of``."""
    sums: dict[str, Value] = {field: events[field].sum() for field in SUMMED_FIELDS}
    sums["calls"] = events.count()
    sums["attempts"] = events["attempts"].length().sum()
    sums["first_byte_calls"] = _number(events["first_byte_us"] > 0)
    sums["cache_hits"] = _number(events["cache"].isin(["hit"]))
    for measure, field in _FLAGS.items():
        sums[measure] = _number(events[field])
    for measure, bound in LATENCY_BUCKETS.items():
        sums[measure] = _number(events["latency_us"] <= bound)
    # Prefixed: a measure may not hide the column of the same name that another one is computed of.
    return {f"m_{measure}": sums[measure].cast("int64") for measure in MEASURES}


def _number(condition: Value) -> Value:
    return condition.cast("int64").sum()


def _beyond(keys: Sequence[Value], after: Sequence[str]) -> Value:
    """The keys, taken together, come after ``after``."""
    key, bound = keys[0], after[0]
    if len(keys) == 1:
        return key > bound
    return (key > bound) | (key.isin([bound]) & _beyond(keys[1:], after[1:]))


def _event(row: dict[str, object]) -> UsageEvent:
    # DuckDB gives maps as pairs and records as mappings.
    row["tags"] = dict(msgspec.convert(row["tags"], list[tuple[str, str]]))
    row["attempts"] = [list(attempt.values()) for attempt in msgspec.convert(row["attempts"], list[dict[str, object]])]
    values = [row[name] for name in UsageEvent.__struct_fields__]
    while values[-1] is None:  # a field that is younger than the file
        values.pop()
    return msgspec.convert(values, UsageEvent)

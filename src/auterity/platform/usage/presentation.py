"""Turning answers about usage into the API's shapes, and those into CSV."""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from auterity.kit.money import format_dollars
from auterity.platform.usage.dimensions import LATENCY_BUCKETS, MEASURES
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.query import ReportRow
from auterity.platform.usage.schemas import UsageEventOut, UsageMeasures, UsagePeriod, UsageReport, UsageRow
from auterity.platform.usage.service import Report

__all__ = ["csv_line", "event_cells", "event_out", "measures_out", "report_out", "row_cells", "row_out"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def report_out(report: Report) -> UsageReport:
    return UsageReport(
        period=UsagePeriod(begin=report.begin, end=report.end),
        group_by=list(report.groups),
        source=report.source,
        totals=measures_out(report.totals),
        items=[row_out(report.groups, row) for row in report.rows],
        next_cursor=report.next_cursor,
    )


def row_out(groups: Iterable[str], row: ReportRow) -> UsageRow:
    return UsageRow(group=dict(zip(groups, row.group, strict=True)), **dict(measures_out(row)))


def measures_out(row: ReportRow) -> UsageMeasures:
    found = dict(zip(MEASURES, row.measures, strict=True))
    calls = found["calls"]
    return UsageMeasures(
        calls=calls,
        attempts=found["attempts"],
        input_tokens=found["input_tokens"],
        output_tokens=found["output_tokens"],
        cache_read_tokens=found["cache_read_tokens"],
        cache_write_tokens=found["cache_write_tokens"],
        input_audio_tokens=found["input_audio_tokens"],
        cache_read_audio_tokens=found["cache_read_audio_tokens"],
        output_audio_tokens=found["output_audio_tokens"],
        reasoning_tokens=found["reasoning_tokens"],
        cost_nano=found["cost_nano"],
        cost_usd=format_dollars(found["cost_nano"]),
        unpriced_calls=found["unpriced_calls"],
        estimated_calls=found["estimated_calls"],
        cache_hits=found["cache_hits"],
        streamed_calls=found["streamed_calls"],
        latency_us_mean=_mean(found["latency_us"], calls),
        first_byte_us_mean=_mean(found["first_byte_us"], found["first_byte_calls"]),
        overhead_us_mean=_mean(found["overhead_us"], calls),
        latency_buckets={name.removeprefix("latency_le_"): found[name] for name in LATENCY_BUCKETS},
    )


def event_out(event: UsageEvent) -> UsageEventOut:
    fields = msgspec.to_builtins(event, builtin_types=(datetime,))
    names = UsageEvent.__struct_fields__
    shown = dict(zip(names, fields, strict=True))
    for name in ("tenant_id", "time_us"):
        del shown[name]
    shown["attempts"] = [msgspec.structs.asdict(attempt) for attempt in event.attempts]
    shown["time"] = _EPOCH + timedelta(microseconds=event.time_us)
    shown["cost_usd"] = format_dollars(event.cost_nano)
    return UsageEventOut.model_validate(shown)


def row_cells(group: Mapping[str, str], measures: UsageMeasures) -> dict[str, object]:
    """A row of a report as columns of a table."""
    cells: dict[str, object] = {**group, **measures.model_dump(exclude={"group", "latency_buckets"})}
    return cells | {f"latency_le_{name}": count for name, count in measures.latency_buckets.items()}


def event_cells(event: UsageEventOut) -> dict[str, object]:
    """An event as columns of a table; tags and attempts as JSON."""
    cells: dict[str, object] = event.model_dump(mode="json", exclude={"tags", "attempts"})
    cells["tags"] = msgspec.json.encode(event.tags).decode()
    cells["attempts"] = msgspec.json.encode([attempt.model_dump() for attempt in event.attempts]).decode()
    return cells


def csv_line(cells: Iterable[object]) -> str:
    """One line (RFC 4180). Text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP)."""
    line = io.StringIO()
    csv.writer(line).writerow([_safe(cell) for cell in cells])
    return line.getvalue()


def _safe(cell: object) -> object:
    return "'" + cell if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _mean(total: int, count: int) -> int | None:
    return round(total / count) if count else None

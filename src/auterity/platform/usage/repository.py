"""What PostgreSQL knows of a tenant's usage: roll-ups, and which files hold the events."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

from sqlalchemy import ColumnElement, Select, Table, collate, func, literal, select, tuple_

from auterity.engines.database.sessions import Scope
from auterity.platform.usage.dimensions import MEASURES
from auterity.platform.usage.models import usage_daily, usage_files, usage_hourly
from auterity.platform.usage.query import GROUPS, ReportAsked, ReportRow

__all__ = ["UsageRepository"]

_FORMATS = {"hour": 'YYYY-MM-DD"T"HH24":00:00Z"', "day": "YYYY-MM-DD", "month": "YYYY-MM"}


class UsageRepository:
    """Reads in one tenant's transaction."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def report(self, asked: ReportAsked) -> list[ReportRow]:
        """The same answer as the event store's; ``asked.fits_rollups`` holds."""
        table = usage_daily if asked.resolution == "day" else usage_hourly
        rows = (await self._scope.session.execute(self._query(table, asked))).all()
        width = len(asked.groups)
        return [
            # PostgreSQL adds 64-bit numbers up to numeric ones.
            ReportRow(
                tuple(str(part) for part in row[:width]),
                tuple(int(cast(Decimal, part)) for part in row[width:]),
            )
            for row in rows
        ]

    async def files(self, begin_us: int, end_us: int) -> list[str]:
        """Paths of the files that may hold events that began in [begin, end)."""
        file = usage_files.c
        query = (
            select(file.path)
            .where(
                file.replaced_at.is_(None),
                file.day >= _moment(begin_us).date(),
                file.day <= _moment(end_us).date(),
                file.max_time_us >= begin_us,
                file.min_time_us < end_us,
            )
            .order_by(file.path)
        )
        return list((await self._scope.session.scalars(query)).all())

    def _query(self, table: Table, asked: ReportAsked) -> Select[tuple[object, ...]]:
        row, selection = table.c, asked.selection
        groups = [_group(table, group).label(f"g{number}") for number, group in enumerate(asked.groups)]
        sums = [func.coalesce(func.sum(row[measure]), 0).label(measure) for measure in MEASURES]
        found = select(*groups, *sums).where(
            row.tenant_id == self._scope.tenant_id,
            row.starts_at >= _moment(selection.begin_us),
            row.starts_at < _moment(selection.end_us),
            *(row[condition.field].in_(condition.values) for condition in selection.filters),
        )
        if not groups:
            return found
        grouped = found.group_by(*groups).subquery()
        keys = [grouped.c[f"g{number}"] for number in range(len(groups))]
        page = select(grouped).order_by(*keys).limit(asked.listing.limit)
        if asked.listing.after:
            page = page.where(tuple_(*keys) > tuple_(*(literal(value) for value in asked.listing.after)))
        return page


def _group(table: Table, group: str) -> ColumnElement[str]:
    row = table.c
    if group in _FORMATS:
        value: ColumnElement[str] = func.to_char(row.starts_at.op("AT TIME ZONE")("UTC"), _FORMATS[group])
    else:
        value = row[GROUPS[group]]
    # Byte order, as in the event store, whatever the database's locale is.
    return collate(value, "C")


def _moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)

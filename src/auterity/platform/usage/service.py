"""Questions about usage: reports by group, and the events themselves.

What the roll-ups hold exactly (whole hours and their dimensions) is answered from PostgreSQL, the rest from the event
store, in a process of its own. Both hold an event within a second of its call's end, and at the same moment.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from auterity.engines.database.sessions import Database
from auterity.engines.eventstore.errors import EventStoreBusy
from auterity.engines.eventstore.process import QueryProcess
from auterity.kit.clock import Clock, SystemClock
from auterity.kit.ids import is_id
from auterity.kit.pagination import decode_cursor, encode_cursor
from auterity.platform.usage.dimensions import MEASURES
from auterity.platform.usage.errors import EventNotFound, UsageQuestionInvalid
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.query import (
    GROUPS,
    TAG,
    TIMES,
    EventsAsked,
    Listing,
    Question,
    ReportAsked,
    ReportRow,
    Request,
    Selection,
)
from auterity.platform.usage.repository import UsageRepository
from auterity.platform.usage.rollups import HOUR_US

__all__ = ["EXPLORATION", "EventPage", "Question", "Report", "UsageService"]

EXPLORATION = "auterity.platform.usage.exploration:answer"
"""What a query process runs for this service."""

_NOTHING = ReportRow((), (0,) * len(MEASURES))
_TRIES = 3
_LONGEST_CALL = timedelta(days=2)
"""How long before its id an event can have begun, or after it in another node's clock."""
_MOST_GROUPS = 6
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Report:
    """One page of a report, and the totals of all pages."""

    begin: datetime
    end: datetime
    groups: tuple[str, ...]
    source: Literal["rollups", "events"]
    totals: ReportRow
    rows: list[ReportRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, the newest first, and where the next page begins."""

    events: list[UsageEvent]
    next_cursor: str | None


class UsageService:
    """Answers for one tenant at a time."""

    def __init__(
        self,
        database: Database,
        store: Path,
        *,
        clock: Clock | None = None,
        query_seconds: float = 30.0,
        process: QueryProcess | None = None,
    ) -> None:
        """
        Args:
            database: in the application's role.
            store: the event store's folder.
            clock: decides what this month is.
            query_seconds: a question to the event store is given up after so long.
            process: to share one with others; it is closed by this service.
        """
        self._database = database
        self._root = str(store.resolve())
        self._clock = clock or SystemClock()
        self._seconds = query_seconds
        # By name: its libraries stay out of this process.
        self._process = process or QueryProcess(EXPLORATION)

    async def report(
        self,
        tenant_id: str,
        question: Question,
        groups: tuple[str, ...] = (),
        *,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Report:
        """
        Raises:
            UsageQuestionInvalid: a group, filter or the period cannot be.
            InvalidRequest: the cursor is not of such a report.
            EventStoreBusy: it takes too long.
        """
        _check_groups(groups)
        selection = self._selection(question)
        after = tuple(str(part) for part in decode_cursor(cursor, len(groups))) if cursor else ()
        _check_text(after, "cursor")
        page = ReportAsked(selection, groups, Listing(limit + 1, after))
        if page.fits_rollups:
            async with self._database.tenant(tenant_id) as scope:
                rows, totals = await _with_totals(page, UsageRepository(scope).report)
        else:
            rows, totals = await _with_totals(page, partial(self._explore_report, tenant_id))
        more = len(rows) > limit
        rows = rows[:limit]
        return Report(
            begin=_moment(selection.begin_us),
            end=_moment(selection.end_us),
            groups=groups,
            source="rollups" if page.fits_rollups else "events",
            totals=totals,
            rows=rows if groups else [],
            next_cursor=encode_cursor(rows[-1].group) if more else None,
        )

    async def events(
        self, tenant_id: str, question: Question, *, cursor: str | None = None, limit: int = 100
    ) -> EventPage:
        """
        Raises:
            As :meth:`report`.
        """
        selection = self._selection(question)
        before: tuple[int, str] | None = None
        if cursor:
            time_us, event_id = decode_cursor(cursor, 2)
            if not isinstance(time_us, int) or not 0 <= time_us < 1 << 53:
                raise UsageQuestionInvalid("The cursor is not valid; start again without one.", param="cursor")
            before = (time_us, str(event_id))
        found = await self._explore_events(tenant_id, EventsAsked(selection, limit + 1, before))
        more = len(found) > limit
        found = found[:limit]
        return EventPage(found, encode_cursor((found[-1].time_us, found[-1].id)) if more else None)

    async def event(self, tenant_id: str, event_id: str) -> UsageEvent:
        """
        Raises:
            EventNotFound: there is none with this id in this tenant, or it is not collected yet.
        """
        if is_id(event_id, "evt"):
            made = datetime.fromtimestamp(int(event_id[4:16], 16) % (1 << 43) / 1000, UTC)
            selection = Selection(_epoch_us(made - _LONGEST_CALL), _epoch_us(made + _LONGEST_CALL))
            found = await self._explore_events(tenant_id, EventsAsked(selection, 1, event_id=event_id))
            if found:
                return found[0]
        raise EventNotFound("There is no such usage event; a call shows up within a second of its end.")

    async def close(self) -> None:
        """End the query process."""
        await self._process.close()

    async def _explore_report(self, tenant_id: str, asked: ReportAsked) -> list[ReportRow]:
        answer = await self._explore(tenant_id, asked)
        return msgspec.msgpack.decode(answer, type=list[ReportRow]) if answer else []

    async def _explore_events(self, tenant_id: str, asked: EventsAsked) -> list[UsageEvent]:
        answer = await self._explore(tenant_id, asked)
        return msgspec.msgpack.decode(answer, type=list[UsageEvent]) if answer else []

    async def _explore(self, tenant_id: str, asked: ReportAsked | EventsAsked) -> bytes:
        """Ask the event store; an empty answer where the period has no files."""
        for _ in range(_TRIES):
            async with self._database.tenant(tenant_id) as scope:
                paths = await UsageRepository(scope).files(asked.selection.begin_us, asked.selection.end_us)
            if not paths:
                return b""
            request = Request(tenant_id, self._root, tuple(paths), asked, self._seconds)
            answer = await self._process.ask(msgspec.msgpack.encode(request))
            if answer:
                return answer
            # A file was merged into another while it was read: the manifest names that one now.
        raise EventStoreBusy("The event store's files are changing; try again shortly.", retry_after=1)

    def _selection(self, question: Question) -> Selection:
        now = self._clock.now()
        begin = question.begin or now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = question.end or _month_after(max(begin, now))
        for moment, param in ((begin, "from"), (end, "to")):
            if not _EARLIEST <= moment <= _LATEST:
                raise UsageQuestionInvalid("Give a moment in the years 2000 to 2100.", param=param)
        if begin >= end:
            raise UsageQuestionInvalid("The period ends before it begins.", param="to")
        begin_us, end_us = _epoch_us(begin), _epoch_us(end)
        if end > now:
            # Nothing has begun after this moment, so a whole hour is as exact, and the roll-ups can tell.
            end_us += -end_us % HOUR_US
        for condition in question.filters:
            _check_text(condition.values, condition.field)
            if not condition.field.startswith(TAG) and condition.field not in GROUPS.values():
                raise UsageQuestionInvalid(f"Usage cannot be filtered by {condition.field}.", param=condition.field)
        return Selection(begin_us, end_us, question.filters)


async def _with_totals(
    page: ReportAsked, answer: Callable[[ReportAsked], Awaitable[list[ReportRow]]]
) -> tuple[list[ReportRow], ReportRow]:
    """A page and the totals of all pages, which are asked for only where this page is not all there is."""
    rows = await answer(page)
    if page.listing.after or len(rows) >= page.listing.limit:
        (totals,) = await answer(ReportAsked(page.selection, (), Listing(1))) or [_NOTHING]
        return rows, totals
    sums = zip(*(row.measures for row in rows), strict=True)
    return rows, ReportRow((), tuple(map(sum, sums))) if rows else _NOTHING


def _check_groups(groups: tuple[str, ...]) -> None:
    if len(groups) > _MOST_GROUPS or len(set(groups)) < len(groups):
        raise UsageQuestionInvalid(f"Group by at most {_MOST_GROUPS} different things.", param="group_by")
    for group in groups:
        if group not in GROUPS and group not in TIMES and (not group.startswith(TAG) or group == TAG):
            known = ", ".join((*GROUPS, *TIMES, "tag:<name>"))
            raise UsageQuestionInvalid(
                f"Usage cannot be grouped by {group[:50]!r}; there are {known}.", param="group_by"
            )


def _check_text(values: tuple[str, ...], param: str) -> None:
    # No stored text has it, and PostgreSQL refuses it as a parameter.
    if any("\0" in value for value in values):
        raise UsageQuestionInvalid("A value holds the character U+0000.", param=param)


def _month_after(moment: datetime) -> datetime:
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def _epoch_us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _moment(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)

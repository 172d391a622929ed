"""Usage in the management API: reports, single events, and both as CSV."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from auterity.kit.pagination import MAX_PAGE_SIZE
from auterity.kit.schemas import Page
from auterity.platform.identity.guard import Requires
from auterity.platform.identity.principal import Principal
from auterity.platform.usage.presentation import csv_line, event_cells, event_out, report_out, row_cells
from auterity.platform.usage.schemas import EventsParameters, ReportParameters, UsageEventOut, UsageReport
from auterity.platform.usage.service import UsageService

__all__ = ["router"]

_Reader = Annotated[Principal, Depends(Requires("usage.read"))]
_Accept = Annotated[str, Header(include_in_schema=False)]
_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}}, "description": "One page as JSON; everything as CSV."}
}
_Rows = AsyncGenerator[Sequence[dict[str, object]]]


def router(service: UsageService) -> APIRouter:
    """The routes under ``/usage``, of the principal's tenant."""
    routes = APIRouter(prefix="/usage", tags=["usage"])

    @routes.get("", name="report", responses=_CSV, response_model=UsageReport)
    async def report(
        *, actor: _Reader, wanted: Annotated[ReportParameters, Query()], accept: _Accept = ""
    ) -> Response | UsageReport:
        """What was used and what it cost, by group, with the totals. A call shows up within a second of its end."""

        async def page_after(cursor: str | None, limit: int) -> UsageReport:
            return report_out(
                await service.report(actor.tenant_id, wanted.question(), wanted.groups(), cursor=cursor, limit=limit)
            )

        first = await page_after(wanted.cursor, wanted.limit)
        if not _wants_csv(wanted, accept):
            return first

        async def rows() -> _Rows:
            page = first
            if not page.group_by:
                yield [row_cells({}, page.totals)]
            yield [row_cells(row.group, row) for row in page.items]
            while page.next_cursor is not None:
                page = await page_after(page.next_cursor, MAX_PAGE_SIZE)
                yield [row_cells(row.group, row) for row in page.items]

        return _csv(rows(), "usage")

    @routes.get("/events", name="events", responses=_CSV, response_model=Page[UsageEventOut])
    async def events(
        *, actor: _Reader, wanted: Annotated[EventsParameters, Query()], accept: _Accept = ""
    ) -> Response | Page[UsageEventOut]:
        """The calls themselves, the newest first. A call shows up within a second of its end."""

        async def page_after(cursor: str | None, limit: int) -> Page[UsageEventOut]:
            found = await service.events(actor.tenant_id, wanted.question(), cursor=cursor, limit=limit)
            return Page[UsageEventOut](items=[event_out(each) for each in found.events], next_cursor=found.next_cursor)

        first = await page_after(wanted.cursor, wanted.limit)
        if not _wants_csv(wanted, accept):
            return first

        async def rows() -> _Rows:
            page = first
            yield [event_cells(each) for each in page.items]
            while page.next_cursor is not None:
                page = await page_after(page.next_cursor, MAX_PAGE_SIZE)
                yield [event_cells(each) for each in page.items]

        return _csv(rows(), "usage-events")

    @routes.get("/events/{event_id}", name="event")
    async def event(event_id: str, actor: _Reader) -> UsageEventOut:
        """One call."""
        return event_out(await service.event(actor.tenant_id, event_id))

    return routes


def _wants_csv(wanted: EventsParameters, accept: str) -> bool:
    preferred = accept.partition(",")[0].partition(";")[0].strip()
    return wanted.format == "csv" or (wanted.format is None and preferred == "text/csv")


def _csv(pages: _Rows, name: str) -> Response:
    async def body() -> AsyncGenerator[str]:
        headed = False
        async for page in pages:
            if page and not headed:
                headed = True
                yield csv_line(page[0].keys())
            yield "".join(csv_line(cells.values()) for cells in page)

    return StreamingResponse(
        body(), media_type="text/csv", headers={"content-disposition": f'attachment; filename="{name}.csv"'}
    )

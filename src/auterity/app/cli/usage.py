"""``auterity usage``."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from auterity.app.cli.flags import command
from auterity.app.cli.keys import all_keys
from auterity.app.cli.operator import InTenant, on_node
from auterity.app.cli.output import AsJson, Cell, print_json, print_table
from auterity.app.home import Home
from auterity.app.node import DEFAULT_TENANT, Node
from auterity.app.settings import Settings
from auterity.kit.errors import InvalidRequest
from auterity.kit.money import format_dollars
from auterity.platform.usage.dimensions import MEASURES
from auterity.platform.usage.query import GROUPS, Filter, ReportRow
from auterity.platform.usage.service import Question, Report, UsageService

__all__ = ["commands"]

commands = typer.Typer()

_PAGE = 1000
_SHOWN = ("calls", "input_tokens", "output_tokens")
_MONEY = "cost_nano"


def _usage(
    settings: Settings,
    *,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="model, key, day, month, provider, user, outcome, tag:NAME …; repeat to combine."),
    ] = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="The last so many days, today included (UTC).")
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="From this moment on, e.g. 2030-01-31.", metavar="WHEN")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Before this moment.", metavar="WHEN")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Only this model; repeat for several.")
    ] = None,
    key: Annotated[list[str] | None, typer.Option("--key", help="Only this key, by name or id; repeat.")] = None,
    tenant: InTenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Show calls, tokens and spend; without a period, of the present month (UTC).

    auterity usage --by day --by model --days 7
    """
    groups = tuple(by or ("model",))
    if days is not None and (begin or end):
        raise InvalidRequest("Give either --days or --from and --to.")
    period = (_days_back(days), None) if days is not None else (_moment(begin, "--from"), _moment(end, "--to"))

    async def read(node: Node) -> tuple[Report, list[ReportRow], Mapping[str, str]]:
        keys = {each.id: each.name for each in await all_keys(node)} if "key" in groups or key else {}
        filters = [Filter(GROUPS["model"], tuple(model))] if model else []
        if key:
            ids = tuple(each for each, name in keys.items() if each in key or name in key)
            if not ids:
                raise InvalidRequest(f"There is no key {' or '.join(key)}. See `auterity keys list --all`.")
            filters.append(Filter(GROUPS["key"], ids))
        question = Question(begin=period[0], end=period[1], filters=tuple(filters))
        usage = UsageService(node.services.database, Home(settings.home).events)
        try:
            report = await usage.report(node.tenant_id, question, groups, limit=_PAGE)
            rows, cursor = report.rows, report.next_cursor
            while cursor is not None:
                more = await usage.report(node.tenant_id, question, groups, cursor=cursor, limit=_PAGE)
                rows, cursor = rows + more.rows, more.next_cursor
        finally:
            await usage.close()
        return report, rows, keys

    report, rows, keys = on_node(settings, tenant, read)
    if as_json:
        print_json(
            {
                "from": report.begin.isoformat(),
                "to": report.end.isoformat(),
                "groups": groups,
                "rows": [_as_json(groups, row) for row in rows],
                "totals": _measures(report.totals),
            }
        )
        return
    names = [groups.index("key")] if "key" in groups else []
    table: list[tuple[Cell, ...]] = [_row(row, dict.fromkeys(names, keys)) for row in rows]
    table.append(("total", *[None] * (len(groups) - 1), *_figures(report.totals)))
    last = min(report.end, datetime.now(UTC))
    print_table(
        (*groups, "calls", "input tokens", "output tokens", "cost (USD)"),
        table if rows else [],
        empty=f"No calls from {report.begin:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC.",
    )


def _row(row: ReportRow, names: Mapping[int, Mapping[str, str]]) -> tuple[Cell, ...]:
    shown = [names.get(index, {}).get(value, value) or "(none)" for index, value in enumerate(row.group)]
    return *shown, *_figures(row)


def _figures(row: ReportRow) -> tuple[Cell, ...]:
    found = _measures(row)
    return *(found[name] for name in _SHOWN), format_dollars(found[_MONEY])


def _as_json(groups: tuple[str, ...], row: ReportRow) -> dict[str, object]:
    return {**dict(zip(groups, row.group, strict=True)), **_measures(row)}


def _measures(row: ReportRow) -> dict[str, int]:
    return dict(zip(MEASURES, row.measures, strict=True))


def _days_back(days: int) -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days - 1)


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f'{option} must be a date or a moment such as 2030-01-31T12:00Z, not "{text}".') from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


command(commands, "usage")(_usage)

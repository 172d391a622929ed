"""``auterity keys``."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from auterity.app.cli.flags import command
from auterity.app.cli.operator import InTenant, checked, on_node
from auterity.app.cli.output import AsJson, Cell, note, print_json, print_table
from auterity.app.node import DEFAULT_TENANT, Node
from auterity.app.notation import seconds
from auterity.app.settings import Settings
from auterity.kit.errors import Conflict, InvalidRequest, NotFound
from auterity.kit.ids import is_id
from auterity.kit.money import format_dollars
from auterity.platform.keys.endpoints import key_out
from auterity.platform.keys.models import VirtualKey
from auterity.platform.keys.schemas import KeyCreate
from auterity.platform.keys.service import NewKey

__all__ = ["all_keys", "commands"]

commands = typer.Typer()

Key = Annotated[str, typer.Argument(help="The key's name or id.", metavar="KEY")]


def _create(
    settings: Settings,
    *,
    name: Annotated[str, typer.Argument(help="What people will know it by.")],
    tenant: InTenant = DEFAULT_TENANT,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Allow this model only; repeat for several.")
    ] = None,
    rpm: Annotated[int | None, typer.Option("--rpm", help="The most requests per minute.")] = None,
    monthly_budget: Annotated[
        str | None, typer.Option("--monthly-budget", help="Hard limit in US dollars per calendar month.", metavar="USD")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="When it ends: 90d, 12h, or a date such as 2030-01-31.")
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="The owner's user id (usr_…).")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="name=value, added to each usage event; repeat for several.")
    ] = None,
    secret_stdin: Annotated[
        bool, typer.Option("--secret-stdin", help="Read the key's value from stdin, to keep another gateway's clients.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a virtual key. Its secret is printed this once and kept nowhere in the clear.

    auterity keys create ci --model gpt-5-mini --rpm 60 --monthly-budget 50 --expires 90d
    """
    wanted = checked(
        KeyCreate,
        {
            "name": name,
            "user_id": owner,
            "allowed_models": model or None,
            "requests_per_minute": rpm,
            "monthly_budget_usd": _amount(monthly_budget),
            "expires_at": _moment(expires),
            "tags": _tags(tag or []),
            "secret": sys.stdin.readline().strip() if secret_stdin else None,
        },
    )
    _show_secret(on_node(settings, tenant, lambda node: node.services.keys.create(node.tenant_id, wanted)), as_json)


def _list(
    settings: Settings,
    tenant: InTenant = DEFAULT_TENANT,
    everything: Annotated[bool, typer.Option("--all", help="Revoked and expired ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the tenant's virtual keys."""
    now = datetime.now(UTC)
    found = [key for key in on_node(settings, tenant, all_keys) if everything or _status(key, now) == "active"]
    if as_json:
        print_json([key_out(key).model_dump(mode="json") for key in found])
        return
    print_table(
        ("name", "id", "secret", "models", "rpm", "budget/month", "status", "expires", "last used"),
        [_row(key, now) for key in found],
        empty="There are no keys. Create one with `auterity keys create NAME`.",
        colours={"revoked": "red", "expired": "yellow", "active": "green"},
    )


def _revoke(settings: Settings, key: Key, tenant: InTenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """Stop a key for good."""

    async def revoke(node: Node) -> VirtualKey:
        return await node.services.keys.revoke(node.tenant_id, await _id_of(node, key))

    revoked = on_node(settings, tenant, revoke)
    if as_json:
        print_json(key_out(revoked).model_dump(mode="json"))
    else:
        typer.echo(f"Revoked {revoked.name} ({revoked.id}). Calls with it are refused from now on.")


def _rotate(
    settings: Settings,
    key: Key,
    tenant: InTenant = DEFAULT_TENANT,
    grace: Annotated[str, typer.Option("--grace", help="How long the old secret still works, e.g. 1h or 7d.")] = "0s",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, printed this once."""
    grace_s = round(_seconds(grace, "--grace"))

    async def rotate(node: Node) -> NewKey:
        return await node.services.keys.rotate(node.tenant_id, await _id_of(node, key), grace_s=grace_s)

    _show_secret(on_node(settings, tenant, rotate), as_json)


async def all_keys(node: Node) -> Sequence[VirtualKey]:
    """All of the tenant's keys, revoked ones too."""
    found: list[VirtualKey] = []
    cursor: str | None = None
    while True:
        page = await node.services.keys.list(node.tenant_id, cursor=cursor, limit=1000)
        found.extend(page.keys)
        if (cursor := page.next_cursor) is None:
            return found


async def _id_of(node: Node, name: str) -> str:
    if is_id(name, "key"):
        return name
    named = [key for key in await all_keys(node) if key.name == name]
    ids = [key.id for key in named if key.revoked_at is None] or [key.id for key in named]
    if not ids:
        raise NotFound(f"There is no key named {name!r}. See `auterity keys list`.")
    if len(ids) > 1:
        raise Conflict(f"{len(ids)} keys are named {name!r}; give the id instead: {', '.join(ids)}.")
    return ids[0]


def _show_secret(made: NewKey, as_json: bool) -> None:
    if as_json:
        print_json({**key_out(made.key).model_dump(mode="json"), "secret": made.secret})
        return
    note(f"{made.key.name} ({made.key.id}); the secret is shown this once:")
    typer.echo(made.secret)


def _row(key: VirtualKey, now: datetime) -> tuple[Cell, ...]:
    models = "all" if key.allowed_models is None else ", ".join(key.allowed_models)
    budget = None if key.monthly_budget_nano is None else f"${format_dollars(key.monthly_budget_nano)}"
    hint = f"…{key.secrets[0].hint}" if key.secrets else None
    ends = None if key.expires_at is None else f"{key.expires_at:%Y-%m-%d}"
    used = "never" if key.last_used_at is None else f"{key.last_used_at:%Y-%m-%d %H:%M}"
    return key.name, key.id, hint, models, key.requests_per_minute, budget, _status(key, now), ends, used


def _status(key: VirtualKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def _amount(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        return Decimal(text.removeprefix("$"))
    except InvalidOperation as error:
        raise InvalidRequest(f'--monthly-budget must be an amount in US dollars, not "{text}".') from error


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC) + timedelta(seconds=_seconds(text, "--expires"))
    return day if day.tzinfo is not None else day.replace(tzinfo=UTC)


def _seconds(text: str, option: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise InvalidRequest(f"{option} {error}.") from error


def _tags(pairs: Sequence[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise InvalidRequest(f'--tag must be name=value, not "{pair}".')
        tags[name] = value
    return tags


command(commands, "create")(_create)
command(commands, "list")(_list)
command(commands, "revoke")(_revoke)
command(commands, "rotate")(_rotate)

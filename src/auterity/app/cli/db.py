"""``auterity db``."""

import asyncio

import typer

from auterity.app.cli.flags import command
from auterity.app.cli.output import AsJson, print_json
from auterity.app.node import database_address
from auterity.app.settings import Settings
from auterity.engines.database import migration

__all__ = ["commands"]

commands = typer.Typer()


def _upgrade(settings: Settings, as_json: AsJson = False) -> None:
    """Apply the migrations that this release has and the database has not. `auterity serve` does the same."""

    async def run() -> migration.MigrationStatus:
        async with database_address(settings) as url:
            return await migration.upgrade(url)

    _tell(asyncio.run(run()), as_json, done=True)


def _status(settings: Settings, as_json: AsJson = False) -> None:
    """Compare the database with this release; changes nothing."""

    async def run() -> migration.MigrationStatus:
        async with database_address(settings) as url:
            return await migration.status(url)

    _tell(asyncio.run(run()), as_json, done=False)


def _tell(found: migration.MigrationStatus, as_json: bool, done: bool) -> None:
    if as_json:
        print_json({"current": found.head if done else found.current, "head": found.head, "before": found.current})
    elif not found.pending:
        typer.echo(f"The database is at schema {found.head}, as this release needs it.")
    elif done:
        typer.echo(f"The database was brought from schema {found.current or '(empty)'} to {found.head}.")
    else:
        typer.echo(
            f"The database is at schema {found.current or '(empty)'}; {len(found.pending)} steps to {found.head} are "
            "pending. Apply them with `auterity db upgrade`."
        )


command(commands, "upgrade")(_upgrade)
command(commands, "status")(_status)

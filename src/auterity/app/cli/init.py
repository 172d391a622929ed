"""``auterity init``."""

import asyncio

import typer

from auterity.app.banner import FirstRun, prepared
from auterity.app.bootstrap import bootstrap
from auterity.app.cli.flags import NODE, command
from auterity.app.cli.output import AsJson, print_json
from auterity.app.home import Home
from auterity.app.node import database_address
from auterity.app.settings import Settings
from auterity.engines.database.migration import upgrade

__all__ = ["commands"]

commands = typer.Typer()


def _init(settings: Settings, *, as_json: AsJson = False) -> None:
    """Prepare the home folder and the database without serving.

    Prints the first admin login and the first virtual key, if this is the first time. `auterity serve` does the same.
    """
    first = asyncio.run(_prepare(settings))
    if as_json:
        print_json({"home": str(settings.home), "first": first})
    else:
        typer.echo(prepared(str(settings.home), first))


async def _prepare(settings: Settings) -> FirstRun | None:
    Home(settings.home).prepare()
    async with database_address(settings) as url:
        await upgrade(url)
        return await bootstrap(settings, url)


command(commands, "init", (*NODE,))(_init)

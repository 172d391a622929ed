"""``auterity serve``."""

import asyncio
import sys

import typer

from auterity.app import logs
from auterity.app.cli.flags import ALL, command, read_settings
from auterity.app.settings import SETTINGS, Settings
from auterity.app.supervisor import Supervisor

__all__ = ["commands"]

commands = typer.Typer()


def _serve(settings: Settings) -> None:
    """Start the server and everything it needs, in the foreground.

    Ctrl-C (or SIGTERM) finishes the calls that run and stops; a second one stops by force. SIGHUP reads the settings
    again. Exit codes: 0 stopped as asked, 1 it could not start, 2 the settings are wrong, 3 stopped by force.
    """
    # A reload reads the file and the environment again; flags stay as they were given.
    flags = {
        name: str(getattr(settings, name)) for name, origin in settings.origins.items() if origin == SETTINGS[name].flag
    }
    logs.configure(settings, "server")
    server = Supervisor(settings, reread=lambda: read_settings(dict(flags)), say=_say)
    raise typer.Exit(asyncio.run(server.run()))


def _say(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()


command(commands, "serve", ALL)(_serve)

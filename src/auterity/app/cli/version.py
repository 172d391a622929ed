"""``auterity version``."""

import platform

import typer

from auterity import __version__
from auterity.app.cli.output import AsJson, print_json

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def version(as_json: AsJson = False) -> None:
    """Print the release."""
    if as_json:
        print_json({"auterity": __version__, "python": platform.python_version(), "system": platform.platform()})
    else:
        typer.echo(f"auterity {__version__} (Python {platform.python_version()})")

"""``auterity config``."""

import typer

from auterity.app.cli.flags import ALL, command
from auterity.app.cli.output import AsJson, print_json, print_table
from auterity.app.settings import Settings

__all__ = ["commands"]

commands = typer.Typer()


@commands.callback()
def config() -> None:
    """See all settings and where each comes from."""


def _show(settings: Settings, as_json: AsJson = False) -> None:
    """Show every setting with its value and its source; secrets and passwords are masked.

    Takes the same options as `auterity serve`, to see what they would do.
    """
    explained = settings.explain()
    if as_json:
        print_json(explained)
        return
    rows = [(each.name, "" if each.value is None else str(each.value), each.origin) for each in explained]
    print_table(("setting", "value", "source"), rows, empty="")


command(commands, "show", ALL)(_show)

"""The command line, ``auterity``. Only the commands that are asked for are loaded, so that ``--help`` comes at once.

Exit codes: 0 done; 1 it failed, and the one sentence on stderr says why; 2 the command or the settings are wrong.
``serve`` has a third (see ``app/supervisor``).
"""

import importlib
import os
import sys
import traceback
from dataclasses import dataclass

import typer

__all__ = ["COMMANDS", "CommandModule", "application", "main"]

_OPERATE, _CONFIGURE, _LOOK = "Run", "Configure", "Look"

_EPILOG = """\
[b]Examples[/b]\n
auterity serve --port 9000 --workers 2\n
auterity keys create ci --model gpt-5-mini --monthly-budget 50\n
auterity usage --by model --days 30\n
auterity import litellm config.yaml --dry-run\n
Every setting is a flag, an AUTERITY_* variable or a line of auterity.yaml, in that order; see `auterity config show`.
"""


@dataclass(frozen=True, slots=True)
class CommandModule:
    """Where a command is written: a module of this package with ``commands``, a :class:`typer.Typer`."""

    name: str
    module: str
    help: str
    panel: str
    group: bool = False
    """It has commands of its own."""


COMMANDS = (
    CommandModule("serve", "serve", "Start the server and everything it needs, in the foreground.", _OPERATE),
    CommandModule("init", "init", "Prepare the home folder and the database without serving.", _OPERATE),
    CommandModule("db", "db", "Bring the database to this release, or see how far it is.", _OPERATE, True),
    CommandModule("keys", "keys", "Virtual keys: create, list, revoke, rotate.", _CONFIGURE, True),
    CommandModule("models", "models", "Models: list, add, test.", _CONFIGURE, True),
    CommandModule("import", "importing", "Take over another gateway's configuration.", _CONFIGURE, True),
    CommandModule("config", "config", "See all settings and where each comes from.", _CONFIGURE, True),
    CommandModule("usage", "usage", "Spend and calls by model, key or day.", _LOOK),
    CommandModule("doctor", "doctor", "Check everything, and say how to mend what is broken.", _LOOK),
    CommandModule("version", "version", "Print the release.", _LOOK),
)


def application(wanted: str | None) -> typer.Typer:
    """The command tree with ``wanted`` loaded (None: all of them); of the others only name and purpose."""
    root = typer.Typer(
        name="auterity",
        help="One endpoint in front of every AI model: decide, pay for, prove and improve their use.",
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for command in COMMANDS:
        if wanted not in (None, command.name):
            root.command(command.name, help=command.help, rich_help_panel=command.panel)(_unloaded)
            continue
        commands: typer.Typer = importlib.import_module(f"{__name__}.{command.module}").commands
        if command.group:
            root.add_typer(
                commands, name=command.name, help=command.help, rich_help_panel=command.panel, no_args_is_help=True
            )
        else:
            (info,) = commands.registered_commands
            if info.callback is not None:
                root.command(command.name, help=info.help or command.help, rich_help_panel=command.panel)(info.callback)
    return root


def main() -> None:
    """The entry point of the program."""
    wanted = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    try:
        application(wanted)()
    except Exception as error:
        # The process's edge. What a person did wrong has been told before; this is a defect of ours.
        if os.environ.get("AUTERITY_LOG_LEVEL") == "debug":
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        sys.exit(
            f"error: something went wrong inside Auterity ({type(error).__name__} at {where.name}). "
            "Run it again with AUTERITY_LOG_LEVEL=debug, and report what it prints."
        )


def _unloaded() -> None:
    """Stands in the overview for a command that was not asked for."""

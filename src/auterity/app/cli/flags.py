"""Settings as options of commands, made from their one declaration."""

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from auterity.app.cli.output import fail
from auterity.app.configuration import load
from auterity.app.settings import SETTINGS, InvalidSettings, Kind, Setting, Settings
from auterity.kit.errors import AuterityError, InvalidRequest

__all__ = ["ALL", "NODE", "command", "read_settings"]

ALL = tuple(name for name, setting in SETTINGS.items() if setting.flag)
"""The settings that ``serve`` takes as options."""
NODE = ("home", "config", "database_url")
"""Where the data is: for every command that reads or writes it."""

_METAVARS = {
    Kind.TEXT: "TEXT",
    Kind.COUNT: "N",
    Kind.NUMBER: "NUMBER",
    Kind.SIZE: "SIZE",
    Kind.DURATION: "TIME",
    Kind.FILE: "PATH",
    Kind.URL: "URL",
    Kind.ADDRESSES: "LIST",
}


def read_settings(flags: dict[str, str | None]) -> Settings:
    """Settings from these flags, the environment and the file.

    Raises:
        InvalidSettings: with all that is wrong.
    """
    return load(flags, os.environ)


def command(commands: typer.Typer, name: str, settings: Sequence[str] = NODE) -> Callable[[Callable[..., None]], None]:
    """Register a function as a command whose first parameter is the :class:`Settings`.

    The settings that are named become options beside the function's own. An :class:`AuterityError` ends the command
    with one sentence and code 1 (2 for wrong settings and arguments).
    """

    def register(function: Callable[..., None]) -> None:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        options = [_option(SETTINGS[each]) for each in settings]

        def run(**arguments: Any) -> None:
            flags = {each: _text(arguments.pop(each)) for each in settings}
            try:
                function(read_settings(flags), **arguments)
            except AuterityError as error:
                wrong = isinstance(error, InvalidSettings | InvalidRequest)
                fail(error, code=2 if wrong else 1, as_json=bool(arguments.get("as_json")))

        # Typer reads a command's options from its signature.
        signature = inspect.Signature(
            [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in (*own, *options)]
        )
        run.__dict__["__signature__"] = signature
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
        run.__name__ = function.__name__
        commands.command(name, help=inspect.getdoc(function))(run)

    return register


def _option(setting: Setting) -> inspect.Parameter:
    told = setting.default if isinstance(setting.default, str | int | float) else None
    default = "" if told is None or isinstance(told, bool) else f" Default: {_shown(setting, told)}."
    if setting.spec.kind is Kind.SWITCH:
        name = f"{setting.flag}/--no-{(setting.flag or '').removeprefix('--')}"
        option = typer.Option(name, help=setting.spec.help, show_default=False, rich_help_panel="Settings")
        annotation: object = Annotated[bool | None, option]
    else:
        metavar = "|".join(setting.choices) or _METAVARS[setting.spec.kind]
        option = typer.Option(
            setting.flag or "", help=setting.spec.help + default, metavar=metavar, rich_help_panel="Settings"
        )
        annotation = Annotated[str | None, option]
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _shown(setting: Setting, value: str | float) -> str:
    if setting.spec.kind is Kind.SIZE:
        size = int(value)
        return f"{size >> 30}GiB" if size >= 1 << 30 else f"{size >> 20}MiB"
    return f"{value:g}s" if setting.spec.kind is Kind.DURATION else str(value)


def _text(value: object) -> str | None:
    return None if value is None else str(value)

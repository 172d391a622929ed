"""Reads the settings from flags, ``AUTERITY_*`` variables and ``auterity.yaml``, in that order of precedence.

All problems are found in one pass and told together, each with its source and line.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from auterity.app.configuration_file import NotSettings, read_lines
from auterity.app.notation import Value, parse
from auterity.app.settings import SETTINGS, InvalidSettings, Settings
from auterity.engines.counters.address import RedisAddress
from auterity.engines.secrets.environment import VARIABLE, EnvironmentMasterKeys
from auterity.kit.errors import AuterityError

__all__ = ["CONFIG_NAME", "load"]

CONFIG_NAME = "auterity.yaml"
_PREFIX = "AUTERITY_"


@dataclass(frozen=True, slots=True)
class _Written:
    """A setting as it was written somewhere."""

    text: str
    origin: str
    """``--port``, ``AUTERITY_PORT`` or ``/path/auterity.yaml:7``."""
    folder: Path
    """What relative paths start from."""


def load(flags: Mapping[str, str | None], variables: Mapping[str, str]) -> Settings:
    """Read all sources.

    Args:
        flags: what the command line said, by the setting's name; None where it said nothing.
        variables: the environment.

    Raises:
        InvalidSettings: with every problem of every source.
    """
    problems: list[str] = []
    here = Path.cwd()
    told = {name: _Written(text, SETTINGS[name].flag or name, here) for name, text in flags.items() if text is not None}
    outer = _from_variables(variables, here, problems) | told
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    try:
        file = _config_file(outer)
    except ValueError as error:
        raise InvalidSettings([*problems, str(error)]) from error
    inner = _from_file(file, "config" in outer, problems) if file is not None else {}
    # A line that a flag overrides is still checked: it would bite on the day the flag goes.
    for name, source in [*inner.items(), *outer.items()]:
        try:
            values[name] = parse(SETTINGS[name], source.text, source.folder)
            origins[name] = source.origin
            _check_with_engine(name, source.text)
        except ValueError as error:
            problems.append(f"{source.origin}: {name} {error}")
        except AuterityError as error:
            problems.append(f"{source.origin}: {error}")
    if problems:
        raise InvalidSettings(problems)
    if file is not None:
        values["config"] = file
    return msgspec.convert({**values, "origins": origins}, Settings)


def _config_file(written: Mapping[str, _Written]) -> Path | None:
    """The configuration file: the one that is named, else the home folder's, where it exists.

    Raises:
        ValueError: there is no such file; the message names the source.
    """
    named = written.get("config")
    if named is not None:
        path = _path("config", named)
        if path.is_file():
            return path
        raise ValueError(f"{named.origin}: there is no file {path}")
    home = written.get("home")
    path = (_path("home", home) if home is not None else Settings().home) / CONFIG_NAME
    return path if path.is_file() else None


def _path(name: str, written: _Written) -> Path:
    return Path(str(parse(SETTINGS[name], written.text, written.folder)))


def _from_variables(variables: Mapping[str, str], folder: Path, problems: list[str]) -> dict[str, _Written]:
    known = {setting.variable: name for name, setting in SETTINGS.items()}
    written: dict[str, _Written] = {}
    for variable, text in sorted(variables.items()):
        if not variable.startswith(_PREFIX):
            continue
        if variable not in known:
            problems.append(f"{variable}: unknown setting{_meant(variable, known)}")
        elif not text.strip():
            problems.append(f"{variable} is empty; give it a value or unset it")
        else:
            written[known[variable]] = _Written(text.strip(), variable, folder)
    return written


def _from_file(path: Path, named: bool, problems: list[str]) -> dict[str, _Written]:
    try:
        entries = read_lines(path)
    except NotSettings as error:
        problems.append(str(error))
        return {}
    written: dict[str, _Written] = {}
    lines: dict[str, int] = {}
    for entry in entries:
        problem = _misplaced(entry.key, named)
        if problem is None and entry.key in lines:
            problem = f"{entry.key} is set twice; the other is at line {lines[entry.key]}"
        if problem is None and entry.text is None:
            problem = f"{entry.key} takes one value, not a nested structure"
        if problem is None and not entry.text:
            problem = f"{entry.key} has no value; give it one or delete the line"
        lines.setdefault(entry.key, entry.line)
        if problem is not None:
            problems.append(f"{path}:{entry.line}: {problem}")
        else:
            written[entry.key] = _Written(entry.text or "", f"{path}:{entry.line}", path.parent)
    return written


def _check_with_engine(name: str, text: str) -> None:
    """Let the engine that uses a setting read it; it says what is wrong without repeating a secret.

    SQLAlchemy is loaded for a URL that is set, and not otherwise: it would cost each start half a second.

    Raises:
        AuterityError: it cannot be.
    """
    match name:
        case "database_url":
            importlib.import_module("auterity.engines.database.address").parse_address(text)
        case "redis_url":
            RedisAddress.parse(text)
        case "master_key":
            EnvironmentMasterKeys({VARIABLE: text}).keys()
        case _:
            pass


def _misplaced(key: str, named: bool) -> str | None:
    """Why this key cannot stand in the file, where it cannot."""
    setting = SETTINGS.get(key)
    if setting is None:
        return f'unknown setting "{key[:60]}"{_meant(key, [name for name, each in SETTINGS.items() if each.line])}'
    if setting.spec.secret:
        return f"{key} is a secret and may not stand in a file; set {setting.variable}"
    if setting.line is None:
        return f"{key} would do nothing here; use {setting.flag} or {setting.variable}"
    if key == "home" and not named:
        return "home would do nothing here: this file was found in the home folder; use --home or AUTERITY_HOME"
    return None


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower() if name.islower() else name, known, n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else "; see `auterity config show` for all settings"

"""The register of every figure this project promises: ``benchmarks/promises.toml``.

People write what is promised; benchmarks write what was measured (``measured``, ``date``, ``machine``, ``note``), with
:func:`record`, which changes those lines of one promise and nothing else, so comments and order stay as they are.
"""

import fcntl
import os
import re
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from benchmarks.machine import machine_class, today

__all__ = ["FILE", "InvalidPromises", "Promise", "read", "record"]

FILE = Path(__file__).resolve().with_name("promises.toml")

_WRITTEN = ("id", "what", "goal", "unit", "comparison", "command", "source")
_MEASURED = ("measured", "date", "machine", "note")
_TABLE = "[[promise]]"


class InvalidPromises(ValueError):
    """The register says something that cannot be, or a promise is not in it."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One figure."""

    id: str
    """``area.what``, lower case: what commands and benchmarks call it."""
    what: str
    goal: float
    unit: str
    comparison: Literal["<=", "<", ">=", ">", "=="]
    """How a measured value must stand to the goal."""
    command: str
    """What measures it again, from the root of the repository; ``python`` is the environment's."""
    source: str
    """The benchmark that records it."""
    measured: float | None = None
    date: str = ""
    machine: str = ""
    note: str = ""
    """What a reader must know of this measurement, e.g. that the machine was busy."""

    @property
    def reached(self) -> bool | None:
        """None while nothing was measured."""
        if self.measured is None:
            return None
        value, goal = self.measured, self.goal
        return {
            "<=": value <= goal,
            "<": value < goal,
            ">=": value >= goal,
            ">": value > goal,
            "==": value == goal,
        }[self.comparison]


def read(file: Path = FILE) -> tuple[Promise, ...]:
    """All promises in the order of the register.

    Raises:
        InvalidPromises: a field is missing, unknown or of the wrong type, or an id is there twice.
    """
    return _parse(file.read_text())


def _parse(text: str) -> tuple[Promise, ...]:
    try:
        tables = cast("list[dict[str, Any]]", tomllib.loads(text).get("promise", []))
    except tomllib.TOMLDecodeError as error:
        raise InvalidPromises(f"the register is not TOML: {error}") from error
    promises: list[Promise] = []
    for table in tables:
        name = str(table.get("id", f"number {len(promises) + 1}"))
        if missing := [key for key in _WRITTEN if key not in table]:
            raise InvalidPromises(f"{name}: {', '.join(missing)} missing")
        if unknown := set(table) - {*_WRITTEN, *_MEASURED}:
            raise InvalidPromises(f"{name}: {', '.join(sorted(unknown))} unknown")
        for key, value in table.items():
            fits = isinstance(value, int | float) if key in {"goal", "measured"} else isinstance(value, str)
            if not fits or isinstance(value, bool):
                raise InvalidPromises(f"{name}: {key} is of the wrong type")
        if table["comparison"] not in {"<=", "<", ">=", ">", "=="}:
            raise InvalidPromises(f"{name}: comparison must be <=, <, >=, > or ==")
        if not re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)+", name):
            raise InvalidPromises(f"{name}: an id is lower-case words joined by dots and dashes")
        if any(name == other.id for other in promises):
            raise InvalidPromises(f"{name} is there twice")
        promises.append(Promise(**table))
    return tuple(promises)


def record(
    promise_id: str,
    value: float,
    *,
    machine: str | None = None,
    date: str | None = None,
    note: str = "",
    file: Path = FILE,
) -> Promise:
    """Write what was measured into the promise's row; safe while other benchmarks record.

    Args:
        promise_id: which promise.
        value: in the promise's unit; kept with four significant digits.
        machine: the machine's class, this one's by default.
        date: ``YYYY-MM-DD`` in UTC, today by default.
        note: what a reader must know of this measurement; an older note goes.

    Raises:
        InvalidPromises: there is no such promise.
    """
    with _locked(file):
        text = file.read_text()
        lines = {
            "measured": _number(value),
            "date": _text(date or today()),
            "machine": _text(machine_class() if machine is None else machine),
        } | ({"note": _text(note)} if note else {})
        changed = _replace(text, promise_id, [f"{key} = {literal}" for key, literal in lines.items()])
        promise = next(promise for promise in _parse(changed) if promise.id == promise_id)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fresh.write_text(changed)
        fresh.replace(file)
    return promise


@contextmanager
def _locked(file: Path) -> Generator[None]:
    # The folder, because the file itself is replaced.
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(text: str, promise_id: str, measured: list[str]) -> str:
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if line.strip() == _TABLE]
    for start, following in zip(starts, [*starts[1:], len(lines)], strict=True):
        stop = following
        block = lines[start:stop]
        if tomllib.loads("\n".join(block))["promise"][0].get("id") != promise_id:
            continue
        keys = [line.partition("=")[0].strip() if "=" in line and not line.startswith("#") else "" for line in block]
        kept = [line for line, key in zip(block, keys, strict=True) if key not in _MEASURED]
        last = max(number for number, line in enumerate(kept) if line.partition("=")[0].strip() in _WRITTEN)
        return "\n".join([*lines[:start], *kept[: last + 1], *measured, *kept[last + 1 :], *lines[stop:]])
    raise InvalidPromises(f"there is no promise {promise_id!r} in {FILE.name}")


def _number(value: float) -> str:
    short = float(f"{value:.4g}")
    return str(int(short)) if short.is_integer() and abs(short) < 1e15 else repr(short)


def _text(value: str) -> str:
    clean = "".join(character for character in value if character.isprintable())
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'

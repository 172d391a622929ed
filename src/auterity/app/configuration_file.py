"""``auterity.yaml`` as lines of settings.

Read from the parser's events, not from a built tree: nothing in the file can make work or depth beyond its size, and
every value keeps its line and its exact text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

__all__ = ["NotSettings", "SettingLine", "read_lines"]

_LIMIT = 256 << 10
_DEEPEST = 16


class NotSettings(Exception):
    """The file is not lines of the form ``setting: value``; the message starts with the file and the line."""


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One entry of the file."""

    line: int
    key: str
    text: str | None
    """The value as written, a list of plain values joined with commas; ``""`` where there is none, None where it is a
    nested structure."""


def read_lines(path: Path) -> list[SettingLine]:
    """
    Raises:
        NotSettings: the file as a whole cannot be read as settings.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise NotSettings(f"{path}: cannot be read ({error.strerror})") from error
    if len(raw) > _LIMIT:
        raise NotSettings(f"{path}: longer than {_LIMIT >> 10} KiB; this is not a settings file")
    try:
        return list(_entries(path, _plain(path, raw)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise NotSettings(f"{path}:{line}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise NotSettings(f"{path}: not a text file in UTF-8") from error


def _plain(path: Path, raw: bytes) -> Iterator[yaml.Event]:
    """The parser's events, without what a settings file has no use for."""
    depth = 0
    for event in yaml.parse(raw, Loader=yaml.SafeLoader):
        where = f"{path}:{_line(event)}"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            # The scanner's work grows with the square of the depth.
            raise NotSettings(f"{where}: nested too deeply; a settings file is lines of the form setting: value")
        if getattr(event, "anchor", None) is not None:
            raise NotSettings(f"{where}: anchors and aliases are not allowed; write the value out")
        if getattr(event, "tag", None) is not None:
            raise NotSettings(f"{where}: tags (!…) are not allowed; write the plain value")
        if not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent):
            yield event


def _entries(path: Path, events: Iterator[yaml.Event]) -> Iterator[SettingLine]:
    next(events, None)  # the document's start
    root = next(events, None)
    if root is None or (isinstance(root, yaml.ScalarEvent) and not root.value):
        return
    if not isinstance(root, yaml.MappingStartEvent):
        raise NotSettings(f"{path}:{_line(root)}: expected lines of the form setting: value")
    for key in events:
        if isinstance(key, yaml.MappingEndEvent):
            break
        if not isinstance(key, yaml.ScalarEvent):
            raise NotSettings(f"{path}:{_line(key)}: expected the name of a setting")
        yield SettingLine(_line(key), key.value, _value(events))
    for event in events:
        raise NotSettings(f"{path}:{_line(event)}: a second document; keep all settings in one")


def _value(events: Iterator[yaml.Event]) -> str | None:
    """The value that comes next, read to its end."""
    items: list[str] = []
    depth, nested = 0, False
    for event in events:
        match event:
            case yaml.ScalarEvent() if depth == 0:
                return "" if event.style is None and event.value.lower() in {"~", "null"} else event.value.strip()
            case yaml.ScalarEvent():
                items.append(event.value)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                nested = nested or depth > 0 or isinstance(event, yaml.MappingStartEvent)
                depth += 1
            case _:
                depth -= 1
                if depth == 0:
                    break
    return None if nested else ",".join(items)


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 1

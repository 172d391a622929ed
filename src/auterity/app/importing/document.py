"""A YAML document in which every value knows its path, its line and the text it was written as.

Prices are read from the text: YAML's own numbers are floats.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from auterity.kit.errors import InvalidRequest

__all__ = ["Entry", "UnreadableDocument", "read_document"]

_MOST_BYTES = 2 * 1024 * 1024
_MOST_VALUES = 100_000
_DEEPEST = 30
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"

Fields = Mapping[str, "Entry"]


class UnreadableDocument(InvalidRequest):
    """The file is not a YAML mapping that can be read; the message names the line."""

    code = "unreadable_document"


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of the document."""

    path: str
    """As in ``model_list[0].litellm_params.model``."""
    line: int
    text: str | None = None
    """A plain value as it was written; None for nothing (``null``), mappings and lists."""
    fields: Fields | None = None
    items: Sequence["Entry"] | None = None

    def get(self, name: str) -> "Entry | None":
        """A field of a mapping; None where there is none, or it is null."""
        found = self.fields.get(name) if self.fields is not None else None
        return None if found is None or found.is_null else found

    def plain(self, name: str) -> str | None:
        """A field's text; None where it is no plain value."""
        found = self.get(name)
        return found.text if found else None

    def list(self, name: str) -> Sequence["Entry"]:
        """A field's items; none where it is no list."""
        found = self.get(name)
        return found.items or () if found else ()

    @property
    def is_null(self) -> bool:
        return self.text is None and self.fields is None and self.items is None

    def leaves(self) -> Iterator["Entry"]:
        """The plain values below (or this one), nulls left out."""
        if self.fields is not None:
            for field in self.fields.values():
                yield from field.leaves()
        elif self.items is not None:
            for item in self.items:
                yield from item.leaves()
        elif self.text is not None:
            yield self


def read_document(text: str) -> Entry:
    """
    Raises:
        UnreadableDocument: it is not YAML, not a mapping, or too large.
    """
    if len(text) > _MOST_BYTES:
        raise UnreadableDocument(f"The file is longer than {_MOST_BYTES >> 20} MiB; this is not a configuration.")
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UnreadableDocument("The file is not a mapping of settings.")
        return _Reader().read(node, "", _DEEPEST)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark else ""
        raise UnreadableDocument(f"The file is not YAML: {error.problem or error.context}{where}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UnreadableDocument("The file is not a YAML text.") from error
    finally:
        loader.dispose()


class _Reader:
    """Turns nodes into entries; aliases are followed, which is why the number of values is bounded."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def read(self, node: yaml.Node, path: str, depth: int) -> Entry:
        line = node.start_mark.line + 1
        self._left -= 1
        if self._left < 0 or depth == 0:
            raise UnreadableDocument(f"The file holds too much, or is nested too deeply, in line {line}.")
        if isinstance(node, yaml.MappingNode):
            return Entry(path, line, fields=self._fields(node, path, depth - 1))
        if isinstance(node, yaml.SequenceNode):
            items = [self.read(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(node.value)]
            return Entry(path, line, items=items)
        return Entry(path, line, text=None if node.tag == _NULL else str(node.value))

    def _fields(self, node: yaml.MappingNode, path: str, depth: int) -> Fields:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}  # from merge keys: ``<<: *default``
        for key, value in node.value:
            if key.tag != _MERGE:
                name = str(key.value)
                own[name] = self.read(value, f"{path}.{name}" if path else name, depth)
                continue
            found = self.read(value, path, depth)
            for source in found.items or (found,):
                merged = {**(source.fields or {}), **merged}
        return {**merged, **own}

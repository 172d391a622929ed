"""The Parquet files of the event store: writing, merging, listing and removing them.

A file holds the events of one UTC day, sorted so that a reader of one tenant skips nearly all of it, and never changes.
It counts only once a manifest lists it; until then it is an orphan that anyone who knows the manifest may remove.
Imported by the collector only: pyarrow stays out of the gateway's workers.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple, cast

from auterity.engines.eventstore.arrow import ArrowField, ArrowTable, ArrowType, arrow, parquet
from auterity.kit.ids import new_id

__all__ = ["Column", "EventFiles", "WrittenFile"]

ColumnType = Literal["text", "integer", "flag", "labels"]


class Column(NamedTuple):
    """One column of the store; ``labels`` is a mapping of text to text."""

    name: str
    type: "ColumnType | Sequence[Column]"
    """Columns in place of a type: a list of such records."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file on disk, and durable."""

    path: str
    """Relative to the store, ``2026-11-22/evf_….v1.node.parquet``: schema version and node are told by the name."""
    day: date
    rows: int
    bytes: int


_ROW_GROUP = 16_384
"""Rows; a reader of one tenant decodes whole groups. Measured on ten million events of a hundred tenants."""
_SCALARS: Mapping[str, ArrowType] = {
    "text": arrow.string(),
    "integer": arrow.int64(),
    "flag": arrow.bool_(),
    "labels": arrow.map_(arrow.string(), arrow.string()),
}


class EventFiles:
    """One node's files in the store's folder, which several nodes may share."""

    def __init__(
        self, root: Path, node: str, columns: Sequence[Column], sort_by: Sequence[str], *, version: int
    ) -> None:
        """
        Args:
            root: made if it is not there.
            node: part of each file's name; only files of this node are listed and removed.
            columns: the present schema; files of earlier ones, which lack the last columns, can be merged too.
            sort_by: names of the columns that rows are sorted by.
            version: of the schema; part of each file's name.
        """
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._suffix = f".{node}.parquet"
        self._version = f".v{version}"
        self._sort_by = [(name, "ascending") for name in sort_by]
        self._schema = arrow.schema(_fields(columns), metadata={"auterity.schema": str(version)})

    def write(self, day: date, columns: Mapping[str, Sequence[object]]) -> WrittenFile:
        """Write events of one day; on return the file survives a power cut.

        Raises:
            ValueError: a value does not fit its column (pyarrow's errors are ValueErrors, or TypeErrors).
            OSError: the disk failed or is full.
        """
        return self._write(day, arrow.table(columns, schema=self._schema))

    def merge(self, day: date, paths: Iterable[str]) -> WrittenFile:
        """Write the rows of several files into one.

        Raises:
            OSError: a file is gone, or the disk failed or is full.
        """
        tables = [parquet.read_table(self._root / path, schema=self._schema) for path in paths]
        return self._write(day, arrow.concat_tables(tables))

    def text_column(self, path: str, name: str) -> list[str]:
        """One text column of a file, whole.

        Raises:
            OSError: the file is gone.
        """
        table = parquet.read_table(self._root / path, columns=[name])
        return cast("list[str]", table.column(name).to_pylist())

    def own(self) -> set[str]:
        """All files that this node wrote, in the manifest or not."""
        return {
            f"{path.parent.name}/{path.name}"
            for path in self._root.glob(f"*/*{self._suffix}*")
            if path.name.endswith((self._suffix, self._suffix + ".new"))
        }

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; those that are gone already are no error. Empty days' folders go too."""
        for path in paths:
            file = self._root / path
            file.unlink(missing_ok=True)
            try:
                file.parent.rmdir()
            except OSError:
                continue  # not empty, or gone

    def _write(self, day: date, table: ArrowTable) -> WrittenFile:
        path = f"{day.isoformat()}/{new_id('evf')}{self._version}{self._suffix}"
        final = self._root / path
        unfinished = final.with_name(final.name + ".new")
        final.parent.mkdir(exist_ok=True)
        with unfinished.open("wb") as file:
            parquet.write_table(table.sort_by(self._sort_by), file, row_group_size=_ROW_GROUP, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        unfinished.rename(final)
        for folder in (final.parent, self._root):
            _sync_folder(folder)
        return WrittenFile(path, day, table.num_rows, size)


def _fields(columns: Sequence[Column]) -> list[ArrowField]:
    return [arrow.field(column.name, _arrow_type(column)) for column in columns]


def _arrow_type(column: Column) -> ArrowType:
    if isinstance(column.type, str):
        return _SCALARS[column.type]
    return arrow.list_(arrow.struct(_fields(column.type)))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""The few functions of pyarrow that the event store uses, with types.

The published stubs leave element types unknown. Everything here is what pyarrow itself does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol, cast

import pyarrow
import pyarrow.parquet

__all__ = ["ArrowColumn", "ArrowTable", "arrow", "parquet"]


class ArrowType(Protocol):
    """A column's type."""


class ArrowField(Protocol):
    """A named, typed column of a schema."""


class ArrowSchema(Protocol):
    """The columns of a table."""


class ArrowColumn(Protocol):
    """Values of one column."""

    def to_pylist(self) -> list[object]: ...
    def __getitem__(self, index: int) -> "ArrowScalar": ...


class ArrowScalar(Protocol):
    """One value."""

    def as_py(self) -> object: ...


class ArrowTable(Protocol):
    """Columns of equal length."""

    @property
    def num_rows(self) -> int: ...
    def sort_by(self, sorting: Sequence[tuple[str, str]]) -> "ArrowTable": ...
    def column(self, name: str) -> ArrowColumn: ...
    def to_pylist(self) -> list[dict[str, object]]: ...


class Tables(Protocol):
    """Module ``pyarrow``."""

    def string(self) -> ArrowType: ...
    def int64(self) -> ArrowType: ...
    def bool_(self) -> ArrowType: ...
    def map_(self, key: ArrowType, item: ArrowType) -> ArrowType: ...
    def list_(self, item: ArrowType) -> ArrowType: ...
    def struct(self, fields: Sequence[ArrowField]) -> ArrowType: ...
    def field(self, name: str, type: ArrowType) -> ArrowField: ...  # noqa: A002 - pyarrow's own name
    def schema(self, fields: Sequence[ArrowField], metadata: Mapping[str, str]) -> ArrowSchema: ...
    def table(self, data: Mapping[str, Sequence[object]], schema: ArrowSchema) -> ArrowTable: ...
    def concat_tables(self, tables: Sequence[ArrowTable]) -> ArrowTable: ...


class Parquet(Protocol):
    """Module ``pyarrow.parquet``."""

    def read_table(
        self,
        source: Path,
        *,
        columns: Sequence[str] | None = None,
        schema: ArrowSchema | None = None,
        partitioning: None = None,
    ) -> ArrowTable: ...

    def write_table(
        self, table: ArrowTable, where: IO[bytes], *, row_group_size: int, compression: str = "zstd"
    ) -> None: ...


arrow = cast(Tables, pyarrow)
parquet = cast(Parquet, pyarrow.parquet)

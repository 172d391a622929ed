"""Reading the event store: Ibis expressions over an in-memory DuckDB that may open the store's files and nothing else.

Imported in the query process only. Ibis comes without types; the protocols here are the part of it that is used.
"""

import os
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Protocol, cast

import duckdb
import ibis

from auterity.engines.eventstore.arrow import ArrowTable
from auterity.engines.eventstore.errors import EventStoreBusy

__all__ = ["EventsExpression", "FilesVanished", "Value", "event_files"]

_MEMORY = "1GB"
_THREADS = 2


class FilesVanished(Exception):
    """A file is not there any more."""


class Value(Protocol):
    """A column, or something computed of columns."""

    def __and__(self, other: "Value") -> "Value": ...
    def __or__(self, other: "Value") -> "Value": ...
    def __floordiv__(self, other: int) -> "Value": ...
    def __ge__(self, other: int | str) -> "Value": ...
    def __gt__(self, other: int | str) -> "Value": ...
    def __lt__(self, other: int | str) -> "Value": ...
    def __le__(self, other: int | str) -> "Value": ...
    def isin(self, values: Sequence[str | int]) -> "Value": ...
    def get(self, key: str, default: str) -> "Value": ...
    def fill_null(self, value: int | str | bool) -> "Value": ...
    def length(self) -> "Value": ...
    def sum(self) -> "Value": ...
    def cast(self, type: str) -> "Value": ...  # noqa: A002 - Ibis's own name
    def as_timestamp(self, unit: str) -> "Value": ...
    def strftime(self, format: str) -> "Value": ...  # noqa: A002 - Ibis's own name
    def desc(self) -> "Value": ...


class EventsExpression(Protocol):
    """Rows of events, or of what was computed of them; nothing is read before ``to_pyarrow``."""

    def __getitem__(self, name: str) -> Value: ...
    def filter(self, *conditions: Value) -> "EventsExpression": ...
    def mutate(self, **columns: Value) -> "EventsExpression": ...
    def select(self, *columns: str) -> "EventsExpression": ...
    def aggregate(self, metrics: Mapping[str, Value], *, by: Sequence[str]) -> "EventsExpression": ...
    def order_by(self, *keys: "Value | str") -> "EventsExpression": ...
    def limit(self, count: int) -> "EventsExpression": ...
    def count(self) -> Value: ...
    def to_pyarrow(self) -> ArrowTable: ...
    def get_name(self) -> str: ...


class _Backend(Protocol):
    con: duckdb.DuckDBPyConnection

    def raw_sql(self, query: str) -> object: ...
    def read_parquet(self, paths: Sequence[str], *, union_by_name: bool) -> EventsExpression: ...


@contextmanager
def event_files(root: str, paths: Sequence[str], *, seconds: float) -> Generator[EventsExpression]:
    """The rows of some of the store's files (at least one); what is asked of them may take so long.

    Raises:
        FilesVanished: a file is gone.
        EventStoreBusy: it took longer.
    """
    backend = _backend(root)
    full = [os.path.join(root, path) for path in paths]
    deadline = time.monotonic() + seconds
    timer = threading.Timer(seconds, backend.con.interrupt)
    timer.daemon = True
    timer.start()
    name: str | None = None
    try:
        # Looking for missing columns costs as much as a small question; files of one version lack none.
        versions = {path.split(".")[1] for path in paths}
        events = backend.read_parquet(full, union_by_name=len(versions) > 1)
        name = events.get_name()
        # An interrupt stops what runs at that moment and nothing that begins after it.
        if time.monotonic() > deadline:
            raise _too_slow(seconds)
        yield events
    except duckdb.InterruptException as error:
        raise _too_slow(seconds) from error
    except duckdb.IOException as error:
        if all(map(os.path.exists, full)):
            raise
        raise FilesVanished from error
    finally:
        timer.cancel()
        if name is not None:
            backend.raw_sql(f'DROP VIEW "{name}"')


def _too_slow(seconds: float) -> EventStoreBusy:
    return EventStoreBusy(
        f"The question took longer than {seconds:g} seconds; ask for a shorter period.", retry_after=5
    )


@cache
def _backend(root: str) -> _Backend:
    backend = cast(_Backend, ibis.duckdb.connect(threads=_THREADS))
    quoted = root.replace("'", "''")
    for statement in (
        f"SET memory_limit = '{_MEMORY}'",
        "SET TimeZone = 'UTC'",
        f"SET allowed_directories = ['{quoted}']",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        backend.raw_sql(statement)
    return backend

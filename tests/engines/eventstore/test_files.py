"""The store's files: durable, sorted, merged across schema versions, and the only ones a query may open."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb
import pytest

from auterity.engines.eventstore.duck import FilesVanished, event_files
from auterity.engines.eventstore.files import Column, EventFiles

# Ibis calls DuckDB's method by its former name.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

DAY = date(2026, 11, 22)
OLD = [Column("tenant", "text"), Column("n", "integer"), Column("tags", "labels")]
NEW = [*OLD, Column("late", "flag"), Column("tries", [Column("status", "integer")])]


def files_of(root: Path, columns: Sequence[Column], version: int, node: str = "a1") -> EventFiles:
    return EventFiles(root, node, columns, ("tenant", "n"), version=version)


def rows(root: Path, *paths: str) -> list[tuple[object, ...]]:
    return duckdb.read_parquet([str(root / path) for path in paths]).select("tenant, n").fetchall()


def test_rows_are_sorted_and_nothing_unfinished_stays(tmp_path: Path) -> None:
    files = files_of(tmp_path, OLD, 1)
    written = files.write(DAY, {"tenant": ["b", "a", "a"], "n": [1, 3, 2], "tags": [[], [("x", "y")], []]})
    assert rows(tmp_path, written.path) == [("a", 2), ("a", 3), ("b", 1)]
    assert (written.rows, written.bytes) == (3, (tmp_path / written.path).stat().st_size)
    assert files.own() == {written.path}


def test_files_of_an_older_schema_are_merged_with_newer_ones(tmp_path: Path) -> None:
    old = files_of(tmp_path, OLD, 1).write(DAY, {"tenant": ["b"], "n": [1], "tags": [[]]})
    files = files_of(tmp_path, NEW, 2)
    new = files.write(DAY, {"tenant": ["a"], "n": [2], "tags": [[]], "late": [True], "tries": [[{"status": 200}]]})
    merged = files.merge(DAY, [old.path, new.path])
    assert rows(tmp_path, merged.path) == [("a", 2), ("b", 1)]
    with event_files(str(tmp_path), [old.path, new.path], seconds=30) as events:
        assert events.order_by("n").select("n", "late").to_pyarrow().to_pylist() == [
            {"n": 1, "late": None},
            {"n": 2, "late": True},
        ]


def test_a_node_leaves_other_nodes_files_alone(tmp_path: Path) -> None:
    mine, theirs = files_of(tmp_path, OLD, 1, "a1"), files_of(tmp_path, OLD, 1, "b2")
    other = theirs.write(DAY, {"tenant": ["b"], "n": [1], "tags": [[]]})
    assert mine.own() == set()
    mine.remove([])
    assert theirs.own() == {other.path}
    theirs.remove([other.path])
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_does_not_fit_its_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError)):
        files_of(tmp_path, OLD, 1).write(DAY, {"tenant": ["b"], "n": ["one"], "tags": [[]]})


def test_a_file_that_is_gone_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FilesVanished), event_files(str(tmp_path), ["2026-11-22/evf_1.v1.a1.parquet"], seconds=30):
        pass


def test_a_query_opens_nothing_outside_the_store(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    elsewhere = files_of(outside, OLD, 1).write(DAY, {"tenant": ["b"], "n": [1], "tags": [[]]})
    with pytest.raises(duckdb.Error), event_files(str(inside), [f"../outside/{elsewhere.path}"], seconds=30) as events:
        events.to_pyarrow()

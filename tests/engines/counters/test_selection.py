"""Which counters a process gets, and what they cost those that do not need them."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from auterity.engines.counters import counters_for
from auterity.engines.counters.errors import InvalidCountersUrl
from auterity.engines.counters.memory import MemoryCounters
from auterity.engines.counters.selection import FILE_NAME, clear
from auterity.engines.counters.sqlite import SqliteCounters


def test_one_worker_counts_in_memory(tmp_path: Path) -> None:
    assert isinstance(counters_for(None, 1, tmp_path), MemoryCounters)


def test_several_workers_of_one_node_share_a_file(tmp_path: Path) -> None:
    assert isinstance(counters_for(None, 4, tmp_path), SqliteCounters)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_not_one_of_redis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidCountersUrl):
        counters_for("memcached://localhost", 1, tmp_path)


def test_a_start_takes_all_of_the_file_away(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as killed:
        killed.execute("PRAGMA journal_mode = WAL")
        killed.execute("CREATE TABLE t (x)")
        other = tmp_path / "other"
        other.touch()
        assert len(list(tmp_path.iterdir())) == 4
        clear(tmp_path)
        assert list(tmp_path.iterdir()) == [other]
        clear(tmp_path)


def test_the_redis_client_is_loaded_only_where_redis_is_used() -> None:
    script = """
import sys
from pathlib import Path
from auterity.engines.counters import counters_for
counters_for(None, 1, Path("."))
counters_for(None, 2, Path("."))
assert "glide" not in sys.modules
counters_for("redis://127.0.0.1:1", 1, Path("."))
assert "glide" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)

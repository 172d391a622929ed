"""Which counters a process uses."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, cast

from auterity.engines.counters.address import RedisAddress
from auterity.engines.counters.memory import MemoryCounters
from auterity.engines.counters.port import Counters
from auterity.engines.counters.sqlite import SqliteCounters

if TYPE_CHECKING:
    from auterity.engines.counters import redis

__all__ = ["FILE_NAME", "clear", "counters_for"]

FILE_NAME = "counters.sqlite3"


def counters_for(url: str | None, workers: int, runtime_dir: Path) -> Counters:
    """Choose by where the workers are: Redis where a URL is given, else a file for several of them, else memory.

    Nothing is opened or connected yet; the first step does it.

    Raises:
        InvalidCountersUrl: the URL is not one of Redis.
    """
    if url is not None:
        address = RedisAddress.parse(url)
        # The Redis client costs 17 MB and 0.4 s in each worker: only those pay for it that use it.
        module = importlib.import_module("auterity.engines.counters.redis")
        return cast("type[redis.RedisCounters]", module.RedisCounters)(address)
    if workers > 1:
        return SqliteCounters(runtime_dir / FILE_NAME)
    return MemoryCounters()


def clear(runtime_dir: Path) -> None:
    """Forget what a former server's workers counted; for the server's start, before its workers'.

    Holds of workers that are gone would stand in it. What was spent is known to the roll-ups.
    """
    for suffix in ("-wal", "-shm", "-journal", ""):
        (runtime_dir / (FILE_NAME + suffix)).unlink(missing_ok=True)

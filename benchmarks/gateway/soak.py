"""A long run under full load that watches a gateway's memory."""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.load import CASES, Case, LoadResult, run_wrk
from benchmarks.gateway.subject import Running

__all__ = ["Soak", "growth", "soak"]

_SAMPLE_S = 1.0
_SLICE_S = 10.0


@dataclass(frozen=True, slots=True)
class Soak:
    """What a long run showed."""

    subject: str
    seconds: float
    completed: int
    errors: int
    worker_rss_mb: tuple[float, ...]
    """Once a second."""
    growth_mb: float
    """From the end of the first fifth, when caches and pools are warm, to the end."""


def growth(rss: Sequence[float]) -> float:
    """Megabytes between the medians of the tenth after the first fifth and of the last tenth; 0 for too few values."""
    if len(rss) < 10:
        return 0.0
    tenth = len(rss) // 10
    fifth = len(rss) // 5
    return statistics.median(rss[-tenth:]) - statistics.median(rss[fifth : fifth + tenth])


def soak(name: str, running: Running, *, seconds: float, core: int | None, folder: Path) -> Soak:
    """Plain and streamed calls in turns of 10 s with 64 connections, for ``seconds`` in all.

    Raises:
        benchmarks.gateway.load.LoadError: the load generator failed.
    """
    assert running.started is not None, "the mock is not soaked"
    family = running.started.family
    cases: list[Case] = [case for case in CASES if case.connections > 1]
    rss: list[float] = []
    results: list[LoadResult] = []
    start = time.monotonic()
    with ThreadPoolExecutor(max_workers=1) as pool:
        turn = 0
        while (left := seconds - (time.monotonic() - start)) > 0:
            case = cases[turn % len(cases)]
            turn += 1
            run = pool.submit(
                run_wrk, case, running.url, running.headers, seconds=min(_SLICE_S, left), core=core, folder=folder
            )
            while not run.done():
                memory = family.memory().get("worker")
                if memory is not None:
                    rss.append(round(memory.rss, 2))
                time.sleep(_SAMPLE_S)
            results.append(run.result())
    return Soak(
        subject=name,
        seconds=round(time.monotonic() - start, 1),
        completed=sum(result.completed for result in results),
        errors=sum(result.errors for result in results),
        worker_rss_mb=tuple(rss),
        growth_mb=round(growth(rss), 2),
    )

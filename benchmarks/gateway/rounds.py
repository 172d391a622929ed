"""Interleaved rounds: each round times every gateway, in turning order, so that a drift of the machine hits all."""

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.gateway.load import Case, LoadError, run_wrk
from benchmarks.gateway.streams import WrongAnswer, check
from benchmarks.gateway.subject import Running
from benchmarks.processes import Family

__all__ = ["Cores", "Measured", "Sample", "measure"]

_DRAIN_STEP_S = 0.5
_DRAIN_LIMIT_S = 20.0
_IDLE_SHARE = 0.04
_ENOUGH_CALLS = 1000


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core runs what; None where there are too few cores to part them."""

    gateway: int | None
    load: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed run of one gateway. Latencies are milliseconds, CPU is microseconds per request."""

    subject: str
    case: str
    round: int
    completed: int
    errors: int
    upstream: int
    """Calls that the mock answered, those included that were under way when the time was over."""
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    cpu_us: float
    """User and system time of the gateway and all that belongs to it, its database and the work that it puts off to
    after the answer included, per call."""
    worker_cpu_us: float
    """Of that, the processes that serve requests."""
    mock_cpu_us: float
    load_cpu_us: float
    gateway_core_busy: float
    load_core_busy: float
    """Shares of 1. A load side that has nothing left bounds ``per_second``, not the CPU per request."""
    foreign_cores: float
    """How many cores' worth of time went to work that is not part of the benchmark."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The outcome of all rounds."""

    samples: tuple[Sample, ...]
    first_chunk_ms: Mapping[str, Mapping[str, float]]
    """Median milliseconds to the first content of a single stream, by gateway and case."""
    failures: Mapping[str, str]
    """Why a gateway was left out of a case, by ``gateway/case``."""


def _answered(mock_port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{mock_port}/mock/stats", timeout=10) as response:
        return int(json.loads(response.read())["answered"])


def _busy(times: Sequence[object]) -> list[float]:
    """Busy seconds of each core so far."""
    found: list[float] = []
    for core in times:
        fields = {name: float(getattr(core, name, 0.0)) for name in ("user", "nice", "system", "irq", "softirq")}
        found.append(sum(fields.values()))
    return found


def _drain(family: Family) -> None:
    """Wait until work that was put off to after the answers is done, so that it is counted and does not hit others."""
    deadline = time.monotonic() + _DRAIN_LIMIT_S
    before = sum(family.cpu_seconds().values())
    while time.monotonic() < deadline:
        time.sleep(_DRAIN_STEP_S)
        now = sum(family.cpu_seconds().values())
        if now - before <= _DRAIN_STEP_S * _IDLE_SHARE:
            return
        before = now


def _warm_up(running: Running, case: Case, *, seconds: float, fresh: bool, core: int | None, folder: Path) -> float:
    """Load it for a moment; how long to time it: longer where few calls would end within ``seconds``."""
    length = min(10.0 if fresh else 3.0, seconds * 2)
    load = run_wrk(case, running.url, running.headers, seconds=length, core=core, folder=folder)
    if running.started is not None:
        _drain(running.started.family)
    wanted = _ENOUGH_CALLS / load.per_second if load.completed else float("inf")
    return max(seconds, min(wanted, seconds * 2))


def _time_one(
    name: str,
    running: Running,
    case: Case,
    number: int,
    *,
    seconds: float,
    mock: Family,
    mock_port: int,
    cores: Cores,
    folder: Path,
) -> Sample:
    family = running.started.family if running.started is not None else None
    own = psutil.Process()
    answered = _answered(mock_port)
    before = family.cpu_seconds() if family is not None else {}
    mock_before = sum(mock.cpu_seconds().values())
    own_before = own.cpu_times()
    busy_before, start = _busy(psutil.cpu_times(percpu=True)), time.perf_counter()
    load = run_wrk(case, running.url, running.headers, seconds=seconds, core=cores.load, folder=folder)
    elapsed = time.perf_counter() - start
    busy = [after - was for after, was in zip(_busy(psutil.cpu_times(percpu=True)), busy_before, strict=True)]
    own_after = own.cpu_times()
    mock_seconds = sum(mock.cpu_seconds().values()) - mock_before
    at_end = sum(family.cpu_seconds().values()) - sum(before.values()) if family is not None else 0.0
    if not load.completed:
        raise LoadError(f"no call was completed within {load.seconds:.0f} s")
    if family is not None:
        _drain(family)
    after = family.cpu_seconds() if family is not None else {}
    upstream = _answered(mock_port) - answered
    # A slow gateway has dozens of calls under way when the time is over; it worked on them, so they count.
    requests = max(load.completed, upstream, 1)
    ours = at_end + mock_seconds + load.load_cpu_seconds
    ours += (own_after.user + own_after.system) - (own_before.user + own_before.system)
    return Sample(
        subject=name,
        case=case.name,
        round=number,
        completed=load.completed,
        errors=load.errors,
        upstream=upstream,
        per_second=round(load.per_second, 1),
        p50_ms=round(load.p50_ms, 3),
        p90_ms=round(load.p90_ms, 3),
        p99_ms=round(load.p99_ms, 3),
        max_ms=round(load.max_ms, 3),
        cpu_us=round((sum(after.values()) - sum(before.values())) / requests * 1e6, 2),
        worker_cpu_us=round((after.get("worker", 0.0) - before.get("worker", 0.0)) / requests * 1e6, 2),
        mock_cpu_us=round(mock_seconds / requests * 1e6, 2),
        load_cpu_us=round(load.load_cpu_seconds / requests * 1e6, 2),
        gateway_core_busy=round(busy[cores.gateway or 0] / elapsed, 3),
        load_core_busy=round(busy[cores.load or 0] / elapsed, 3),
        foreign_cores=round(max(0.0, sum(busy) - ours) / elapsed, 3),
    )


def measure(
    subjects: Mapping[str, Running],
    cases: Sequence[Case],
    *,
    rounds: int,
    seconds: float,
    mock: Family,
    mock_port: int,
    cores: Cores,
    folder: Path,
) -> Measured:
    """Check, warm up and time. A gateway that answers wrongly is left out of that case, and the reason is kept."""
    samples: list[Sample] = []
    first_chunk: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    lengths: dict[str, float] = {}
    names = list(subjects)
    for number in range(1, rounds + 1):
        for case in cases:
            turn = (number - 1) % len(names)
            for name in names[turn:] + names[:turn]:
                running = subjects[name]
                label = f"{name}/{case.name}"
                if label in failures:
                    continue
                try:
                    if (first := check(case, running.url, running.headers)) is not None:
                        kept = first_chunk.setdefault(name, {})
                        kept[case.name] = round(min(first, kept.get(case.name, first)), 2)
                    if label not in lengths:
                        # Compilers that watch the running program (Node's) need more than a moment, once.
                        fresh = not any(known.startswith(f"{name}/") for known in lengths)
                        lengths[label] = _warm_up(
                            running, case, seconds=seconds, fresh=fresh, core=cores.load, folder=folder
                        )
                    sample = _time_one(
                        name,
                        running,
                        case,
                        number,
                        seconds=lengths[label],
                        mock=mock,
                        mock_port=mock_port,
                        cores=cores,
                        folder=folder,
                    )
                except (WrongAnswer, LoadError) as wrong:
                    failures[label] = str(wrong)
                    print(f"  {label}: left out: {wrong}", flush=True)
                    continue
                samples.append(sample)
                print(
                    f"  round {number}  {case.name:<9} {name:<9} {sample.per_second:>10,.0f}/s"
                    f"  p50 {sample.p50_ms:>9.2f} ms  p99 {sample.p99_ms:>9.2f} ms  CPU {sample.cpu_us:>10,.1f} µs"
                    f"{f'  {sample.errors} ERRORS' if sample.errors else ''}",
                    flush=True,
                )
    return Measured(tuple(samples), first_chunk, failures)

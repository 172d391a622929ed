"""The median of each figure over the rounds."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.gateway.rounds import Sample

__all__ = ["Median", "medians"]


@dataclass(frozen=True, slots=True)
class Median:
    """Of one gateway in one case; units as in :class:`benchmarks.gateway.rounds.Sample`."""

    subject: str
    case: str
    rounds: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    cpu_us: float
    cpu_us_lowest: float
    cpu_us_highest: float
    worker_cpu_us: float
    mock_cpu_us: float
    load_cpu_us: float
    foreign_cores: float
    errors: int
    """The sum."""
    load_bound: bool
    """The load side had nothing left while the gateway had: it could have served more per second."""


def _of(samples: list[Sample]) -> Median:
    def middle(name: str) -> float:
        return round(statistics.median(float(getattr(sample, name)) for sample in samples), 3)

    return Median(
        subject=samples[0].subject,
        case=samples[0].case,
        rounds=len(samples),
        per_second=middle("per_second"),
        p50_ms=middle("p50_ms"),
        p90_ms=middle("p90_ms"),
        p99_ms=middle("p99_ms"),
        cpu_us=middle("cpu_us"),
        cpu_us_lowest=min(sample.cpu_us for sample in samples),
        cpu_us_highest=max(sample.cpu_us for sample in samples),
        worker_cpu_us=middle("worker_cpu_us"),
        mock_cpu_us=middle("mock_cpu_us"),
        load_cpu_us=middle("load_cpu_us"),
        foreign_cores=middle("foreign_cores"),
        errors=sum(sample.errors for sample in samples),
        load_bound=middle("load_core_busy") > 0.95 and middle("gateway_core_busy") < 0.9,
    )


def medians(samples: Iterable[Sample]) -> Mapping[tuple[str, str], Median]:
    """By gateway and case."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.subject, sample.case), []).append(sample)
    return {key: _of(group) for key, group in groups.items()}

"""What the gateway is to reach, and how each figure comes out of the medians and the soak."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.gateway.medians import Median
from benchmarks.gateway.soak import Soak
from benchmarks.promises import Promise

__all__ = ["OURS", "Outcome", "outcomes"]

OURS = "auterity"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One goal and what was measured for it in this run."""

    promise: Promise
    """With this run's value in place of the last one."""
    value: float


@dataclass(frozen=True, slots=True)
class _Figures:
    """What the goals are computed from."""

    medians: Mapping[tuple[str, str], Median]
    worker_rss_mb: float | None
    soak: Soak | None

    def cpu(self, subject: str, case: str) -> float | None:
        found = self.medians.get((subject, case))
        return found.cpu_us if found is not None and found.cpu_us > 0 else None

    def ratio(self, case: str, above: str, below: str) -> float | None:
        over, under = self.cpu(above, case), self.cpu(below, case)
        return over / under if over is not None and under is not None else None

    def p50_over_nginx(self) -> float | None:
        ours, nginx = self.medians.get((OURS, "plain-64")), self.medians.get(("nginx", "plain-64"))
        return ours.p50_ms - nginx.p50_ms if ours is not None and nginx is not None else None


_VALUES: Mapping[str, Callable[[_Figures], float | None]] = {
    "gateway.cpu.plain": lambda f: f.ratio("plain-64", OURS, "nginx"),
    "gateway.cpu.stream": lambda f: f.ratio("stream-64", OURS, "nginx"),
    "gateway.cpu.paced-stream": lambda f: f.ratio("paced-64", OURS, "nginx"),
    "gateway.cpu.portkey": lambda f: f.ratio("plain-64", "portkey", OURS),
    "gateway.cpu.litellm": lambda f: f.ratio("plain-64", "litellm", OURS),
    "gateway.latency.p50": _Figures.p50_over_nginx,
    "gateway.memory.worker": lambda f: f.worker_rss_mb,
    "gateway.memory.growth": lambda f: f.soak.growth_mb if f.soak is not None and f.soak.subject == OURS else None,
}


def outcomes(
    promises: Sequence[Promise],
    medians: Mapping[tuple[str, str], Median],
    worker_rss_mb: float | None,
    soak: Soak | None,
) -> tuple[Outcome, ...]:
    """The goals that this run measured; those that it did not are left out."""
    figures = _Figures(medians, worker_rss_mb, soak)
    found: list[Outcome] = []
    for promise in promises:
        value = _VALUES[promise.id](figures) if promise.id in _VALUES else None
        if value is not None:
            found.append(Outcome(replace(promise, measured=value), value))
    return tuple(found)

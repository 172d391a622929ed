"""The result of a run, for a terminal, for machines (JSON) and for readers (Markdown)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.gateway.goals import Outcome
from benchmarks.gateway.load import CASES, Case
from benchmarks.gateway.medians import Median
from benchmarks.gateway.rounds import Cores, Sample
from benchmarks.gateway.soak import Soak
from benchmarks.machine import MachineFacts
from benchmarks.processes import Memory

__all__ = ["MemoryFigures", "Report", "Settings"]

_SIGNS = {"<=": "≤", ">=": "≥", "<": "<", ">": ">", "==": "="}
NOISE_CORES = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """How the run was set up."""

    rounds: int
    seconds: float
    cores: Cores
    subjects: Mapping[str, str]
    """Titles by name, in the order of the tables."""
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Memory of one gateway by role, when it was ready and after all rounds."""

    workers: int
    before: Mapping[str, Memory]
    after: Mapping[str, Memory]

    @property
    def worker_rss_mb(self) -> float | None:
        """Of one worker, after all rounds."""
        worker = self.after.get("worker")
        return worker.rss / self.workers if worker is not None and self.workers else None


@dataclass(frozen=True, slots=True)
class Report:
    """All that a run found."""

    date: str
    machine: MachineFacts
    settings: Settings
    samples: Sequence[Sample]
    medians: Mapping[tuple[str, str], Median]
    first_chunk_ms: Mapping[str, Mapping[str, float]]
    memory: Mapping[str, MemoryFigures]
    soak: Soak | None
    outcomes: Sequence[Outcome]
    not_measured: Mapping[str, str]
    """Why, by gateway or ``gateway/case``."""

    @property
    def foreign_cores(self) -> float:
        """The median over all runs of the cores that work of others kept busy."""
        values = sorted(sample.foreign_cores for sample in self.samples)
        return values[len(values) // 2] if values else 0.0

    @property
    def note(self) -> str:
        """What a reader of a single figure must know; empty for a quiet machine."""
        if self.foreign_cores >= NOISE_CORES:
            return f"the machine was busy: other work took {self.foreign_cores:.2f} cores"
        return ""

    def to_json(self) -> str:
        """Everything, each round's raw figures too."""
        mock = self.medians.get(("direct", "plain-64"))
        return json.dumps(
            {
                "date": self.date,
                "machine": asdict(self.machine),
                "settings": asdict(self.settings),
                "foreign_cores": self.foreign_cores,
                "mock_limit": {"plain_per_second": mock.per_second, "cpu_us": mock.mock_cpu_us} if mock else None,
                "goals": [
                    {
                        "id": outcome.promise.id,
                        "goal": f"{_SIGNS[outcome.promise.comparison]} {outcome.promise.goal:g} {outcome.promise.unit}",
                        "value": round(outcome.value, 3),
                        "reached": outcome.promise.reached,
                    }
                    for outcome in self.outcomes
                ],
                "not_measured": dict(self.not_measured),
                "medians": [asdict(median) for median in self.medians.values()],
                "first_chunk_ms": {name: dict(cases) for name, cases in self.first_chunk_ms.items()},
                "memory_mb": {name: asdict(figures) for name, figures in self.memory.items()},
                "soak": asdict(self.soak) if self.soak is not None else None,
                "samples": [asdict(sample) for sample in self.samples],
            },
            indent=1,
            ensure_ascii=False,
        )

    def _rows(self, case: Case) -> list[list[str]]:
        direct = self.medians.get(("direct", case.name))
        nginx = self.medians.get(("nginx", case.name))
        rows: list[list[str]] = []
        for name, title in self.settings.subjects.items():
            median = self.medians.get((name, case.name))
            if median is None:
                continue
            added = f"{median.p50_ms - direct.p50_ms:+.2f}" if direct is not None and name != "direct" else "–"
            over = median.cpu_us / nginx.cpu_us if nginx is not None and nginx.cpu_us and median.cpu_us else None
            first = self.first_chunk_ms.get(name, {}).get(case.name)
            rows.append(
                [
                    title + (f" – {median.errors} errors" if median.errors else ""),
                    f"{median.per_second:,.0f}" + (" ¹" if median.load_bound else ""),
                    f"{median.p50_ms:.2f}",
                    f"{median.p99_ms:.2f}",
                    added,
                    "–" if first is None else f"{first:.2f}",
                    f"{median.cpu_us:,.1f}" if median.cpu_us else "–",
                    f"{median.worker_cpu_us:,.1f}" if median.cpu_us else "–",
                    "–" if over is None else f"{over:,.1f}×",
                ]
            )
        return rows

    _COLUMNS = ("Gateway", "per s", "p50 ms", "p99 ms", "added p50", "first chunk", "CPU µs", "worker µs", "CPU/nginx")

    _MEMORY = ("Gateway", "Role", "RSS before, MB", "RSS after, MB", "PSS after, MB")

    def show(self) -> None:
        """Print the tables."""
        # Wide enough where the output is a file or a narrow pipe.
        console = Console(width=max(110, Console().width))
        for case in CASES:
            if not (rows := self._rows(case)):
                continue
            table = Table(title=case.title, title_justify="left")
            for number, column in enumerate(self._COLUMNS):
                table.add_column(column, justify="left" if number == 0 else "right")
            for row in rows:
                table.add_row(*row)
            console.print(table)
        if self.memory:
            memory = Table(title="Memory", title_justify="left")
            for column in self._MEMORY:
                memory.add_column(column)
            for row in self._memory_rows():
                memory.add_row(*row)
            console.print(memory)
        for name, reason in self.not_measured.items():
            print(f"not measured: {name}: {reason}")
        if self.outcomes:
            goals = Table(title="Goals", title_justify="left")
            for column in ("Promise", "Goal", "Measured", ""):
                goals.add_column(column)
            for row in self._goal_rows():
                goals.add_row(*row)
            console.print(goals)
        if self.note:
            print(f"Beware: {self.note}.")

    def _goal_rows(self) -> list[list[str]]:
        return [
            [
                outcome.promise.id,
                f"{_SIGNS[outcome.promise.comparison]} {outcome.promise.goal:g} {outcome.promise.unit}",
                f"{outcome.value:.3g}" if abs(outcome.value) < 100 else f"{outcome.value:,.0f}",
                "reached" if outcome.promise.reached else "missed",
            ]
            for outcome in self.outcomes
        ]

    def to_markdown(self) -> str:
        """The page that people read."""
        machine, settings = self.machine, self.settings
        lines = [
            "# The gateway under load",
            "",
            f"Taken {self.date}: medians of {settings.rounds} interleaved rounds of "
            f"{settings.seconds:g} s, one worker each. {machine.cores} cores, {machine.cpu}, {machine.memory_gb:g} GB, "
            f"kernel {machine.kernel}, Python {machine.python}; load before {machine.load_before:g}, other work during "
            f"the run {self.foreign_cores:.2f} cores."
            + ("" if not self.note else f" **Beware: {self.note}.**")
            + (
                " The gateway had one core to itself, the load generator and the mock provider the other."
                if settings.cores.gateway is not None
                else " There were too few cores to pin the gateway and the load to one each."
            ),
            "",
            "Versions: " + ", ".join(f"{name} {version}" for name, version in settings.versions.items()) + ".",
            "",
        ]
        if self.outcomes:
            lines += ["## Goals", "", *_markdown(("Promise", "Goal", "Measured", ""), self._goal_rows()), ""]
        for case in CASES:
            if rows := self._rows(case):
                lines += [f"## {case.title[0].upper()}{case.title[1:]}", "", *_markdown(self._COLUMNS, rows), ""]
        lines += [
            "“added p50” is the median latency above that of the mock asked directly, “first chunk” the time to the",
            "first content of a single stream. “CPU µs” is the user and system time per call of all processes of a",
            "gateway, its database and the work after the answer included; “worker µs” is the part of the processes",
            "that serve calls.",
            "",
            "¹ The load generator and the mock were at their limit: the gateway could have served more.",
            "",
        ]
        if self.memory:
            lines += ["## Memory", "", *_markdown(self._MEMORY, self._memory_rows()), ""]
        if self.soak is not None:
            lines += [
                f"Soak: {self.soak.seconds:g} s, {self.soak.completed:,} calls, {self.soak.errors} errors; the "
                f"worker's memory grew by {self.soak.growth_mb:g} MB after the first fifth.",
                "",
            ]
        if self.not_measured:
            reasons = [f"- {name}: {reason.splitlines()[0]}" for name, reason in self.not_measured.items()]
            lines += ["## Not measured", "", *reasons, ""]
        return "\n".join(lines)

    def _memory_rows(self) -> list[list[str]]:
        return [
            [
                self.settings.subjects[name],
                role + (f" ({figures.workers})" if role == "worker" else ""),
                f"{figures.before[role].rss:,.1f}" if role in figures.before else "–",
                f"{after.rss:,.1f}",
                f"{after.pss:,.1f}",
            ]
            for name, figures in self.memory.items()
            for role, after in sorted(figures.after.items(), reverse=True)
        ]

    def write(self, folder: Path, name: str = "gateway") -> None:
        """Write ``NAME.json`` and ``NAME.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(self.to_json() + "\n")
        (folder / f"{name}.md").write_text(self.to_markdown())


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    aligns = ["---" if number == 0 else "---:" for number in range(len(columns))]
    return ["| " + " | ".join(cells) + " |" for cells in (columns, aligns, *rows)]

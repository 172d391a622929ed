"""One timed run of ``wrk`` against one gateway."""

import json
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mock_provider import MODEL

__all__ = ["CASES", "PACE_MS", "Case", "LoadError", "LoadResult", "run_wrk", "wrk_version"]

PACE_MS = 5
"""Milliseconds between the chunks of a paced stream."""


class LoadError(RuntimeError):
    """wrk did not run or did not report."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked, and by how many connections at once."""

    name: str
    title: str
    connections: int
    stream: bool
    paced: bool = False

    def body(self) -> str:
        """The request, the same for every gateway."""
        marker = f" [pace={PACE_MS}ms]" if self.paced else ""
        request: dict[str, object] = {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": "You are a calm assistant. Answer in one short paragraph."},
                {"role": "user", "content": f"What is measured here, and how much of it is the gateway?{marker}"},
            ],
            "temperature": 0.2,
            "max_tokens": 128,
        }
        if self.stream:
            # Asked for, so that every gateway hands on the same events: those that meter would ask for it anyway.
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(request)


CASES = (
    Case("plain-1", "plain, 1 connection", 1, stream=False),
    Case("plain-64", "plain, 64 connections", 64, stream=False),
    Case("stream-1", "stream of 20 chunks at once, 1 connection", 1, stream=True),
    Case("stream-64", "stream of 20 chunks at once, 64 connections", 64, stream=True),
    Case("paced-64", f"stream of 20 chunks {PACE_MS} ms apart, 64 connections", 64, stream=True, paced=True),
)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What the load generator saw. Latencies are milliseconds to the last byte."""

    completed: int
    seconds: float
    errors: int
    """Statuses other than 2xx and 3xx, broken connections and time-outs together."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    load_cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.completed / self.seconds


_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nREPORT {"completed": %d, "us": %d, "errors": %d, "p50": %f, "p90": %f, "p99": %f, "max": %f}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
"""


def _lua(text: str) -> str:
    """A Lua string literal; its escapes are those of JSON but for ``\\u``, which plain ASCII text has not."""
    return json.dumps(text)


def _script(case: Case, headers: Mapping[str, str]) -> str:
    lines = [
        'wrk.method = "POST"',
        f"wrk.body = {_lua(case.body())}",
        'wrk.headers["content-type"] = "application/json"',
    ]
    lines += [f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in headers.items()]
    return "\n".join(lines) + _REPORT


def run_wrk(
    case: Case, url: str, headers: Mapping[str, str], *, seconds: float, core: int | None, folder: Path
) -> LoadResult:
    """Load ``url`` for about ``seconds`` with one thread of wrk, pinned to ``core``.

    Raises:
        LoadError: wrk is missing, failed or did not report.
    """
    script = folder / f"{case.name}.lua"
    script.write_text(_script(case, headers))
    pin = [] if core is None else ["taskset", "-c", str(core)]
    command = [*pin, "wrk", "-t1", f"-c{case.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        run = subprocess.run(
            [*command, "-s", str(script), url], capture_output=True, text=True, timeout=seconds + 90, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as failed:
        raise LoadError(f"wrk could not be run: {failed}") from failed
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = next((line for line in run.stdout.splitlines() if line.startswith("REPORT ")), None)
    if run.returncode or report is None:
        raise LoadError(f"wrk failed: {run.stdout[-500:]} {run.stderr[-500:]}")
    seen = json.loads(report.removeprefix("REPORT "))
    return LoadResult(
        completed=int(seen["completed"]),
        seconds=float(seen["us"]) / 1e6,
        errors=int(seen["errors"]),
        p50_ms=float(seen["p50"]) / 1e3,
        p90_ms=float(seen["p90"]) / 1e3,
        p99_ms=float(seen["p99"]) / 1e3,
        max_ms=float(seen["max"]) / 1e3,
        load_cpu_seconds=(after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime),
    )


def wrk_version() -> str:
    """The load generator's version; ``unknown`` where it does not tell."""
    try:
        run = subprocess.run(["wrk", "-v"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    words = (run.stdout + run.stderr).split()
    return words[1].rpartition("/")[2] if len(words) > 1 else "unknown"

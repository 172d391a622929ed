"""Metrics of several processes, told as one in Prometheus' text format."""

import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auterity.engines.telemetry.metrics import OTHER, Metrics, clear

_SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\S+)')
_PAIR = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\n"])*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass
class Told:
    """A family as a scraper understands it."""

    kind: str
    text: str
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(
        default_factory=dict[tuple[str, frozenset[tuple[str, str]]], float]
    )

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]


def unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text)


def parse(exposition: str) -> dict[str, Told]:
    """Read the format strictly: HELP and TYPE once and first, one block a family, no series twice, sane histograms."""
    assert exposition.endswith("\n") or not exposition
    families: dict[str, Told] = {}
    current = ""
    lines = exposition.split("\n")[:-1]
    for index, line in enumerate(lines):
        if line.startswith("# HELP "):
            current, _, text = line.removeprefix("# HELP ").partition(" ")
            assert current not in families
            assert lines[index + 1].startswith(f"# TYPE {current} ")
            families[current] = Told(lines[index + 1].rpartition(" ")[2], unescape(text))
        elif not line.startswith("# TYPE "):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            name, labels, number = match.groups()
            family = families[current]
            suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
            assert name in {current + suffix for suffix in suffixes}
            pairs = [(label, unescape(value)) for label, value in _PAIR.findall(labels or "")]
            assert len({label for label, _ in pairs}) == len(pairs)
            key = (name, frozenset(pairs))
            assert key not in family.samples
            family.samples[key] = float(number)
    for name, family in families.items():
        if family.kind == "histogram":
            check_histogram(name, family)
    return families


def check_histogram(name: str, family: Told) -> None:
    """Buckets are cumulative and end in +Inf, which equals the count."""
    series: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    for (sample, labels), value in family.samples.items():
        if sample == name + "_bucket":
            bound = float(dict(labels)["le"])
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            series.setdefault(rest, []).append((bound, value))
    for labels, buckets in series.items():
        counts = [count for _, count in sorted(buckets)]
        assert counts == sorted(counts)
        assert max(buckets)[0] == math.inf
        assert counts[-1] == family.samples[name + "_count", labels]
        assert (name + "_sum", labels) in family.samples


def test_each_kind_is_told_as_prometheus_reads_it(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "worker-1")
    calls = metrics.counter("calls_total", "Calls served.", ["model", "status"])
    calls.labels("gpt", "200").inc()
    calls.labels("gpt", "200").inc(2)
    metrics.gauge("open_streams", "Streams now open.").labels().set(7)
    latency = metrics.histogram("latency_seconds", "Our own time.", buckets=[0.1, 1]).labels()
    for value in (0.05, 0.1, 0.5, 3):
        latency.observe(value)
    told = parse(metrics.render())
    assert told["calls_total"].kind == "counter"
    assert told["calls_total"].text == "Calls served."
    assert told["calls_total"].value("calls_total", model="gpt", status="200") == 3
    assert told["open_streams"].value("open_streams") == 7
    buckets = [told["latency_seconds"].value("latency_seconds_bucket", le=le) for le in ("0.1", "1", "+Inf")]
    assert buckets == [2, 3, 4]
    assert told["latency_seconds"].value("latency_seconds_sum") == pytest.approx(3.65)
    metrics.close()


@settings(max_examples=60, deadline=None)
@given(value=st.text(max_size=30), text=st.text(max_size=30))
def test_any_text_survives_as_label_and_help(tmp_path_factory: pytest.TempPathFactory, value: str, text: str) -> None:
    metrics = Metrics(tmp_path_factory.mktemp("metrics"), "w", words=100)
    metrics.counter("a_total", text, ["label"]).labels(value).inc()
    told = parse(metrics.render())
    assert told["a_total"].value("a_total", label=value) == 1
    assert told["a_total"].text == text
    metrics.close()


def test_a_declared_family_is_told_before_it_is_used(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "w")
    metrics.counter("a_total", "A.")
    assert parse(metrics.render())["a_total"].samples == {}
    metrics.close()


def test_processes_are_added_up(tmp_path: Path) -> None:
    workers = [Metrics(tmp_path, f"worker-{n}") for n in range(3)]
    for number, worker in enumerate(workers):
        worker.counter("a_total", "A.", ["x"]).labels("1").inc(number)
        worker.gauge("g", "G.").labels().set(number)
        worker.histogram("h", "H.", buckets=[1]).labels().observe(number)
    for worker in workers:
        told = parse(worker.render())
        assert told["a_total"].value("a_total", x="1") == 3
        assert told["g"].value("g") == 3
        assert told["h"].value("h_bucket", le="1") == 2
        assert told["h"].value("h_sum") == 3
    for worker in workers:
        worker.close()


_DIES = """
import os, signal, sys
from pathlib import Path
from auterity.engines.telemetry.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]), sys.argv[2])
metrics.counter("a_total", "A.").labels().inc(5)
metrics.gauge("g", "G.").labels().set(5)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_dead_workers_counts_stay_and_its_gauges_go(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", _DIES, str(tmp_path), "worker-1"], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    other = Metrics(tmp_path, "worker-2")
    other.gauge("g", "G.").labels().set(1)
    told = parse(other.render())
    assert told["a_total"].value("a_total") == 5
    assert told["g"].value("g") == 1

    heir = Metrics(tmp_path, "worker-1")
    heir.counter("a_total", "A.").labels().inc()
    heir.gauge("g", "G.").labels()
    told = parse(other.render())
    assert told["a_total"].value("a_total") == 6
    assert told["g"].value("g") == 1
    heir.close()
    other.close()
    assert len(list(tmp_path.iterdir())) == 4


def test_two_living_processes_of_one_name_do_not_share_a_file(tmp_path: Path) -> None:
    first, second = Metrics(tmp_path, "w"), Metrics(tmp_path, "w")
    first.counter("a_total", "A.").labels().inc()
    second.counter("a_total", "A.").labels().inc()
    assert parse(first.render())["a_total"].value("a_total") == 2
    first.close()
    second.close()


def test_a_line_cut_off_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    first = Metrics(tmp_path, "w")
    first.counter("a_total", "A.").labels().inc()
    first.close()
    with (tmp_path / "w.series").open("ab") as file:
        file.write(b'{"name":"half')
    second = Metrics(tmp_path, "w")
    second.counter("b_total", "B.").labels().inc()
    reader = Metrics(tmp_path, "reader")
    for metrics in (second, reader):
        told = parse(metrics.render())
        assert told["a_total"].value("a_total") == 1
        assert told["b_total"].value("b_total") == 1
    second.close()
    reader.close()


def test_labels_beyond_the_bound_share_one_series(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "w")
    family = metrics.counter("a_total", "A.", ["x"], max_series=10)
    for n in range(1000):
        family.labels(str(n)).inc()
    told = parse(metrics.render())["a_total"]
    assert len(told.samples) == 10
    assert told.value("a_total", x=OTHER) == 991
    assert sum(told.samples.values()) == 1000
    metrics.close()


def test_the_shared_series_is_shown_once_it_is_used(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "w")
    used = metrics.counter("a_total", "A.", ["x", "y"], max_series=2)
    used.labels("1", "other").inc(0)
    metrics.histogram("h", "H.", ["x"]).labels("1").observe(0)
    told = parse(metrics.render())
    assert set(told["a_total"].samples) == {("a_total", frozenset({("x", "1"), ("y", "other")}))}
    assert not [sample for sample in told["h"].samples if ("x", OTHER) in sample[1]]
    used.labels("2", "2").inc()
    assert parse(metrics.render())["a_total"].value("a_total", x=OTHER, y=OTHER) == 1
    metrics.close()


def test_a_full_file_loses_labels_and_no_counts(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "w", words=20)
    family = metrics.counter("a_total", "A.", ["x"])
    for n in range(100):
        family.labels(str(n)).inc()
    assert sum(parse(metrics.render())["a_total"].samples.values()) == 100
    metrics.close()


def test_a_new_start_forgets(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "w")
    metrics.counter("a_total", "A.").labels().inc()
    metrics.close()
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


MISTAKES: list[Callable[[Metrics], object]] = [
    lambda metrics: metrics.counter("a", "no _total"),
    lambda metrics: metrics.counter("9_total", "name"),
    lambda metrics: metrics.gauge("a", "label", ["le"]),
    lambda metrics: metrics.gauge("a", "label", ["__x"]),
    lambda metrics: metrics.gauge("a", "label", ["x-y"]),
    lambda metrics: metrics.histogram("a", "buckets", buckets=[2, 1]),
    lambda metrics: metrics.histogram("a", "buckets", buckets=[]),
    lambda metrics: metrics.histogram("a", "buckets", buckets=[math.inf]),
    lambda metrics: (metrics.gauge("a", "twice"), metrics.gauge("a", "twice")),
    lambda metrics: metrics.gauge("a", "labels", ["x"]).labels(),
]


@pytest.mark.parametrize("declare", MISTAKES)
def test_what_prometheus_would_not_read_cannot_be_declared(
    tmp_path: Path, declare: Callable[[Metrics], object]
) -> None:
    metrics = Metrics(tmp_path, "w")
    with pytest.raises(ValueError, match=r".+"):
        declare(metrics)
    metrics.close()


def test_counting_costs_less_than_a_microsecond(tmp_path: Path) -> None:
    """The goal is 0.3 µs on a quiet machine; the bound here leaves room for a busy one."""
    metrics = Metrics(tmp_path, "w")
    latency = metrics.histogram("h", "H.").labels()
    fastest = math.inf
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(2000):
            latency.observe(0.003)
        fastest = min(fastest, time.perf_counter() - started)
    assert fastest / 2000 < 1e-6
    metrics.close()

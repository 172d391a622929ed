"""How the gateway benchmark counts and judges."""

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import promises
from benchmarks.gateway.goals import outcomes
from benchmarks.gateway.medians import medians
from benchmarks.gateway.report import MemoryFigures, Report, Settings
from benchmarks.gateway.rounds import Cores, Sample
from benchmarks.gateway.soak import Soak, growth
from benchmarks.machine import facts
from benchmarks.processes import Memory, NotStarted, start

SAMPLE = Sample(
    subject="nginx",
    case="plain-64",
    round=1,
    completed=1000,
    errors=0,
    upstream=1000,
    per_second=50_000,
    p50_ms=1.0,
    p90_ms=1.5,
    p99_ms=2.0,
    max_ms=9.0,
    cpu_us=18.0,
    worker_cpu_us=18.0,
    mock_cpu_us=7.0,
    load_cpu_us=5.0,
    gateway_core_busy=0.8,
    load_core_busy=0.99,
    foreign_cores=0.0,
)


def rounds(subject: str, *cpu_us: float, case: str = "plain-64", p50_ms: float = 1.0) -> list[Sample]:
    return [
        replace(SAMPLE, subject=subject, case=case, cpu_us=value, p50_ms=p50_ms, round=number)
        for number, value in enumerate(cpu_us, 1)
    ]


def make_report(samples: list[Sample]) -> Report:
    memory = {"auterity": MemoryFigures(1, {"worker": Memory(80, 70)}, {"worker": Memory(90, 75)})}
    found = medians(samples)
    subjects = {name: name.title() for name in ("nginx", "auterity")}
    return Report(
        date="2026-11-22",
        machine=facts(0.01),
        settings=Settings(3, 6.0, Cores(0, 1), subjects, {"nginx": "1.22.1"}),
        samples=samples,
        medians=found,
        first_chunk_ms={},
        memory=memory,
        soak=None,
        outcomes=outcomes(promises.read(), found, memory["auterity"].worker_rss_mb, None),
        not_measured={"portkey": "installing failed"},
    )


def test_the_median_of_the_rounds_counts_and_errors_add_up() -> None:
    samples = [*rounds("nginx", 30, 18, 19), replace(SAMPLE, subject="litellm", errors=2)]
    found = medians(samples)
    nginx = found["nginx", "plain-64"]
    assert (nginx.cpu_us, nginx.cpu_us_lowest, nginx.cpu_us_highest, nginx.rounds) == (19, 18, 30, 3)
    assert nginx.load_bound
    assert found["litellm", "plain-64"].errors == 2


def test_goals_are_ratios_of_medians_and_only_those_measured() -> None:
    samples = [
        *rounds("nginx", 18),
        *rounds("auterity", 45, p50_ms=2.5),
        *rounds("litellm", 9000),
        *rounds("auterity", 100, case="stream-64"),
    ]
    found = {outcome.promise.id: outcome for outcome in outcomes(promises.read(), medians(samples), 95.0, None)}
    assert set(found) == {"gateway.cpu.plain", "gateway.cpu.litellm", "gateway.latency.p50", "gateway.memory.worker"}
    assert found["gateway.cpu.plain"].value == 2.5
    assert found["gateway.cpu.plain"].promise.reached is True
    assert found["gateway.cpu.litellm"].value == 200
    assert found["gateway.latency.p50"].value == 1.5


def test_only_our_own_soak_counts() -> None:
    soak = Soak("nginx", 300.0, 1_000_000, 0, (5.0,), 0.1)
    assert outcomes(promises.read(), {}, None, soak) == ()
    (found,) = outcomes(promises.read(), {}, None, replace(soak, subject="auterity"))
    assert (found.promise.id, found.value) == ("gateway.memory.growth", 0.1)


def test_memory_that_settles_is_flat_and_memory_that_leaks_is_not() -> None:
    settled = [50.0 + min(number, 20) for number in range(100)]
    leaking = [50.0 + number / 10 for number in range(100)]
    assert growth(settled) < 1
    assert growth(leaking) == pytest.approx(7.0, abs=0.2)
    assert growth([50.0] * 5) == 0


def test_a_report_has_every_raw_round_and_no_path_or_host(tmp_path: Path) -> None:
    report = make_report([*rounds("nginx", 18, 19, 20), *rounds("auterity", 45, 46, 47)])
    report.write(tmp_path)
    kept = json.loads((tmp_path / "gateway.json").read_text())
    page = (tmp_path / "gateway.md").read_text()
    assert len(kept["samples"]) == 6
    assert kept["goals"][0]["id"] == "gateway.cpu.plain"
    assert "| gateway.cpu.plain | ≤ 3 × nginx | 2.42 | reached |" in page
    assert "portkey: installing failed" in page
    for text in (page, json.dumps(kept)):
        assert not re.search(r"/(home|root|tmp|work|usr)/|127\.0\.0\.1", text)


def test_a_busy_machine_is_told_with_the_figures() -> None:
    noisy = make_report([replace(sample, foreign_cores=0.6) for sample in rounds("nginx", 18, 19, 20)])
    assert "0.60 cores" in noisy.note
    assert "Beware" in noisy.to_markdown()
    assert make_report(rounds("nginx", 18)).note == ""


@pytest.mark.parametrize("environment", ["os.environ", "{}"])
def test_work_of_a_process_that_left_the_tree_is_still_counted_and_ended(tmp_path: Path, environment: str) -> None:
    # The child becomes a daemon, as an embedded database does, and burns CPU; its parent idles.
    script = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        f"    os.chdir({str(tmp_path)!r})\n"
        f"    os.execve(sys.executable, [sys.executable, '-c', 'while True: pass'], {environment})\n"
        "os.wait()\n"
        "time.sleep(60)\n"
    )
    started = start(
        [sys.executable, "-c", script],
        log=tmp_path / "log",
        core=None,
        folder=tmp_path if environment == "{}" else None,
    )
    try:
        deadline = time.monotonic() + 30
        while sum(started.family.cpu_seconds().values()) < 0.3:
            assert time.monotonic() < deadline
            # As when the workers are looked for, all processes are looked at once more.
            started.family.find_workers(9)
            time.sleep(0.05)
        members = started.family.processes()
        assert len(members) == 2
        assert started.family.memory()["other"].rss > 5
    finally:
        started.stop()
    assert not any(process.is_running() and process.status() != "zombie" for process in members)


def test_a_program_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="no such luck"):
        start(
            [sys.executable, "-c", "print('no such luck')"],
            log=tmp_path / "log",
            core=None,
            ready_url="http://127.0.0.1:9/",
            patience=20,
        )

"""``python -m benchmarks.gateway``: measure Auterity, nginx and the peers in one run."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import evidence, promises
from benchmarks.gateway.auterity import Auterity
from benchmarks.gateway.goals import OURS, outcomes
from benchmarks.gateway.load import CASES, wrk_version
from benchmarks.gateway.medians import medians
from benchmarks.gateway.nginx import Direct, Nginx
from benchmarks.gateway.peers import LiteLLM, Portkey
from benchmarks.gateway.report import MemoryFigures, Report, Settings
from benchmarks.gateway.rounds import Cores, Measured, measure
from benchmarks.gateway.soak import soak
from benchmarks.gateway.subject import Bench, NotMeasurable, Running, Subject, install_packages
from benchmarks.machine import MachineFacts, facts, today
from benchmarks.processes import NotStarted, Started, free_port, start

RESULTS = Path(__file__).resolve().parents[1] / "results"
SUBJECTS: dict[str, Subject] = {s.name: s for s in (Direct(), Nginx(), Auterity(), Portkey(), LiteLLM())}


def choose_cores() -> Cores:
    """Two cores that are not two threads of one; none where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    first = usable[0]
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list").read_text()
    except OSError:
        text = str(first)
    siblings: set[int] = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        siblings |= set(range(int(low), int(high or low) + 1))
    other = next((core for core in usable if core not in siblings), None)
    if other is None:
        other = next((core for core in usable if core != first), None)
    return Cores(None, None) if other is None else Cores(gateway=first, load=other)


def start_mock(core: int | None, folder: Path) -> tuple[Started, int]:
    """The mock provider on ``core``, and its port.

    Raises:
        NotStarted: it did not come up.
    """
    port = free_port()
    started = start(
        [sys.executable, "-m", "benchmarks.mock_provider", "--port", str(port)],
        log=folder / "mock.log",
        core=core,
        ready_url=f"http://127.0.0.1:{port}/mock/stats",
        cwd=Path(__file__).resolve().parents[2],
    )
    return started, port


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway", description="Measures Auterity, nginx and the peers in one run."
    )
    parser.add_argument(
        "--subjects", default=",".join(SUBJECTS), help=f"of {','.join(SUBJECTS)}; direct is always there"
    )
    parser.add_argument("--cases", default=",".join(c.name for c in CASES), help="which of the cases")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each timing")
    parser.add_argument(
        "--soak", type=float, default=0.0, metavar="SECONDS", help="then watch Auterity's memory that long"
    )
    parser.add_argument("--only-soak", action="store_true", help="no rounds")
    parser.add_argument("--soak-subject", default=OURS)
    parser.add_argument("--quick", action="store_true", help="one round of one second: does it work? Records nothing")
    parser.add_argument("--no-peers", action="store_true", help="without those that have to be installed")
    parser.add_argument("--no-record", action="store_true", help="leave promises.toml and results/ alone")
    parser.add_argument("--portkey-node", help="the node to run Portkey with, instead of the development environment's")
    parser.add_argument("--keep-logs", type=Path, help="keep the gateways' output in this folder")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.no_record = 1, 1.0, True
    if options.portkey_node:
        SUBJECTS["portkey"] = Portkey(options.portkey_node)
    wanted = {"direct", *options.subjects.split(",")} - ({"portkey", "litellm"} if options.no_peers else set())
    if options.only_soak:
        wanted = {options.soak_subject}
    if unknown := wanted - set(SUBJECTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    options.chosen = [subject for name, subject in SUBJECTS.items() if name in wanted]
    options.chosen_cases = [case for case in CASES if case.name in options.cases.split(",")]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="auterity-bench-")))
        try:
            install_packages(wanted={"wrk": "wrk", "taskset": "util-linux"})
        except NotMeasurable as reason:
            print(reason, file=sys.stderr)
            return 2
        cores = choose_cores()
        machine = facts()
        if not machine.quiet:
            print(f"Beware: this machine is busy ({machine.busy_before:.0%}); rates and latencies will be off.")
        mock, mock_port = start_mock(cores.load, folder)
        stack.callback(mock.stop)
        running: dict[str, Running] = {}
        missing: dict[str, str] = {}
        for subject in options.chosen:
            home = folder / subject.name
            home.mkdir()
            print(f"starting {subject.title} …", flush=True)
            try:
                run = subject.start(Bench(mock_port, cores.gateway, home))
            except (NotMeasurable, NotStarted) as reason:
                missing[subject.name] = str(reason)
                print(f"  not measured: {reason}", flush=True)
                continue
            running[subject.name] = run
            if run.started is not None:
                stack.callback(run.started.stop)
        if cores.load is not None:
            # What reads the counters must not run on the gateway's core.
            os.sched_setaffinity(0, {cores.load})
        report = _measure(
            options=options,
            running=running,
            missing=missing,
            mock=mock,
            mock_port=mock_port,
            cores=cores,
            machine=machine,
            folder=folder,
        )
        if options.keep_logs:
            options.keep_logs.mkdir(parents=True, exist_ok=True)
            for log in folder.glob("*/output.log"):
                (options.keep_logs / f"{log.parent.name}.log").write_bytes(log.read_bytes())
    report.show()
    if broken := _broken(options, report):
        print(f"nothing recorded: {broken}", file=sys.stderr)
        return 1
    _keep(options, report)
    return 0


def _broken(options: argparse.Namespace, report: Report) -> str:
    """Why the run must not count: what it is about failed. Peers may be missing; the result says so."""
    asked = {subject.name for subject in options.chosen} & {OURS, "nginx"}
    failed = [name for name in report.not_measured if name.partition("/")[0] in asked]
    errors = sum(median.errors for median in report.medians.values() if median.subject in asked)
    if report.soak is not None:
        errors += report.soak.errors
    return ", ".join(failed) + " not measured" if failed else f"{errors} calls failed" if errors else ""


def _measure(
    *,
    options: argparse.Namespace,
    running: dict[str, Running],
    missing: dict[str, str],
    mock: Started,
    mock_port: int,
    cores: Cores,
    machine: MachineFacts,
    folder: Path,
) -> Report:
    families = {name: run.started.family for name, run in running.items() if run.started is not None}
    before = {name: family.memory() for name, family in families.items()}
    measured = Measured((), {}, {})
    if not options.only_soak:
        measured = measure(
            running,
            options.chosen_cases,
            rounds=options.rounds,
            seconds=options.seconds,
            mock=mock.family,
            mock_port=mock_port,
            cores=cores,
            folder=folder,
        )
    soaked = None
    if options.soak > 0 and options.soak_subject in families:
        print(f"soaking {options.soak_subject} for {options.soak:g} s …", flush=True)
        soaked = soak(
            options.soak_subject,
            running[options.soak_subject],
            seconds=options.soak,
            core=cores.load,
            folder=folder,
        )
    memory = {name: MemoryFigures(family.workers, before[name], family.memory()) for name, family in families.items()}
    found = medians(measured.samples)
    ours = memory.get(OURS)
    return Report(
        date=today(),
        machine=machine,
        settings=Settings(
            rounds=options.rounds,
            seconds=options.seconds,
            cores=cores,
            subjects={name: SUBJECTS[name].title for name in running},
            versions={name: run.version for name, run in running.items() if run.started is not None}
            | {"wrk": wrk_version()},
        ),
        samples=measured.samples,
        medians=found,
        first_chunk_ms=measured.first_chunk_ms,
        memory=memory,
        soak=soaked,
        outcomes=outcomes(promises.read(), found, ours.worker_rss_mb if ours is not None else None, soaked),
        not_measured={**missing, **measured.failures},
    )


def _keep(options: argparse.Namespace, report: Report) -> None:
    """Write the result, and the register's rows where the figures are complete."""
    if options.no_record:
        print("nothing recorded")
        return
    complete = not options.only_soak and {subject.name for subject in options.chosen} == set(SUBJECTS)
    # A partial run (one promise measured again) must not replace the result of a whole one.
    name = "gateway" if complete else "gateway-soak" if options.only_soak else "gateway-part"
    report.write(RESULTS, name)
    for outcome in report.outcomes:
        promises.record(outcome.promise.id, outcome.value, note=report.note)
    evidence.write_page()
    print(f"written: benchmarks/results/{name}.json, {name}.md and {len(report.outcomes)} rows of promises.toml")


if __name__ == "__main__":
    sys.exit(main())

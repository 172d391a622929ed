"""How long ``auterity serve`` takes until it is ready: in an empty home, and again in the same one."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import evidence, promises
from benchmarks.machine import facts
from benchmarks.processes import NotStarted
from benchmarks.server import serve

__all__ = ["main"]


def _timed(home: Path, log: Path) -> float:
    before = time.perf_counter()
    server = serve(home, log=log, core=None)
    seconds = time.perf_counter() - before
    server.started.stop()
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="homes; each is started three times")
    parser.add_argument("--no-record", action="store_true", help="leave promises.toml alone")
    options = parser.parse_args(arguments)
    machine = facts()
    first: list[float] = []
    again: list[float] = []
    try:
        for number in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="auterity-bench-") as folder:
                home, log = Path(folder) / "home", Path(folder) / "output.log"
                first.append(_timed(home, log))
                again += [_timed(home, log), _timed(home, log)]
                print(f"home {number + 1}: first {first[-1]:.2f} s, again {again[-2]:.2f} s and {again[-1]:.2f} s")
    except NotStarted as reason:
        print(f"the server did not start: {reason}", file=sys.stderr)
        return 1
    print(f"medians: first {statistics.median(first):.2f} s, again {statistics.median(again):.2f} s")
    if not options.no_record:
        note = "" if machine.quiet else "the machine was busy"
        promises.record("start.first", statistics.median(first), note=note)
        promises.record("start.again", statistics.median(again), note=note)
        evidence.write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())

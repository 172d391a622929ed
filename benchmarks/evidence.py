"""Shows what this project promises and what was measured, measures a promise again, and writes its reference page.

``python -m benchmarks.evidence`` prints the table; ``--id ID`` runs that promise's command first; ``--write-docs``
writes docs/reference/promises.md, and ``--check`` fails if that page is not what the register says.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.promises import FILE, InvalidPromises, Promise, read

__all__ = ["PAGE", "main", "page", "rerun", "write_page"]

ROOT = FILE.parents[1]
PAGE = ROOT / "docs" / "reference" / "promises.md"

_SIGNS = {"<=": "≤", ">=": "≥", "<": "<", ">": ">", "==": "="}
_VERDICTS = {True: "reached", False: "missed", None: "not measured"}
_HEAD = """<!-- Made by `python -m benchmarks.evidence --write-docs` from benchmarks/promises.toml. Do not edit. -->
# Promises

Every figure that Auterity promises, with what was last measured, reached or not. Measure one again with
`make evidence ID=…`; `make evidence` prints this table.

| Promise | What | Goal | Measured | | Date | Machine |
|---|---|---|---|---|---|---|
"""


def _goal(promise: Promise) -> str:
    return f"{_SIGNS[promise.comparison]} {promise.goal:g} {promise.unit}"


def _measured(promise: Promise) -> str:
    return "–" if promise.measured is None else f"{promise.measured:g} {promise.unit}"


def page(promises: Sequence[Promise]) -> str:
    """The reference page, in Markdown."""
    rows = [
        [
            f"`{promise.id}`",
            promise.what + (f" ({promise.note})" if promise.note else ""),
            _goal(promise),
            _measured(promise),
            _VERDICTS[promise.reached],
            promise.date or "–",
            promise.machine or "–",
        ]
        for promise in promises
    ]
    table = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
    commands: dict[str, list[str]] = {}
    for promise in promises:
        commands.setdefault(promise.command, []).append(f"`{promise.id}`")
    listed = "".join(f"- `{command}`: {', '.join(names)}\n" for command, names in commands.items())
    return f"{_HEAD}{table}\n## What measures them\n\n{listed}"


def _print(promises: Sequence[Promise]) -> None:
    table = Table(title="What Auterity promises", title_justify="left")
    for column in ("Promise", "What", "Goal", "Measured", "", "Date"):
        table.add_column(column, overflow="fold")
    colours = {True: "green", False: "red", None: "yellow"}
    for promise in promises:
        verdict = f"[{colours[promise.reached]}]{_VERDICTS[promise.reached]}[/]"
        what = promise.what + (f" ({promise.note})" if promise.note else "")
        table.add_row(promise.id, what, _goal(promise), _measured(promise), verdict, promise.date or "–")
    Console().print(table)
    reached = sum(promise.reached is True for promise in promises)
    print(f"{reached} of {len(promises)} reached, {sum(p.reached is None for p in promises)} not measured")


def write_page() -> None:
    """Write the reference page; benchmarks that record do so at their end."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(read()))


def rerun(promise: Promise, root: Path = ROOT) -> None:
    """Run the promise's command, which records what it measures.

    Raises:
        subprocess.CalledProcessError: the command failed; ``cmd`` is as the register has it.
    """
    words = shlex.split(promise.command)
    program = [sys.executable if words[0] == "python" else words[0], *words[1:]]
    status = subprocess.run(program, cwd=root, check=False).returncode
    if status:
        raise subprocess.CalledProcessError(status, words)


def _again(promises: Sequence[Promise], promise_id: str) -> tuple[Promise, ...]:
    chosen = next((promise for promise in promises if promise.id == promise_id), None)
    if chosen is None:
        known = ", ".join(promise.id for promise in promises)
        raise InvalidPromises(f"there is no promise {promise_id!r}; there are {known}")
    rerun(chosen)
    return tuple(promise for promise in read() if promise.id == promise_id)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--id", help="measure this promise again first")
    parser.add_argument("--write-docs", action="store_true", help="write docs/reference/promises.md")
    parser.add_argument("--check", action="store_true", help="fail if docs/reference/promises.md is stale")
    options = parser.parse_args(arguments)
    try:
        shown = read()
        if options.id:
            shown = _again(shown, options.id)
    except InvalidPromises as error:
        print(error, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        print(
            f"{shlex.join(failed.cmd)} failed with status {failed.returncode}; the row stays as it was", file=sys.stderr
        )
        return 1
    if options.check:
        fresh = PAGE.is_file() and PAGE.read_text() == page(read())
        if not fresh:
            print("docs/reference/promises.md is stale: python -m benchmarks.evidence --write-docs", file=sys.stderr)
        return 0 if fresh else 1
    _print(shown)
    if options.write_docs or options.id:
        write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())

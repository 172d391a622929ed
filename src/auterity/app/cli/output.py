"""What commands print: tables for people, JSON for programs, one clear sentence for errors."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auterity.kit.errors import AuterityError

__all__ = ["AsJson", "Cell", "fail", "note", "print_json", "print_table"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
"""The option that every command with output has."""

Cell = str | int | None


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    encoded = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2)
    typer.echo(encoded.decode())


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], empty: str, colours: Mapping[str, str] = {}
) -> None:
    """A table fit to the terminal, or, where the output is no terminal, aligned columns that are never cut.

    Args:
        empty: what to say when there are no rows.
        colours: a colour for cells with this text, on a terminal.
    """
    if not rows:
        note(empty)
        return
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        widths = [max(len(line[index]) for line in [list(columns), *cells]) for index in range(len(columns))]
        for line in [[column.upper() for column in columns], *cells]:
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int) or row[index] is None for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for line in cells:
        table.add_row(*(f"[{colours[cell]}]{cell}[/]" if cell in colours else escape(cell) for cell in line))
    Console().print(table)


def note(text: str) -> None:
    """A remark for a person: on stderr, so that stdout holds results only."""
    typer.echo(text, err=True)


def fail(error: AuterityError, code: int, as_json: bool) -> NoReturn:
    """End the command with what went wrong, on stderr."""
    if as_json:
        said = {"error": {"code": error.code, "message": error.message, "param": error.param}}
        typer.echo(msgspec.json.encode(said).decode(), err=True)
    else:
        label = typer.style("error:", fg="red", bold=True) if sys.stderr.isatty() else "error:"
        for line in error.message.splitlines():
            typer.echo(f"{label} {line}", err=True)
    raise typer.Exit(code)

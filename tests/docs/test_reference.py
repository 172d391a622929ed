"""The generated reference is that of the program: no page is stale, and a running server agrees with them."""

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from auterity.app.cli import application
from scripts import reference

if TYPE_CHECKING:
    from tests.fixtures.server import Server


def test_no_page_is_stale() -> None:
    assert reference.stale() == [], "write them again with `make docs`"


def test_a_page_that_was_changed_or_is_missing_is_found_and_written_again(tmp_path: Path) -> None:
    assert reference.main(["--check"], tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    assert reference.main([], tmp_path) == 0
    assert reference.main(["--check"], tmp_path) == 0
    page = tmp_path / "metrics.md"
    page.write_text(page.read_text() + "more\n")
    assert reference.stale(tmp_path) == ["metrics.md"]
    assert reference.main(["--check"], tmp_path) == 1


def test_the_openapi_document_is_the_one_that_a_server_gives(server: "Server") -> None:
    given = server.http.get("/api/v1/openapi.json").raise_for_status().json()
    assert json.loads((reference.FOLDER / "openapi.json").read_text()) == given


def test_the_metrics_are_those_that_a_server_tells(server: "Server") -> None:
    page = (reference.FOLDER / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(auterity_\w+)`", page, re.MULTILINE))
    assert documented == set(server.metrics().types)


def _commands() -> dict[str, Any]:
    found: dict[str, Any] = {}
    root: Any = typer.main.get_command(application(None))
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {each}": inner[each] for each in inner}
    return found


def test_every_command_has_examples() -> None:
    assert set(reference.EXAMPLES) == set(_commands())


@pytest.mark.parametrize("example", [each for examples in reference.EXAMPLES.values() for each in examples])
def test_an_example_is_accepted_by_its_command(example: str) -> None:
    name = next(name for name, examples in reference.EXAMPLES.items() if example in examples)
    words = shlex.split(example)
    begin = len(name.split()) + 1
    assert words[:begin] == ["auterity", *name.split()]
    # Parsing refuses what the command does not know; nothing is run.
    context = _commands()[name].make_context(name, words[begin:])
    assert context.command.name == name.split()[-1]

"""The documentation is executed: each ``python``, ``sh`` and ``bash`` block of a page, in order, against a real server.

Blocks of a page continue one another: Python keeps its names, the shell its variables. Addresses of the default server
and of providers, and the placeholders below, stand for what the test has. A block that cannot be run here has the
comment ``<!-- not run: reason -->`` before it.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Server, StartServer
    from tests.fixtures.twins import Twin

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w-]*)[^\n]*$")
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+?) -->")
_ELSEWHERE = re.compile(r"^(make( |$)|(\.venv/bin/)?auterity serve)")
"""Commands that install, start or test the program itself: the whole test run is about these."""
_BLOCK_S = 90
_EXPORTED = "DOCS_VARIABLES_FILE"


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    line: int
    language: str
    code: str
    not_run: str
    """Why it is not run; empty if it is."""


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page that hold Python or shell."""
    return [block for block in _fenced(text.splitlines()) if block.language in ("python", "sh", "bash")]


def _fenced(lines: list[str]) -> Iterator[Block]:
    at = 0
    reason = ""
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if opening is None:
            told = _NOT_RUN.search(lines[at])
            if told is not None or lines[at].strip():
                reason = told["reason"] if told is not None else ""
            at += 1
            continue
        closing = next(
            (index for index in range(at + 1, len(lines)) if lines[index].strip() == opening["fence"]), len(lines)
        )
        code = [line.removeprefix(opening["indent"]) for line in lines[at + 1 : closing]]
        first = next((line for line in code if line.strip() and not line.startswith("#")), "")
        skip = reason or ("the test run is about it" if _ELSEWHERE.match(first) else "")
        yield Block(at + 2, opening["language"], "\n".join(code) + "\n", skip)
        reason = ""
        at = closing + 1


def test_blocks_are_found_with_their_lines_and_reasons() -> None:
    page = (
        "# A\n\n<!-- not run: no key -->\n```sh\nls\n```\n\n```python\nx = 1\n```\n\n"
        "  ```bash\n  make run\n  ```\n```json\n{}\n```\n"
    )
    assert [(block.line, block.language, block.code, block.not_run) for block in blocks_of(page)] == [
        (5, "sh", "ls\n", "no key"),
        (9, "python", "x = 1\n", ""),
        (13, "bash", "make run\n", "the test run is about it"),
    ]


@pytest.fixture(scope="module")
def documented(start_lasting_server: "StartServer") -> "Server":
    """A server of its own, so that pages may name things as they like."""
    return start_lasting_server()


@pytest.fixture
def substitute(documented: "Server", openai_twin: "Twin", anthropic_twin: "Twin") -> Callable[[str], str]:
    """Puts what the test has in place of what the reader has."""
    replacements: Mapping[str, str] = {
        "http://127.0.0.1:8080": documented.url,
        "http://localhost:8080": documented.url,
        "https://api.openai.com/v1": openai_twin.url,
        "https://api.anthropic.com/v1": anthropic_twin.url,
        "https://api.anthropic.com": anthropic_twin.url,
        "YOUR_VIRTUAL_KEY": documented.api_key,
        "YOUR_PASSWORD": documented.admin_password,
    }

    def replaced(code: str) -> str:
        for placeholder, value in replacements.items():
            code = code.replace(placeholder, value)
        return code.replace("YOUR_ACCESS_TOKEN", documented.token) if "YOUR_ACCESS_TOKEN" in code else code

    return replaced


@pytest.mark.parametrize(
    "page",
    [page for page in _PAGES if any(not block.not_run for block in blocks_of(page.read_text()))],
    ids=lambda page: str(page.relative_to(_ROOT)),
)
@pytest.mark.timeout(300)
def test_the_blocks_of_a_page_run(
    *,
    page: Path,
    documented: "Server",
    substitute: Callable[[str], str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    names: dict[str, object] = {"__name__": "__docs__"}
    variables = _variables(documented, tmp_path)
    found = blocks_of(page.read_text())
    for block in found:
        if block.not_run:
            continue
        where = f"{page.relative_to(_ROOT)}:{block.line}"
        code = substitute(block.code)
        if block.language == "python":
            # In one namespace, as a reader who pastes one block after another has it.
            exec(compile("\n" * (block.line - 1) + code, where, "exec"), names)
        else:
            variables = _run_shell(code, variables, where)
    record_property("not_run", [f"{page.name}:{block.line} {block.not_run}" for block in found if block.not_run])


def test_what_is_not_run_says_why() -> None:
    skipped = [(page.name, block) for page in _PAGES for block in blocks_of(page.read_text()) if block.not_run]
    ran = [block for page in _PAGES for block in blocks_of(page.read_text()) if not block.not_run]
    assert ran
    assert all(len(block.not_run) > 5 for _, block in skipped)
    assert len(skipped) <= 2 * len(ran), "most of the documentation's commands are not run"


def _variables(server: "Server", folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTERITY_")}
    # curl says nothing of progress, and an HTTP error ends the block.
    (folder / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
    return {
        **kept,
        "PATH": f"{_ROOT / '.venv/bin'}:{kept['PATH']}",
        "CURL_HOME": str(folder),
        "AUTERITY_HOME": str(server.home),
        "OPENAI_API_KEY": "sk-docs-0123456789abcdef",
        "ANTHROPIC_API_KEY": "sk-ant-docs-0123456789abcdef",
        _EXPORTED: str(folder / "variables"),
    }


def _run_shell(code: str, variables: dict[str, str], where: str) -> dict[str, str]:
    """Run a block; returns the variables as it leaves them."""
    # allexport: what a block sets is in the environment at its end, from where the next one gets it.
    script = f'set -euo pipefail -o allexport\n{code}\nenv -0 > "${_EXPORTED}"\n'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=_ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=_BLOCK_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{where} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    lines = Path(variables[_EXPORTED]).read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)

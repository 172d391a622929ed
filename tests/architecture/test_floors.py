"""The house stands as drawn: imports go down only, and the data plane carries no needless weight."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "auterity").rglob("*.py"))
LONGEST_FILE = 600
HEAVY = ("pandas", "pyarrow", "duckdb", "ibis", "typer", "rich", "glide", "opentelemetry.sdk", "alembic", "numpy")


def test_imports_go_down_the_floors_only() -> None:
    checked = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_a_worker_loads_nothing_heavy() -> None:
    program = "import sys, auterity.app.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_says_what_it_is_for_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "the first line says what the file is for"
    assert text.count("\n") <= LONGEST_FILE

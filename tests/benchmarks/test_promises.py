"""The register of promises: what people write stays, what benchmarks measure is written beside it."""

import threading
from pathlib import Path

import pytest

from benchmarks import evidence
from benchmarks.promises import FILE, InvalidPromises, Promise, read, record

TEXT = """# A register.

# About speed.

[[promise]]
id = "gateway.cpu"
what = "CPU \\"per\\" request"
goal = 3
unit = "×"
comparison = "<="
command = "python -m benchmarks.gateway"
source = "benchmarks/gateway"

# About usage.

[[promise]]
id = "usage.rate"
what = "Events"
goal = 5000
unit = "events/s"
comparison = ">="
command = "python -m benchmarks.usage_pipeline"
source = "benchmarks/usage_pipeline.py"
measured = 4000
date = "2026-01-02"
machine = "an old one"
note = "busy"

# The end.
"""


@pytest.fixture
def register(tmp_path: Path) -> Path:
    file = tmp_path / "promises.toml"
    file.write_text(TEXT)
    return file


def test_a_measured_value_is_written_beside_what_people_wrote(register: Path) -> None:
    promise = record("gateway.cpu", 2.98765, machine='2 cores, "fast"\n', date="2026-11-22", file=register)
    assert promise.measured == 2.988
    assert promise.reached is True
    assert read(register)[0] == promise
    written = [
        line
        for line in register.read_text().split("\n")
        if not line.startswith(("measured = 2", 'date = "2026-11', 'machine = "2 cores'))
    ]
    assert "\n".join(written) == TEXT


def test_a_new_value_takes_the_place_of_the_old_with_its_note(register: Path) -> None:
    record("usage.rate", 6001, machine="new", date="2026-11-22", file=register)
    promise = read(register)[1]
    assert (promise.measured, promise.note, promise.machine, promise.reached) == (6001, "", "new", True)
    assert register.read_text().endswith('machine = "new"\n\n# The end.\n')


def test_recording_twice_changes_nothing_more(register: Path) -> None:
    record("usage.rate", 6001, machine="new", date="2026-11-22", note="noisy", file=register)
    once = register.read_text()
    record("usage.rate", 6001, machine="new", date="2026-11-22", note="noisy", file=register)
    assert register.read_text() == once


def test_benchmarks_that_record_at_once_lose_nothing(register: Path) -> None:
    def many(promise_id: str) -> None:
        for value in range(1, 21):
            record(promise_id, value, machine="m", date="2026-11-22", file=register)

    threads = [threading.Thread(target=many, args=(name,)) for name in ("gateway.cpu", "usage.rate")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [promise.measured for promise in read(register)] == [20, 20]


def test_a_promise_that_nobody_made_cannot_be_recorded(register: Path) -> None:
    with pytest.raises(InvalidPromises, match=r"no promise 'gateway\.speed'"):
        record("gateway.speed", 1, file=register)
    assert register.read_text() == TEXT


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('unit = "×"\n', "", "unit missing"),
        ('unit = "×"', 'unit = "×"\nowner = "me"', "owner unknown"),
        ("goal = 3", 'goal = "3"', "goal is of the wrong type"),
        ('comparison = "<="', 'comparison = "≤"', "comparison must be"),
        ('id = "gateway.cpu"', 'id = "usage.rate"', "there twice"),
        ('id = "gateway.cpu"', 'id = "Speed"', "lower-case"),
        ("goal = 3", "goal =", "not TOML"),
    ],
)
def test_a_register_that_cannot_be_is_refused(register: Path, old: str, new: str, reason: str) -> None:
    register.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(InvalidPromises, match=reason):
        read(register)


@pytest.mark.parametrize(
    ("comparison", "measured", "reached"),
    [("<=", 3, True), ("<=", 3.1, False), ("<", 3, False), (">=", 3, True), (">", 3, False), ("==", 3, True)],
)
def test_a_goal_is_reached_as_its_comparison_says(
    register: Path, comparison: str, measured: float, reached: bool
) -> None:
    register.write_text(TEXT.replace('comparison = "<="', f'comparison = "{comparison}"'))
    assert record("gateway.cpu", measured, file=register).reached is reached


def test_the_projects_register_is_valid_and_its_page_is_fresh() -> None:
    promises = read(FILE)
    assert len(promises) >= 13
    assert evidence.PAGE.read_text() == evidence.page(promises)


def test_the_page_shows_each_promise_with_its_verdict(register: Path) -> None:
    shown = evidence.page(read(register))
    assert '| `gateway.cpu` | CPU "per" request | ≤ 3 × | – | not measured | – | – |' in shown
    assert (
        "| `usage.rate` | Events (busy) | ≥ 5000 events/s | 4000 events/s | missed | 2026-01-02 | an old one |" in shown
    )


def test_a_promise_is_measured_again_by_its_own_command(tmp_path: Path) -> None:
    command = "python -c \"open('seen', 'w').write('yes')\""
    promise = Promise(
        id="a.b", what="", goal=1, unit="", comparison="<=", command=command, source=""
    )  # fmt: skip
    evidence.rerun(promise, tmp_path)
    assert (tmp_path / "seen").read_text() == "yes"


def test_an_unknown_promise_is_told_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert evidence.main(["--id", "no.such"]) == 2
    assert "gateway.cpu.plain" in capsys.readouterr().err

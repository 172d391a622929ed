"""Commands as a person or a script runs them: real processes on a real home folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from auterity.app.cli import COMMANDS, application
from auterity.app.preparation import newest_schema
from auterity.engines.database import migration


class Cli:
    """Runs ``auterity`` with one database, in this process: loading the program for each command would take minutes."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home = home
        self._application = application(None)
        self._environment: dict[str, str | None] = {
            "AUTERITY_HOME": str(home),
            "AUTERITY_DATABASE_URL": database_url,
            "AUTERITY_SANDBOX_LATENCY": "0",
            "COLUMNS": "200",
        }

    def run(
        self, *arguments: str, code: int = 0, stdin: str = "", variables: Mapping[str, str] | None = None
    ) -> Result:
        environment = self._environment | dict(variables or {})
        finished = CliRunner().invoke(self._application, arguments, input=stdin, env=environment)
        if finished.exception is not None and not isinstance(finished.exception, SystemExit):
            raise finished.exception
        assert finished.exit_code == code, finished.output
        return finished

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)


@pytest.fixture
def cli(tmp_path: Path, database_url: str) -> Cli:
    """A node whose database has been migrated, and prepared by nobody."""
    return Cli(tmp_path / "home", database_url)


@pytest.fixture
def ready(cli: Cli) -> Cli:
    """A node after ``auterity init``."""
    cli.run("init")
    return cli


def test_help_comes_at_once_and_loads_no_command() -> None:
    program = "import sys; from auterity.app.cli import application; application(''); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "auterity.app.cli" in loaded
    assert not {"sqlalchemy", "alembic", "fastapi", "duckdb", "pydantic", "auterity.app.settings"} & set(loaded)


def test_serving_loads_neither_migrations_nor_the_database_library() -> None:
    program = "import sys, auterity.app.cli.serve; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sqlalchemy", "alembic", "fastapi", "duckdb", "pydantic"} & set(loaded)


def test_workers_and_the_collector_load_no_command_line() -> None:
    for module in ("auterity.app.worker", "auterity.app.collector"):
        program = f"import sys, {module}; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert not {"typer", "rich", "alembic", "duckdb"} & set(done.stdout.split()), module


def test_the_overview_names_every_command_and_shows_examples(cli: Cli) -> None:
    said = cli.run("--help").stdout
    for command in COMMANDS:
        assert f" {command.name} " in said
    assert "auterity keys create ci" in said


def test_every_command_can_be_loaded_and_explains_itself() -> None:
    root = application(None)
    names = {command.name for command in root.registered_commands} | {group.name for group in root.registered_groups}
    assert names == {command.name for command in COMMANDS}
    for group in root.registered_groups:
        assert group.typer_instance is not None
        assert all(command.help for command in group.typer_instance.registered_commands)


def test_serve_takes_every_setting_as_a_flag(cli: Cli) -> None:
    said = cli.run("serve", "--help").stdout
    for flag in (
        "--host",
        "--port",
        "--workers",
        "--home",
        "--config",
        "--database-url",
        "--redis-url",
        "--durability",
    ):
        assert flag in said
    assert "--master-key" not in said


def test_wrong_settings_end_with_code_2_and_name_their_place(cli: Cli) -> None:
    cli.home.mkdir()
    (cli.home / "auterity.yaml").write_text("host: a\nprot: 7\n")
    said = cli.run("config", "show", "--port", "x", code=2).stderr
    assert f'error: {cli.home}/auterity.yaml:2: unknown setting "prot"; did you mean "port"?' in said
    assert 'error: --port: port must be a whole number, not "x"' in said
    assert "Traceback" not in said


def test_config_show_tells_values_sources_and_no_secrets(cli: Cli) -> None:
    shown = {each["name"]: each for each in cli.json("config", "show", "--workers", "3")}
    assert shown["workers"] == {"name": "workers", "value": 3, "origin": "--workers"}
    assert shown["home"]["origin"] == "AUTERITY_HOME"
    assert shown["port"] == {"name": "port", "value": 8080, "origin": "default"}


def test_without_a_home_a_command_says_what_to_do(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "auterity", "keys", "list", "--home", str(tmp_path / "none")],
        env={name: value for name, value in os.environ.items() if not name.startswith("AUTERITY_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert "There is no Auterity home at" in said.stderr
    assert "auterity init" in said.stderr
    assert not (tmp_path / "none").exists()


def test_init_shows_the_first_access_once_and_the_sandbox_answers(cli: Cli) -> None:
    first = cli.json("init")["first"]
    assert first["api_key"].startswith("ak-")
    assert cli.json("init")["first"] is None
    assert {model["name"] for model in cli.json("models", "list")} >= {first["model"], "sandbox-embed"}
    tested = cli.json("models", "test", first["model"])
    assert tested["ok"] is True
    assert first["password"] not in cli.run("config", "show").stdout


def test_a_key_is_made_listed_rotated_and_revoked(ready: Cli) -> None:
    made = ready.json("keys", "create", "ci", "--model", "sandbox-small", "--rpm", "5", "--monthly-budget", "1.5")
    assert made["secret"].startswith("ak-")
    assert (made["allowed_models"], made["requests_per_minute"]) == (["sandbox-small"], 5)
    table = ready.run("keys", "list").stdout
    assert "ci" in table
    assert "$1.5" in table
    assert made["secret"] not in table
    rotated = ready.run("keys", "rotate", "ci").stdout.strip()
    assert rotated.startswith("ak-")
    assert rotated != made["secret"]
    ready.run("keys", "revoke", "ci")
    assert "ci" not in {key["name"] for key in ready.json("keys", "list")}
    assert {key["name"] for key in ready.json("keys", "list", "--all")} >= {"ci"}


def test_another_gateways_key_is_taken_from_stdin(ready: Cli) -> None:
    made = ready.run("keys", "create", "old", "--secret-stdin", stdin="sk-0123456789abcdef\n").stdout
    assert made.strip() == "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("keys", "revoke", "nobody"), 1, "There is no key named 'nobody'"),
        (("keys", "create", "x", "--rpm", "0"), 2, "requests_per_minute: Input should be greater than"),
        (("keys", "create", "x", "--monthly-budget", "much"), 2, "--monthly-budget must be an amount"),
        (("keys", "create", "x", "--monthly-budget", "10000000"), 2, "at most 9,000,000 US dollars a month"),
        (("keys", "create", "x", "--expires", "soon"), 2, "--expires must be a duration"),
        (("keys", "list", "--tenant", "nowhere"), 1, "nowhere"),
        (("models", "add", "m", "-p", "new"), 2, "Give --base-url"),
        (("models", "add", "m", "-p", "new", "--key-env", "NO_SUCH"), 2, "The variable NO_SUCH is not set"),
        (("models", "test", "none"), 1, "There is no model 'none'"),
        (("usage", "--by", "mood"), 2, "Usage cannot be grouped by 'mood'"),
        (("usage", "--from", "yesterday"), 2, "--from must be a date"),
        (("import", "litellm", "/nonexistent.yaml"), 2, "cannot be read"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_code(
    shared: Cli, arguments: tuple[str, ...], code: int, told: str
) -> None:
    said = shared.run(*arguments, code=code).stderr
    assert said.startswith("error: ")
    assert told in said
    assert "Traceback" not in said
    as_json = json.loads(shared.run(*arguments, "--json", code=code).stderr)
    assert told in as_json["error"]["message"]


def test_a_model_is_added_with_its_provider_and_the_key_stays_hidden(ready: Cli) -> None:
    said = ready.run(
        *("models", "add", "mine", "-p", "local", "--base-url", "http://127.0.0.1:9/v1", "--key-env", "LOCAL_KEY"),
        "--no-stream-options",
        variables={"LOCAL_KEY": "sk-very-secret-value"},
    )
    again = ready.run("models", "add", "other", "-p", "local", "--no-stream-options", code=1)
    assert "is there already; leave" in again.stderr
    assert "mine is served by local/mine" in said.stdout
    assert "sk-very-secret-value" not in said.stdout + said.stderr
    failed = ready.run("models", "test", "mine", code=1).stdout
    assert "failed" in failed
    findings = {each["check"]: each for each in ready.json("doctor", "--port", "0", code=1)}
    assert findings["provider local"]["state"] == "fail"
    assert findings["provider sandbox"]["state"] == "ok"


def test_usage_of_nothing_is_said_plainly(ready: Cli) -> None:
    assert "No calls from" in ready.run("usage").stderr
    assert ready.json("usage", "--by", "day", "--by", "key", "--days", "2")["totals"]["calls"] == 0


def test_the_database_is_brought_up_to_date(tmp_path: Path, empty_database_url: str) -> None:
    cli = Cli(tmp_path / "home", empty_database_url)
    assert "(empty)" in cli.run("db", "status").stdout
    assert "behind this release" in cli.run("keys", "list", code=1).stderr
    assert newest_schema() in cli.run("db", "upgrade").stdout
    assert cli.json("db", "status")["current"] == newest_schema()


async def test_the_newest_schema_is_the_migrations_own_head(database_url: str) -> None:
    assert (await migration.status(database_url)).head == newest_schema()


def test_a_litellm_configuration_is_tried_and_taken_over(ready: Cli, tmp_path: Path) -> None:
    file = tmp_path / "litellm.yaml"
    file.write_text(
        "model_list:\n  - model_name: mini\n    litellm_params:\n      model: openai/gpt-5-mini\n"
        "      api_base: http://127.0.0.1:9/v1\n      api_key: os.environ/SOME_KEY\n"
    )
    assert "what would be done" in ready.run("import", "litellm", str(file), "--dry-run").stdout
    assert "mini" not in {model["name"] for model in ready.json("models", "list")}
    ready.run("import", "litellm", str(file), variables={"SOME_KEY": "sk-0123456789"})
    assert "mini" in {model["name"] for model in ready.json("models", "list")}
    assert "As it was" in ready.run("import", "litellm", str(file)).stdout


def test_version(cli: Cli) -> None:
    assert cli.json("version")["auterity"].count(".") == 2


def test_a_defect_is_told_without_a_trace_and_a_typing_error_with_the_usage(tmp_path: Path) -> None:
    program = (
        "import sys; from auterity.app import cli; sys.argv = ['auterity', 'version']\n"
        "def fail(wanted): raise RuntimeError('sk-secret')\n"
        "cli.application = fail\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: something went wrong inside Auterity (RuntimeError at fail).")
    assert "sk-secret" not in done.stderr
    wrong = subprocess.run([sys.executable, "-m", "auterity", "sevre"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "No such command 'sevre'" in wrong.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str]) -> Cli:
    """One node for tests that change nothing."""
    cli = Cli(tmp_path_factory.mktemp("shared") / "home", make_database())
    cli.run("init")
    return cli

"""Settings come from flags, variables and auterity.yaml, and everything that is wrong is told with its place."""

import base64
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.app.configuration import load
from auterity.app.settings import SETTINGS, InvalidSettings, Settings

KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def read(home: Path, yaml: str = "", flags: dict[str, str | None] | None = None, **variables: str) -> Settings:
    if yaml:
        (home / "auterity.yaml").write_text(yaml)
    return load({"home": str(home)} | (flags or {}), variables)


def problems(home: Path, yaml: str = "", flags: dict[str, str | None] | None = None, **variables: str) -> list[str]:
    with pytest.raises(InvalidSettings) as refused:
        read(home, yaml, flags, **variables)
    return [problem.replace(f"{home}/", "") for problem in refused.value.problems]


def test_a_flag_beats_a_variable_beats_a_line_beats_the_default(home: Path) -> None:
    yaml = "port: 1001\nworkers: 3\nhost: 0.0.0.0\n"
    settings = read(home, yaml, {"port": "1003"}, AUTERITY_PORT="1002", AUTERITY_WORKERS="2")
    assert (settings.port, settings.workers, settings.host, settings.durability) == (1003, 2, "0.0.0.0", "group")
    origins = {each.name: each.origin for each in settings.explain()}
    assert origins["port"] == "--port"
    assert origins["workers"] == "AUTERITY_WORKERS"
    assert origins["host"] == f"{home}/auterity.yaml:3"
    assert origins["durability"] == "default"


def test_every_setting_is_a_flag_a_variable_and_a_line_but_for_what_cannot_be() -> None:
    without_flag = {name for name, setting in SETTINGS.items() if setting.flag is None}
    without_line = {name for name, setting in SETTINGS.items() if setting.line is None}
    assert without_flag == {"master_key"}
    assert without_line == {"master_key", "config"}
    assert len({setting.variable for setting in SETTINGS.values()}) == len(SETTINGS)
    assert set(SETTINGS) | {"origins"} == set(Settings.__struct_fields__)


def test_all_problems_of_all_sources_are_told_at_once_with_their_places(home: Path) -> None:
    yaml = "workers: 2\nprot: 80\nport: ninety\nlog_level: loud\n"
    told = problems(home, yaml, {"workers": "0"}, AUTERITY_PROT="1", AUTERITY_SPOOL_MAX_BYTES="1KiB")
    assert told == [
        'AUTERITY_PROT: unknown setting; did you mean "AUTERITY_PORT"?',
        'auterity.yaml:2: unknown setting "prot"; did you mean "port"?',
        'auterity.yaml:3: port must be a whole number, not "ninety"',
        'auterity.yaml:4: log_level must be debug or info or warning or error, not "loud"',
        "AUTERITY_SPOOL_MAX_BYTES: spool_max_bytes must be at least 16777216, not 1024",
        "--workers: workers must be from 1 to 256, not 0",
    ]


def test_a_bad_line_is_told_even_where_a_flag_overrides_it(home: Path) -> None:
    assert problems(home, "port: 99999\n", {"port": "80"}) == [
        "auterity.yaml:1: port must be from 0 to 65535, not 99999"
    ]


@pytest.mark.parametrize(
    ("yaml", "told"),
    [
        ("port: 1\n\nport: 2\n", "auterity.yaml:3: port is set twice; the other is at line 1"),
        ("- port\n", "auterity.yaml:1: expected lines of the form setting: value"),
        ("just words\n", "auterity.yaml:1: expected lines of the form setting: value"),
        ("port: &a 1\nworkers: *a\n", "auterity.yaml:1: anchors and aliases are not allowed; write the value out"),
        ("port: !!int 1\n", "auterity.yaml:1: tags (!…) are not allowed; write the plain value"),
        ("port:\n  a: 1\n", "auterity.yaml:1: port takes one value, not a nested structure"),
        ("port: ~\n", "auterity.yaml:1: port has no value; give it one or delete the line"),
        ("port: 1\n---\nport: 2\n", "auterity.yaml:2: a second document; keep all settings in one"),
        ("? [a, b]\n: 1\n", "auterity.yaml:1: expected the name of a setting"),
        (
            "master_key: abc\n",
            "auterity.yaml:1: master_key is a secret and may not stand in a file; set AUTERITY_MASTER_KEY",
        ),
        ("config: x\n", "auterity.yaml:1: config would do nothing here; use --config or AUTERITY_CONFIG"),
        (
            "home: /x\n",
            "auterity.yaml:1: home would do nothing here: this file was found in the home folder; "
            "use --home or AUTERITY_HOME",
        ),
    ],
)
def test_what_is_not_plain_lines_of_settings_is_refused_with_its_line(home: Path, yaml: str, told: str) -> None:
    assert problems(home, yaml) == [told]


def test_broken_yaml_names_the_line(home: Path) -> None:
    assert problems(home, "port: 1\nhost: [a\n")[0].startswith("auterity.yaml:3: not YAML: ")
    assert problems(home, "port: 1\n\thost: a\n")[0].startswith("auterity.yaml:2: not YAML: ")


def test_a_file_made_to_exhaust_the_reader_is_refused(home: Path) -> None:
    told = problems(home, "port: " + "[" * 100_000)
    assert told == ["auterity.yaml:1: nested too deeply; a settings file is lines of the form setting: value"]
    assert problems(home, "#" * 300_000) == ["auterity.yaml: longer than 256 KiB; this is not a settings file"]
    (home / "auterity.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    assert problems(home) == ["auterity.yaml: not a text file in UTF-8"]


def test_an_empty_file_and_a_file_of_comments_set_nothing(home: Path) -> None:
    assert read(home, "# nothing yet\n").port == 8080
    (home / "auterity.yaml").write_text("")
    assert read(home).port == 8080


def test_an_empty_variable_is_an_error_and_foreign_variables_are_not_ours(home: Path) -> None:
    assert problems(home, AUTERITY_PORT=" ", PORT="x") == ["AUTERITY_PORT is empty; give it a value or unset it"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20000000", 20_000_000), ("2GiB", 2 << 30), ("1.5 GiB", 3 << 29), ("20mb", 20_000_000), ("1TiB", 1 << 40)],
)
def test_sizes_are_written_in_their_units(home: Path, text: str, expected: int) -> None:
    assert read(home, f"spool_max_bytes: {text}\n").spool_max_bytes == expected


@pytest.mark.parametrize(("text", "expected"), [("30", 30), ("30s", 30), ("5m", 300), ("0.5h", 1800), ("1500ms", 1.5)])
def test_durations_are_written_in_their_units(home: Path, text: str, expected: float) -> None:
    assert read(home, flags={"shutdown_grace_s": text}).shutdown_grace_s == expected


@pytest.mark.parametrize("text", ["inf", "nan", "-1", "1e3", "10 parsecs", "9" * 400, "1.2.3", "0x10", "١"])
def test_what_is_no_quantity_is_refused(home: Path, text: str) -> None:
    told = problems(home, flags={"spool_max_bytes": text, "shutdown_grace_s": text, "port": text})
    assert [problem.split(":")[0] for problem in told] == ["--spool-max-bytes", "--shutdown-grace-s", "--port"]


def test_switches_and_lists_read_as_people_write_them(home: Path) -> None:
    settings = read(home, "allow_private_providers: yes\nforwarded_allow_ips:\n  - 10.0.0.0/8\n  - 127.0.0.1\n")
    assert settings.allow_private_providers is True
    assert settings.forwarded_allow_ips == "10.0.0.0/8,127.0.0.1"
    assert problems(home, "forwarded_allow_ips: everyone\n") == [
        'auterity.yaml:1: forwarded_allow_ips must be IP addresses, networks or *, not "everyone"'
    ]


def test_urls_are_checked_without_ever_being_repeated(home: Path) -> None:
    told = problems(
        home,
        AUTERITY_DATABASE_URL="mysql://root:hunter2@db/x",
        AUTERITY_REDIS_URL="redis://:hunter2@h:port",
        AUTERITY_OTLP_ENDPOINT="ftp://root:hunter2@h",
        AUTERITY_MASTER_KEY="hunter2",
    )
    assert [problem.split(":")[0] for problem in told] == [
        "AUTERITY_DATABASE_URL",
        "AUTERITY_MASTER_KEY",
        "AUTERITY_OTLP_ENDPOINT",
        "AUTERITY_REDIS_URL",
    ]
    assert "hunter2" not in str(told)
    assert told[2].endswith("otlp_endpoint must be a URL such as http://host:port")


def test_several_nodes_of_a_redis_cluster_are_one_url(home: Path) -> None:
    url = "redis-cluster://a:7000,b:7001,c:7002"
    assert read(home, f"redis_url: {url}\n").redis_url == url


def test_what_is_shown_holds_no_secret(home: Path) -> None:
    settings = read(
        home,
        AUTERITY_DATABASE_URL="postgresql://app:hunter2@db:5432/x?sslmode=require",
        AUTERITY_REDIS_URL="rediss://:hunter2@cache:6379/0",
        AUTERITY_MASTER_KEY=KEY,
    )
    shown = {each.name: each.value for each in settings.explain()}
    assert "hunter2" not in str(shown)
    assert KEY not in str(shown)
    assert shown["database_url"] == "postgresql://app:***@db:5432/x?sslmode=require"
    assert shown["master_key"] == "(set)"


def test_a_named_file_that_is_missing_is_an_error_and_the_homes_may_be_missing(home: Path, tmp_path: Path) -> None:
    assert problems(home, flags={"config": str(tmp_path / "none.yaml")}) == [
        f"--config: there is no file {tmp_path}/none.yaml"
    ]
    assert read(home).config is None


def test_a_named_file_may_set_the_home_and_paths_start_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "somewhere.yaml"
    file.write_text("home: data\n")
    settings = load({"config": str(file)}, {})
    assert settings.home == tmp_path / "data"
    assert settings.config == file


def test_settings_reach_a_child_process_whole(home: Path) -> None:
    settings = read(home, "port: 1\nshutdown_grace_s: 2m\n", AUTERITY_MASTER_KEY=KEY)
    assert Settings.from_json(settings.to_json()) == settings
    assert settings.changed(Settings.from_json(settings.to_json())) == frozenset()
    assert settings.changed(read(home, "port: 2\n")) == {"port", "shutdown_grace_s", "master_key"}


@given(st.text(max_size=200))
def test_no_file_makes_the_reader_fail_otherwise_than_clearly(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "auterity.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(InvalidSettings):
        assert set(load({"home": str(home)}, {}).changed(Settings())) <= set(SETTINGS)

"""The doctor finds what is broken, and says how to mend it."""

import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from auterity.app.doctor import Finding, State, check_node, run_checks
from auterity.app.doctor_database import check_database
from auterity.app.home import Home, Serving
from auterity.app.settings import Settings
from auterity.engines.database.connection import connect
from auterity.engines.spool.segments import SUFFIX
from auterity.kit.clock import ManualClock
from auterity.kit.errors import Unavailable
from auterity.platform.usage.status import CollectorStatus, write_status

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


async def examine(home: Home, **settings: object) -> dict[str, Finding]:
    """Findings of the machine; the last one where a check has several."""
    wanted = msgspec.structs.replace(Settings(home=home.path, port=0), **settings)
    return {each.check: each for each in await run_checks(check_node(wanted, ManualClock(NOW)))}


async def of_database(url: str) -> dict[str, Finding]:
    return {each.check: each for each in await run_checks(check_database(Settings(), url))}


async def test_a_healthy_node_has_nothing_to_mend(home: Home, database_url: str) -> None:
    findings = await examine(home) | await of_database(database_url)
    assert {name for name, each in findings.items() if each.state is State.FAIL} == set()
    assert findings["home"].state is State.OK
    assert {"database", "clock", "connections", "tenant walls", "schema"} <= {
        name for name, each in findings.items() if each.state is State.OK
    }


async def test_secrets_that_others_may_read_are_found(home: Home) -> None:
    key = home.secrets / "master.key"
    key.write_text("k")
    key.chmod(0o644)
    found = (await examine(home))["home"]
    assert found.state is State.FAIL
    assert found.remedy == f"Run: chmod go= '{key}'"


async def test_a_home_that_is_not_there_yet_is_no_failure(tmp_path: Path) -> None:
    found = (await examine(Home(tmp_path / "none")))["home"]
    assert found.state is State.WARN
    assert "auterity init" in found.remedy


async def test_a_full_spool_is_found(home: Home) -> None:
    with (home.spool / f"waiting{SUFFIX}").open("wb") as file:
        file.truncate(60 << 20)
    found = (await examine(home, spool_max_bytes=64 << 20))["spool"]
    assert found.state is State.FAIL
    assert "94%" in found.detail


async def test_a_port_that_another_program_has_is_found(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = (await examine(home, port=taken.getsockname()[1]))["server"]
    assert found.state is State.FAIL
    assert "--port" in found.detail


@pytest.mark.parametrize(
    ("change", "state", "told"),
    [
        ({}, State.OK, "0.5 s behind"),
        ({"updated_us": int((NOW - timedelta(minutes=1)).timestamp() * 1e6)}, State.FAIL, "silent for 60 s"),
        ({"lag_s": 45.0, "bytes_behind": 3 << 20}, State.WARN, "45 s and 3 MiB behind"),
        ({"last_error": "no database"}, State.WARN, "no database"),
        ({"dead_letters": 2}, State.WARN, "2 events"),
    ],
)
async def test_the_collectors_state_is_judged(home: Home, change: dict[str, int], state: State, told: str) -> None:
    lock = home.lock()
    lock.announce(Serving(1, "http://127.0.0.1:9"))
    status = CollectorStatus(pid=1, updated_us=int(NOW.timestamp() * 1e6), lag_s=0.5)
    write_status(home.spool, msgspec.structs.replace(status, **change))
    findings = await examine(home)
    lock.release()
    assert findings["server"].state is State.FAIL
    assert "does not answer" in findings["server"].detail
    assert findings["collector"].state is state
    assert told in findings["collector"].detail


async def test_redis_that_does_not_answer_is_found(home: Home) -> None:
    found = (await examine(home, redis_url="redis://127.0.0.1:9"))["redis"]
    assert found.state is State.FAIL
    assert "--redis-url" in found.remedy


async def test_redis_that_answers_is_well(home: Home, redis_server: object) -> None:
    found = (await examine(home, redis_url=getattr(redis_server, "url", "")))["redis"]
    assert found.state is State.OK


async def test_an_empty_database_is_found(empty_database_url: str) -> None:
    found = (await of_database(empty_database_url))["schema"]
    assert found.state is State.FAIL
    assert "auterity db upgrade" in found.remedy


async def test_a_database_that_is_away_is_one_finding_and_no_trace() -> None:
    findings = await of_database("postgresql://nobody@127.0.0.1:9/none")
    assert {each.state for each in findings.values()} == {State.FAIL}


async def test_a_table_without_its_wall_is_found(database_url: str, as_owner: Callable[[str], Awaitable[None]]) -> None:
    await as_owner("ALTER TABLE virtual_keys NO FORCE ROW LEVEL SECURITY")
    found = (await of_database(database_url))["tenant walls"]
    assert found.state is State.FAIL
    assert "virtual_keys" in found.detail
    assert "FORCE ROW LEVEL SECURITY" in found.remedy


async def test_a_check_that_breaks_hides_no_other() -> None:
    async def broken() -> list[Finding]:
        raise Unavailable("out of order")

    async def well() -> list[Finding]:
        return [Finding("well", State.OK, "")]

    found = await run_checks({"broken": broken, "well": well})
    assert [(each.check, each.state) for each in found] == [("broken", State.FAIL), ("well", State.OK)]
    assert found[0].detail == "out of order"


@pytest.fixture
def as_owner(database_url: str) -> Callable[[str], Awaitable[None]]:
    """Runs a statement in the test's database as its owner."""

    async def run(statement: str) -> None:
        async with connect(database_url) as connection:
            await connection.execute(statement)

    return run

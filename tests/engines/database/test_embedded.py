"""The embedded server keeps its data, starts again after any death, and outlives no one who needs it."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auterity.engines.database.address import connect_arguments
from auterity.engines.database.connection import connect
from auterity.engines.database.embedded import EmbeddedPostgres
from auterity.engines.database.errors import DatabaseUnavailable, EmbeddedDatabaseFailed
from auterity.engines.database.migration import upgrade
from auterity.engines.database.sessions import Database

_SMALL = {"shared_buffers": "16MB", "fsync": "off"}

_OTHER_USER = """
import sys
from pathlib import Path
from auterity.engines.database.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print("using", flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="auterity-embedded-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made_folder() -> Iterator[Path]:
    """A folder with a cluster in it, for all tests that do not spoil it."""
    folder = Path(tempfile.mkdtemp(prefix="auterity-embedded-"))
    maker = EmbeddedPostgres(folder, settings=_SMALL)
    maker.start()
    maker.stop()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def server(made_folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(made_folder)
    server.start()
    yield server
    server.stop()


def _postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


async def _answer(server: EmbeddedPostgres) -> object:
    async with connect(server.url) as connection:
        return await connection.fetchval("SELECT count(*) FROM kept")


async def test_data_outlives_a_stop_and_a_kill(server: EmbeddedPostgres, made_folder: Path) -> None:
    async with connect(server.url) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 1")
    server.stop()
    assert not (made_folder / "data" / "postmaster.pid").exists()
    assert server.ensure_running() is False
    with pytest.raises(DatabaseUnavailable):
        await _answer(server)
    server.start()
    assert await _answer(server) == 1
    assert server.ensure_running() is False

    database = Database(server.url)
    await upgrade(server.url)
    await database.ping()
    os.kill(_postmaster(made_folder), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not server.ensure_running():
        assert time.monotonic() < deadline, "the death was not noticed"
    assert await _answer(server) == 1
    await database.ping()
    await database.close()


async def test_the_login_is_no_superuser_and_vectors_are_there(server: EmbeddedPostgres) -> None:
    async with connect(server.url) as connection:
        assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert await connection.fetchval("SELECT '[1,2]'::vector::text") == "[1,2]"
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert await connection.fetchval("SHOW timezone") == "UTC"


def test_only_its_own_account_can_reach_the_socket(server: EmbeddedPostgres, made_folder: Path) -> None:
    assert stat.S_IMODE((made_folder / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((made_folder / "data").stat().st_mode) == 0o700


def test_the_last_one_to_leave_stops_the_server(server: EmbeddedPostgres, made_folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _OTHER_USER, str(made_folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"using\n"
        server.stop()
        assert (made_folder / "data" / "postmaster.pid").exists()
        other.communicate()
    assert not (made_folder / "data" / "postmaster.pid").exists()


def test_a_user_that_was_killed_does_not_keep_the_server_alive(server: EmbeddedPostgres, made_folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _OTHER_USER, str(made_folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"using\n"
        other.kill()
    server.stop()
    assert not (made_folder / "data" / "postmaster.pid").exists()


async def test_a_half_made_cluster_is_made_anew(folder: Path) -> None:
    draft = folder / "run" / "new-cluster"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18")
    server = EmbeddedPostgres(folder, settings=_SMALL)
    server.start()
    async with connect(server.url) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    server.stop()


async def test_a_folder_with_a_long_name_gets_its_socket_elsewhere(folder: Path) -> None:
    server = EmbeddedPostgres(folder / ("long" * 30), settings=_SMALL)
    server.start()
    async with connect(server.url) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    server.stop()
    elsewhere = Path(connect_arguments(server.url).get("host", ""))
    assert folder not in elsewhere.parents
    shutil.rmtree(elsewhere)


def test_a_server_that_does_not_start_says_why(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings=_SMALL)
    server.start()
    server.stop()
    with (folder / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = 'much'\n")
    with pytest.raises(EmbeddedDatabaseFailed, match="shared_buffers"):
        server.start()
    server.stop()

"""One home folder belongs to one server, and to nobody else."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from auterity.app.home import Home, HomeInUse, HomeUnusable, Serving


def test_a_new_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "home")
    assert not home.exists
    home.prepare()
    assert home.exists
    for folder in (home.path, home.secrets, home.spool, home.events, home.run, home.logs, home.postgres):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_preparing_again_keeps_what_is_there_and_closes_what_was_opened(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    (home.secrets / "master.key").write_text("k")
    home.secrets.chmod(0o755)
    home.prepare()
    assert (home.secrets / "master.key").read_text() == "k"
    assert stat.S_IMODE(home.secrets.stat().st_mode) == 0o700


def test_a_folder_with_only_a_settings_file_may_become_a_home(tmp_path: Path) -> None:
    (tmp_path / "auterity.yaml").write_text("port: 1\n")
    Home(tmp_path).prepare()
    assert Home(tmp_path).exists


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(HomeUnusable, match=r"holds other things \(thesis\.tex\)"):
        Home(tmp_path).prepare()
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_homes_place_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeUnusable, match="cannot be prepared"):
        Home(tmp_path / "home").prepare()


@pytest.mark.parametrize(
    ("content", "told"),
    [(b'{"layout":99,"made_by":"9.0.0"}', "made by Auterity 9.0.0, which is newer"), (b"{", "damaged")],
)
def test_a_newer_or_damaged_layout_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "layout").write_bytes(content)
    with pytest.raises(HomeUnusable, match=told):
        Home(tmp_path).prepare()


def test_two_servers_cannot_share_a_home_and_the_second_learns_who_has_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    lock = home.lock()
    lock.announce(Serving(os.getpid(), "http://127.0.0.1:8080"))
    with pytest.raises(HomeInUse, match=rf"process {os.getpid()} at http://127\.0\.0\.1:8080"):
        home.lock()
    assert home.serving() == Serving(os.getpid(), "http://127.0.0.1:8080")
    lock.release()
    assert home.serving() is None
    home.lock().release()


def test_a_server_that_was_killed_leaves_no_stale_lock(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    program = (
        "import sys, pathlib; from auterity.app.home import Home; lock = Home(pathlib.Path(sys.argv[1])).lock(); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        assert home.serving() == Serving(other.pid)
        other.kill()
    assert home.serving() is None
    home.lock().release()

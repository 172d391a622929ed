"""Every source of master keys gives usable keys or says what to do; none is ever shown."""

import base64
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from auterity.engines.secrets.environment import EnvironmentMasterKeys
from auterity.engines.secrets.errors import MasterKeyUnusable
from auterity.engines.secrets.file import FileMasterKeys
from auterity.engines.secrets.port import MasterKeys

_OLD = base64.b64encode(b"o" * 32).decode()
_NEW = base64.b64encode(b"n" * 32).decode()

Source = Callable[[list[str]], MasterKeys]


@pytest.fixture(params=["file", "environment"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """Each adapter, holding the keys that are written."""

    def write(keys: list[str]) -> MasterKeys:
        if request.param == "environment":
            return EnvironmentMasterKeys({"AUTERITY_MASTER_KEY": ",".join(keys)})
        path = tmp_path / "master.key"
        path.write_text("# comment\n\n" + "\n".join(keys) + "\n")
        path.chmod(0o600)
        return FileMasterKeys(path)

    return write


def test_the_current_key_comes_first_and_each_has_its_own_lasting_name(source: Source) -> None:
    current, earlier = source([_NEW, _OLD]).keys()
    assert (current.secret, earlier.secret) == (b"n" * 32, b"o" * 32)
    assert current.id != earlier.id
    assert source([_OLD]).keys()[0].id == earlier.id


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([], "no master key"),
        (["c2hvcnQ="], "has 5 bytes"),
        (["*" * 44], "not base64"),
        ([_OLD, _OLD], "twice"),
    ],
)
def test_unusable_keys_are_refused_and_not_shown(source: Source, keys: list[str], said: str) -> None:
    with pytest.raises(MasterKeyUnusable, match=said) as refused:
        source(keys).keys()
    assert all(key not in str(refused.value) for key in keys)


def test_a_key_is_not_shown_where_it_is_printed(source: Source) -> None:
    printed = repr(source([_NEW]).keys())
    assert "nnnn" not in printed
    assert _NEW not in printed


def test_a_file_is_made_on_first_use_for_its_owner_alone_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "master.key"
    first = FileMasterKeys(path).keys()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert FileMasterKeys(path).keys() == first
    assert os.listdir(path.parent) == ["master.key"]


def test_servers_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    barrier = threading.Barrier(8)
    found: list[bytes] = []

    def start() -> None:
        barrier.wait()
        found.append(FileMasterKeys(path).keys()[0].secret)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    FileMasterKeys(path).keys()
    path.chmod(mode)
    with pytest.raises(MasterKeyUnusable, match="chmod 600"):
        FileMasterKeys(path).keys()


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnusable, match="cannot be read"):
        FileMasterKeys(tmp_path).keys()

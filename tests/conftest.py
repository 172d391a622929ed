"""The shared fixtures of ``tests/fixtures``, and a guard that keeps every socket on this machine."""

import importlib.util
import ipaddress
import socket
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes says more about the machine than about the program; each test has its own time limit.
hypothesis.settings.register_profile("auterity", deadline=None)
hypothesis.settings.load_profile("auterity")


def pytest_configure(config: pytest.Config) -> None:
    for path in sorted((Path(__file__).parent / "fixtures").glob("*.py")):
        name = f"auterity_fixtures_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        config.pluginmanager.register(module, name)


class _LoopbackSocket(socket.socket):
    """Refuses to connect to another machine."""

    def connect(self, address: Any, /) -> None:
        _require_loopback(self.family, address)
        super().connect(address)

    def connect_ex(self, address: Any, /) -> int:
        _require_loopback(self.family, address)
        return super().connect_ex(address)


def _require_loopback(family: int, address: Any) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = str(address[0])
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise PermissionError(f"a test tried to reach {host}; tests talk to this machine only")


# For the whole run, before any test imports a client.
socket.socket = _LoopbackSocket

"""A really started Auterity server, as ``auterity serve`` starts it in an empty or a kept home."""

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.processes import NotStarted, Started, free_port, start

__all__ = ["FirstRun", "Management", "Server", "serve"]

_PATIENCE_S = 120
# A line of the welcome: a name, two spaces or more, the value.
_SHOWN = re.compile(r"^\s*(Admin login|Password|Virtual key)\s{2,}(\S+)\s*$", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class FirstRun:
    """What the first start printed."""

    email: str
    password: str
    api_key: str


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready."""

    url: str
    port: int
    started: Started
    first: FirstRun | None
    """None in a home that was used before."""


def serve(home: Path, *, log: Path, core: int | None, flags: tuple[str, ...] = ()) -> Server:
    """Start ``auterity serve`` with one worker and wait until it is ready.

    Raises:
        NotStarted: it did not come up.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    started = start(
        [
            str(Path(sys.executable).with_name("auterity")),
            "serve",
            *("--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--home", str(home)),
            *flags,
        ],
        log=log,
        core=core,
        ready_url=f"{url}/health/ready",
        patience=_PATIENCE_S,
        folder=home,
    )
    started.family.find_workers(port)
    shown = dict(_SHOWN.findall(_COLOURS.sub("", log.read_text(errors="replace"))))
    first = None
    if len(shown) == 3:
        first = FirstRun(shown["Admin login"], shown["Password"], shown["Virtual key"])
    return Server(url, port, started, first)


class Management:
    """The management API, as far as a benchmark needs it."""

    def __init__(self, server: Server) -> None:
        """Log in with what the first start printed.

        Raises:
            NotStarted: it was not printed, or it does not work.
        """
        if server.first is None:
            server.started.stop()
            raise NotStarted("the first start printed no login")
        self._server = server
        self._token = ""
        login = {"email": server.first.email, "password": server.first.password}
        self._token = str(self.post("/auth/login", login)["access_token"])

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Create something; the answer.

        Raises:
            NotStarted: it was refused.
        """
        request = urllib.request.Request(
            f"{self._server.url}/api/v1{path}",
            json.dumps(body).encode(),
            {"content-type": "application/json"} | ({"authorization": f"Bearer {self._token}"} if self._token else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return cast("dict[str, Any]", json.loads(response.read()))
        except urllib.error.HTTPError as refused:
            with refused:
                reason = refused.read(500).decode(errors="replace")
            self._server.started.stop()
            raise NotStarted(f"POST {path} was refused with status {refused.code}: {reason}") from refused

"""What every gateway under test has in common: how it is started, where it listens and what a call needs."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.processes import Started

__all__ = ["PEERS", "Bench", "NotMeasurable", "Running", "Subject", "find_program", "install_packages", "output_of"]

PEERS = Path(__file__).resolve().parents[1] / ".peers"
"""Where peers are installed, each in its own environment."""


class NotMeasurable(RuntimeError):
    """This gateway cannot be measured on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a gateway is started with."""

    mock_port: int
    gateway_core: int | None
    folder: Path
    """A fresh folder for its configuration, data and output."""

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.mock_port}"


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that answers."""

    url: str
    """Of chat completions."""
    version: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    started: Started | None = None
    """None for the mock itself, which is asked directly."""


class Subject(Protocol):
    """One gateway."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def start(self, bench: Bench) -> Running:
        """Install what is missing, start it and wait until it answers.

        Raises:
            NotMeasurable: it cannot be had here.
            benchmarks.processes.NotStarted: it did not come up.
        """
        ...


def find_program(name: str) -> str | None:
    """The path of a program; system programs too, which an ordinary PATH leaves out."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def install_packages(*, wanted: Mapping[str, str]) -> None:
    """Have Debian's packages where a program (the key) is missing; the value is its package.

    Raises:
        NotMeasurable: a program is missing and cannot be installed by this user.
    """
    missing = {program: package for program, package in wanted.items() if find_program(program) is None}
    if not missing:
        return
    if os.geteuid() == 0 and find_program("apt-get") is not None:
        # No run level for services: the packages bring some, which the benchmark does not want running.
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (
            ["apt-get", "update"],
            ["apt-get", "install", "-y", "--no-install-recommends", *missing.values()],
        ):
            with contextlib.suppress(subprocess.SubprocessError):
                subprocess.run(command, env=env, capture_output=True, timeout=300, check=False)
    still = [package for program, package in missing.items() if find_program(program) is None]
    if still:
        raise NotMeasurable(f"install it first: apt-get install {' '.join(still)}")


def output_of(*command: str) -> str:
    """What a short command prints, on either stream; empty where it fails."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (run.stdout + run.stderr).strip()

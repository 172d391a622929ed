"""What machine a figure was measured on, without saying which one: no host names, users or paths."""

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["MachineFacts", "facts", "machine_class", "today"]


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The facts that a reader needs to judge a figure."""

    cores: int
    cpu: str
    """The processor's model name, as the kernel gives it."""
    memory_gb: float
    kernel: str
    """Version of the kernel, without local suffixes."""
    python: str
    load_before: float
    """Average number of runnable processes over the last minute, before the measurement."""
    busy_before: float
    """Share of all cores that was busy during the second before the measurement, 0 to 1."""

    @property
    def quiet(self) -> bool:
        """True if other work could not have disturbed the start of the measurement."""
        return self.busy_before < 0.1


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def facts(sample_seconds: float = 1.0) -> MachineFacts:
    """Look at this machine; takes ``sample_seconds`` to see how busy it is."""
    kernel = re.match(r"[\d.]+\d", platform.release())
    return MachineFacts(
        cores=psutil.cpu_count() or 1,
        cpu=_cpu_model(),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        kernel=kernel[0] if kernel else "unknown",
        python=platform.python_version(),
        load_before=round(os.getloadavg()[0], 2),
        busy_before=round(psutil.cpu_percent(interval=sample_seconds) / 100, 2),
    )


def machine_class() -> str:
    """One line for the table of promises, e.g. ``2 cores, AMD EPYC, 23 GB``."""
    now = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count() or 1} cores, {_cpu_model()}, {now:.0f} GB"


def today() -> str:
    """The day of a measurement, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime())

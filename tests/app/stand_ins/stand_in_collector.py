"""Stands in for the collector: counts its lives in a file, and notes its orderly end."""

import os
import signal
from pathlib import Path

from auterity.app import child

launch = child.begin()
home = Path(launch.settings.home)
with (home / "run" / "collector").open("a") as file:
    file.write(f"{os.getpid()}\n")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
child.ready(launch)
signal.sigwait({signal.SIGTERM})
(home / "run" / "collector-ended").write_text("")

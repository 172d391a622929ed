"""Runs a supervisor over the stand-ins: ``serve.py WORKER_MODULE FLAG=VALUE…``, settings as on the command line."""

import asyncio
import os
import sys

from auterity.app import logs
from auterity.app.configuration import load
from auterity.app.settings import Settings
from auterity.app.supervisor import Supervisor
from auterity.kit.errors import AuterityError

flags: dict[str, str | None] = {}
for argument in sys.argv[2:]:
    name, _, value = argument.partition("=")
    flags[name] = value


def read() -> Settings:
    return load(flags, os.environ)


settings = read()
logs.configure(settings, "server")
server = Supervisor(
    settings,
    reread=read,
    say=lambda text: print(text, flush=True),  # noqa: T201
    worker_module=sys.argv[1],
    collector_module="stand_in_collector",
    preparation_module="stand_in_preparation",
)
try:
    sys.exit(asyncio.run(server.run()))
except AuterityError as error:
    print(error, file=sys.stderr)  # noqa: T201
    sys.exit(1)

"""The parent's side of ``app/preparation``: a process that makes the database ready, and its answer."""

import asyncio
import sys

import msgspec

from auterity.app.banner import FirstRun
from auterity.app.child import Launch
from auterity.app.processes import clean_environment
from auterity.kit.errors import AuterityError

__all__ = ["PreparationFailed", "Prepared", "prepare"]


class PreparationFailed(AuterityError):
    """The database could not be made ready; the message is the preparation's own."""

    code = "preparation_failed"


class Prepared(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of it: the line that the process writes to stdout, which is a pipe to the parent."""

    first: FirstRun | None = None
    error: str = ""


async def prepare(module: str, launch: Launch) -> FirstRun | None:
    """Run ``python -m module`` to its end; returns what a first start made.

    Raises:
        PreparationFailed: with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment(),
        process_group=0,
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise PreparationFailed("The preparation has no pipes.")
        process.stdin.write(msgspec.json.encode(launch) + b"\n")
        said = await process.stdout.read()
        await process.wait()
    except asyncio.CancelledError:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        raise
    if not said:
        raise PreparationFailed(
            f"The database's preparation ended with code {process.returncode}; see its output above."
        )
    prepared = msgspec.json.decode(said, type=Prepared)
    if prepared.error:
        raise PreparationFailed(prepared.error)
    return prepared.first

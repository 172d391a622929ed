"""The process that queries run in, so that their libraries and memory never burden a worker of the gateway.

It is started by the first question (a second or so), and again if it dies.
"""

import asyncio
import importlib
import logging
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, cast

from auterity.engines.eventstore.errors import EventStoreFailed
from auterity.kit.errors import AuterityError

__all__ = ["QueryProcess"]

_log = logging.getLogger(__name__)


class _Answer(Protocol):
    def __call__(self, request: bytes) -> bytes: ...


class QueryProcess:
    """One child process that answers bytes with bytes, one question at a time."""

    def __init__(self, target: str) -> None:
        """``target`` is a function of bytes to bytes, as ``package.module:name``; imported in the child only."""
        self._target = target
        self._pool: ProcessPoolExecutor | None = None

    async def ask(self, request: bytes) -> bytes:
        """
        Raises:
            EventStoreFailed: the process died, twice, or the target failed; its log says how.
            AuterityError: the target's own.
        """
        for _ in range(2):
            pool = self._pool
            if pool is None:
                self._pool = pool = ProcessPoolExecutor(
                    1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
                )
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, _call, self._target, request)
            except BrokenProcessPool:
                if self._pool is pool:
                    self._pool = None
                pool.shutdown(wait=False)
        raise EventStoreFailed("The query process died; try again, with a shorter period.", retry_after=1)

    async def close(self) -> None:
        """End the process; what it is doing is finished first."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)


def _begin(parent: int) -> None:
    """In the child: leave an interrupt at the terminal to the parent, and be the first to give memory back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() != parent:
        os._exit(0)


def _call(target: str, request: bytes) -> bytes:
    # By name, so that the parent never imports what the target needs.
    module, _, name = target.partition(":")
    answer = cast(_Answer, getattr(importlib.import_module(module), name))
    try:
        return answer(request)
    except AuterityError:
        raise
    except Exception:  # noqa: BLE001 - the process's edge: the libraries' own exceptions would load them in the parent
        _log.exception("a question to the event store failed")
        raise EventStoreFailed("The event store cannot answer this; see the server's log.") from None

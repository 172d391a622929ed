"""Hears which tenants' compiled plans are out of date, and when it may have missed it."""

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import URL

from auterity.engines.database.connection import PlainConnection, connect
from auterity.engines.database.errors import DatabaseRefused, DatabaseUnavailable
from auterity.engines.database.sessions import APP_ROLE, PLAN_CHANNEL

__all__ = ["PlanListener"]

_logger = logging.getLogger(__name__)


class PlanListener:
    """Listens on ``PLAN_CHANNEL`` and connects again, ever more patiently, whenever the connection is lost."""

    def __init__(
        self,
        url: str | URL,
        *,
        on_change: Callable[[str], None],
        on_gap: Callable[[], None],
        first_pause_s: float = 0.1,
        longest_pause_s: float = 10.0,
        heartbeat_s: float = 30.0,
    ) -> None:
        """
        Args:
            url: the database.
            on_change: called with the id of a tenant whose plan has changed, or ``*`` for all. Must be quick.
            on_gap: called whenever listening begins, the first time too: what was compiled before may be out of
                date, for notifications are not kept for those who are away.
            first_pause_s: pause after the first failure; it doubles up to ``longest_pause_s``.
            longest_pause_s: the longest pause between attempts.
            heartbeat_s: how often a silent connection is asked whether it still lives.
        """
        self._url = url
        self._on_change = on_change
        self._on_gap = on_gap
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._heartbeat_s = heartbeat_s
        self._listening = False

    @property
    def listening(self) -> bool:
        """Whether changes are heard at this moment."""
        return self._listening

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = self._first_pause_s
        while True:
            try:
                async with connect(self._url, role=APP_ROLE) as connection:
                    pause = self._first_pause_s
                    await self._listen(connection)
            except (DatabaseUnavailable, DatabaseRefused, OSError, TimeoutError) as error:
                _logger.warning("not listening for plan changes, next attempt in %.1f s: %s", pause, error)
            finally:
                self._listening = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._longest_pause_s)

    async def _listen(self, connection: PlainConnection) -> None:
        """Return when the connection is lost."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(PLAN_CHANNEL, lambda _c, _pid, _channel, payload: self._on_change(payload))
        self._listening = True
        self._on_gap()
        while not lost.is_set():
            try:
                await asyncio.wait_for(lost.wait(), self._heartbeat_s)
            except TimeoutError:
                async with asyncio.timeout(self._heartbeat_s):
                    await connection.execute("SELECT 1")

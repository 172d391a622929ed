"""When keys were last used: noted in memory on the path of a call, written in the background."""

import asyncio
import logging
from datetime import UTC, datetime

from auterity.engines.database.sessions import DatabaseUnavailable
from auterity.platform.keys.service import KeyService

__all__ = ["LastUsed"]

_log = logging.getLogger(__name__)


class LastUsed:
    """Collects uses and writes them together; what a lost process had not written is lost, and harms nothing."""

    def __init__(self, keys: KeyService, *, interval_s: float = 15.0) -> None:
        self._keys = keys
        self._interval_s = interval_s
        self._noted: dict[str, int] = {}

    def note(self, key_id: str, at_us: int) -> None:
        """A key was used at this many microseconds since the Unix epoch."""
        self._noted[key_id] = at_us

    async def flush(self) -> None:
        """Write what is noted; with the database away it is kept for the next time."""
        noted, self._noted = self._noted, {}
        try:
            await self._keys.touch({key: datetime.fromtimestamp(us / 1e6, UTC) for key, us in noted.items()})
        except DatabaseUnavailable:
            _log.warning("the last use of %d keys could not be written yet", len(noted))
            self._noted = {**noted, **self._noted}

    async def run(self) -> None:
        """Write every ``interval_s`` seconds until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.flush()

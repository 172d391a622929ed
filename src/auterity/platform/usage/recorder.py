"""The port through which the gateway hands over usage events; the spool (``engines/spool``) stands behind it."""

from typing import Protocol

from auterity.kit.errors import Unavailable
from auterity.platform.usage.event import UsageEvent

__all__ = ["UsageBacklogFull", "UsageRecorder"]


class UsageBacklogFull(Unavailable):
    """No room to record usage (disk full or the collector far behind): nothing may be served unmetered."""

    code = "usage_backlog_full"


class UsageRecorder(Protocol):
    """Never loses an event, never waits for a database."""

    def admit(self) -> None:
        """Claim room for one event before a call goes out. Every claim is ended by one ``record`` or ``withdraw``.

        Raises:
            UsageBacklogFull: there is none.
        """
        ...

    def withdraw(self) -> None:
        """Give a claim back; the call had nothing to record."""
        ...

    async def record(self, event: UsageEvent) -> None:
        """Write the event into the claimed room; on return it survives a ``kill -9`` (strict durability: a power
        cut). Only the strict mode really waits."""
        ...

"""The recorder that writes usage events to the spool."""

import msgspec

from auterity.engines.spool.errors import SpoolFull
from auterity.engines.spool.writer import SpoolWriter
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.recorder import UsageBacklogFull

__all__ = ["SpoolRecorder"]


class SpoolRecorder:
    """A :class:`~auterity.platform.usage.recorder.UsageRecorder` over one process's spool segments."""

    def __init__(self, spool: SpoolWriter, *, strict: bool = False) -> None:
        """``strict`` waits for the disk with each event; give the spool a ``sync_delay_s`` of 0 then."""
        self._spool = spool
        self._strict = strict
        self._encode = msgspec.msgpack.Encoder().encode

    def admit(self) -> None:
        try:
            self._spool.admit()
        except SpoolFull as error:
            raise UsageBacklogFull(error.message, retry_after=error.retry_after) from error

    def withdraw(self) -> None:
        self._spool.withdraw()

    async def record(self, event: UsageEvent) -> None:
        """
        Raises:
            UsageBacklogFull: the disk failed; the event could not be kept.
            FrameTooLarge: the event is longer than a frame, which the limits on tags and names exclude.
        """
        try:
            number = self._spool.append(self._encode(event))
            if self._strict:
                await self._spool.synced(number)
        except SpoolFull as error:
            raise UsageBacklogFull(error.message, retry_after=error.retry_after) from error

"""Time comes in through a ``Clock``, so that tests can move it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the program asks of time."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        ...

    def epoch_us(self) -> int:
        """Microseconds since the Unix epoch."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    monotonic_ns = staticmethod(time.perf_counter_ns)
    """The built-in itself: a call asks for it a dozen times."""

    def epoch_us(self) -> int:
        return time.time_ns() // 1000


class ManualClock:
    """A clock that stands still until it is moved; for tests."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def advance(self, by: timedelta) -> None:
        """Move the clock forward."""
        self._now += by

    def now(self) -> datetime:
        return self._now

    def epoch_us(self) -> int:
        return (self._now - _EPOCH) // timedelta(microseconds=1)

    def monotonic_ns(self) -> int:
        return self.epoch_us() * 1000

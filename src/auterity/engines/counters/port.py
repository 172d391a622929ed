"""Hot counters that all workers share: rate limits and budget reservations.

Adapters: in-process (one worker), a SQLite file (several workers on one node), Redis or Valkey, single or Cluster
(several nodes). Counters are never the truth: they can be rebuilt from the usage roll-ups at any time.
"""

from enum import StrEnum
from typing import Protocol

import msgspec

from auterity.kit.errors import Unavailable

__all__ = ["Counters", "CountersUnavailable", "Rate", "RateDecision", "ReservationDecision", "ReservationStatus"]


class CountersUnavailable(Unavailable):
    """The shared counters cannot be reached."""

    code = "counters_unavailable"


class Rate(msgspec.Struct, frozen=True):
    """``limit`` events per ``period_s`` seconds, refilled evenly (GCRA, ITU-T I.371); a burst may use all of it."""

    limit: int
    period_s: int = 60


class RateDecision(msgspec.Struct, frozen=True):
    """What came of taking from a rate."""

    allowed: bool
    remaining: int
    """Events that could be taken right now, after this one."""
    reset_s: float
    """Seconds until the whole limit is free again."""
    retry_after_s: float
    """Seconds until one event can be taken; 0 where allowed."""


class ReservationStatus(StrEnum):
    HELD = "held"
    REFUSED = "refused"
    UNSEEDED = "unseeded"
    """The counter is unknown here (new, or lost): call :meth:`Counters.seed` with the true figure and try again."""


class ReservationDecision(msgspec.Struct, frozen=True):
    status: ReservationStatus
    available: int
    """What is free after this decision; 0 where unseeded."""


class Counters(Protocol):
    """One atomic step each, on whichever adapter."""

    async def take(self, key: str, rate: Rate) -> RateDecision:
        """Take one event from the rate kept under ``key``."""
        ...

    async def reserve(self, budget: str, reservation: str, amount: int, limit: int, ttl_s: int) -> ReservationDecision:
        """Hold ``amount`` of ``budget`` if spent + held + amount ≤ limit.

        ``reservation`` names the hold; asking again for a name that is held changes nothing and answers HELD. A hold
        that is neither settled nor released within ``ttl_s`` seconds is spent in full: the call may have happened,
        and a hard budget must not be overspent.
        """
        ...

    async def settle(self, budget: str, reservation: str, amount: int) -> None:
        """Replace a hold by the true ``amount`` (0 releases it). Settling twice, or what expired, changes nothing
        more than bringing the spent figure to the truth once."""
        ...

    async def seed(self, budget: str, spent: int, ttl_s: int) -> None:
        """Set what is spent of ``budget`` if the counter is unknown here; it is forgotten after ``ttl_s`` seconds."""
        ...

    async def spent(self, budget: str) -> int | None:
        """What is spent of ``budget`` (holds not counted), or None where the counter is unknown."""
        ...

    async def ping(self) -> None:
        """Return if the counters answer.

        Raises:
            CountersUnavailable: they do not.
        """
        ...

    async def close(self) -> None: ...

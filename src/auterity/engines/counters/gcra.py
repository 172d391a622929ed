"""The rate limit's arithmetic: one step of the generic cell rate algorithm, in whole numbers.

ITU-T I.371 gives two equivalent forms. This is the second, the continuous-state leaky bucket, because it stays exact
where the first (a theoretical arrival time) has to divide the period by the limit. The bucket holds ``limit`` events;
its level is counted in event-periods, i.e. events × the period in microseconds, so that a microsecond drains exactly
``limit`` of them.
"""

from auterity.engines.counters.errors import AmountOutOfRange
from auterity.engines.counters.port import Rate, RateDecision

__all__ = ["MAX_CAPACITY", "Bucket", "drained_us", "step"]

Bucket = tuple[int, int]
"""The level, in event-periods, and the microsecond at which it was so."""

MAX_CAPACITY = 2**62
"""In event-periods: what fits a 64-bit column with room for one event more. Fifty million a day is far below it."""


def step(bucket: Bucket | None, now_us: int, rate: Rate) -> tuple[Bucket | None, RateDecision]:
    """Take one event at ``now_us``; return the bucket to keep (None: unchanged) and the decision.

    Raises:
        AmountOutOfRange: limit times period is beyond what a counter can keep.
    """
    limit = rate.limit
    period_us = rate.period_s * 1_000_000
    if limit <= 0:
        return None, RateDecision(False, 0, float(rate.period_s), float(rate.period_s))
    capacity = limit * period_us
    if capacity > MAX_CAPACITY:
        raise AmountOutOfRange(f"A rate of {limit} in {rate.period_s} seconds is too large to be kept.")
    level, at_us = bucket or (0, now_us)
    if now_us > at_us:
        level = max(0, level - (now_us - at_us) * limit)
    level = min(level, capacity)  # the limit may have been lowered meanwhile
    filled = level + period_us
    if filled > capacity:
        wait_us = -((capacity - filled) // limit)
        # Where the clock went back, as it does when the machine is started again, the bucket drains from now on.
        return (level, now_us) if now_us < at_us else None, RateDecision(False, 0, level / limit / 1e6, wait_us / 1e6)
    return (filled, now_us), RateDecision(True, (capacity - filled) // period_us, filled / limit / 1e6, 0.0)


def drained_us(bucket: Bucket, limit: int) -> int:
    """The microsecond from which the bucket is empty, i.e. no different from one that was never used."""
    level, at_us = bucket
    return at_us - (-level // limit)

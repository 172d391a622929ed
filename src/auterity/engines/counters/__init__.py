"""Hot counters that all workers share: see ``port`` for what they promise, ``selection`` for how one is chosen."""

from auterity.engines.counters.selection import counters_for

__all__ = ["counters_for"]

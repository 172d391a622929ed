"""What keys have spent, from the roll-ups: the truth that budget counters are seeded with."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from sqlalchemy import func, select

from auterity.engines.database.sessions import Database
from auterity.kit.clock import Clock, SystemClock
from auterity.kit.errors import Unavailable
from auterity.platform.usage.models import usage_daily

__all__ = ["Spending", "UsageUnsettled"]


class UsageUnsettled(Unavailable):
    """What was spent is not known exactly yet, so no budget can begin at it."""

    code = "usage_unsettled"


class Spending:
    """Money spent by calendar month, UTC. A call counts in the month in which it began."""

    def __init__(
        self, database: Database, clock: Clock | None = None, *, settled: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """
        Args:
            settled: says whether the roll-ups hold all that was spent before; until they do, nobody is told a figure.
        """
        self._database = database
        self._clock = clock or SystemClock()
        self._settled = settled

    async def month_to_date(self, tenant_id: str, key_id: str, at: datetime | None = None) -> int:
        """Nano-dollars that the key has spent in the month of ``at`` (None: now).

        What is still in the spool, half a second's calls as a rule, is not in it: a worker that starts waits for
        :class:`~auterity.platform.usage.backlog.Backlog` first.

        Raises:
            UsageUnsettled: earlier usage is not in the roll-ups yet.
        """
        if self._settled is not None:
            if not await self._settled():
                raise UsageUnsettled(
                    "Earlier usage is still being added up, and this key has a budget. Try again shortly.",
                    retry_after=1,
                )
            self._settled = None
        moment = at or self._clock.now()
        begin = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
        row = usage_daily.c
        query = select(func.coalesce(func.sum(row.cost_nano), 0)).where(
            row.tenant_id == tenant_id, row.key_id == key_id, row.starts_at >= begin, row.starts_at < end
        )
        async with self._database.tenant(tenant_id) as scope:
            return int(await scope.session.scalar(query) or 0)

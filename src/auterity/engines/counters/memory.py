"""Counters inside the process: for one worker, and for tests."""

from collections import OrderedDict
from heapq import heapify, heappop, heappush

from auterity.engines.counters.errors import check_amount
from auterity.engines.counters.gcra import Bucket, drained_us, step
from auterity.engines.counters.port import Rate, RateDecision, ReservationDecision, ReservationStatus
from auterity.kit.clock import Clock, SystemClock

__all__ = ["MemoryCounters"]

_UNSEEDED = ReservationDecision(ReservationStatus.UNSEEDED, 0)
_STALE_DEADLINES = 1024


class _Hold:
    """One reservation: held until ``due_us``, then spent and kept as long again, for a settlement that comes late."""

    __slots__ = ("amount", "due_us", "expired", "ttl_us")

    def __init__(self, amount: int, due_us: int, ttl_us: int) -> None:
        self.amount = amount
        self.due_us = due_us
        self.ttl_us = ttl_us
        self.expired = False


class _Budget:
    """What is known of one budget."""

    __slots__ = ("due_us", "held", "holds", "spent")

    def __init__(self, spent: int, due_us: int) -> None:
        self.spent = spent
        self.held = 0
        self.due_us = due_us
        self.holds: dict[str, _Hold] = {}


class MemoryCounters:
    """An adapter of :class:`~auterity.engines.counters.port.Counters` over dictionaries.

    Deadlines of holds and budgets stand in one heap. What is settled leaves its deadline behind; when those outnumber
    the live ones the heap is built anew, so memory follows the live reservations and not the traffic.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._monotonic_ns = (clock or SystemClock()).monotonic_ns
        self._rates: OrderedDict[str, tuple[Bucket, int]] = OrderedDict()
        self._budgets: dict[str, _Budget] = {}
        self._deadlines: list[tuple[int, str, str]] = []
        """(microsecond, budget, reservation); the reservation is empty where the budget itself is meant."""
        self._live = 0

    async def take(self, key: str, rate: Rate) -> RateDecision:
        now_us = self._monotonic_ns() // 1000
        entry = self._rates.get(key)
        if entry is None:
            self._forget_idle_rates(now_us)
            bucket, decision = step(None, now_us, rate)
        else:
            bucket, decision = step(entry[0], now_us, rate)
        if bucket is not None:
            self._rates[key] = (bucket, rate.limit)
        return decision

    async def reserve(self, budget: str, reservation: str, amount: int, limit: int, ttl_s: int) -> ReservationDecision:
        check_amount(amount, limit)
        now_us = self._monotonic_ns() // 1000
        if self._deadlines and self._deadlines[0][0] <= now_us:
            self._expire(now_us)
        state = self._budgets.get(budget)
        if state is None:
            return _UNSEEDED
        free = limit - state.spent - state.held
        if reservation in state.holds:
            return ReservationDecision(ReservationStatus.HELD, max(0, free))
        if amount > free:
            return ReservationDecision(ReservationStatus.REFUSED, max(0, free))
        ttl_us = ttl_s * 1_000_000
        due_us = now_us + ttl_us
        state.held += amount
        state.holds[reservation] = _Hold(amount, due_us, ttl_us)
        self._live += 1
        heappush(self._deadlines, (due_us, budget, reservation))
        return ReservationDecision(ReservationStatus.HELD, free - amount)

    async def settle(self, budget: str, reservation: str, amount: int) -> None:
        check_amount(amount)
        self._expire(self._monotonic_ns() // 1000)
        state = self._budgets.get(budget)
        if state is None:
            return
        hold = state.holds.pop(reservation, None)
        if hold is None:
            return
        if hold.expired:
            state.spent += amount - hold.amount
        else:
            state.held -= hold.amount
            state.spent += amount
        self._live -= 1
        if len(self._deadlines) > 2 * self._live + _STALE_DEADLINES:
            self._rebuild_deadlines()

    async def seed(self, budget: str, spent: int, ttl_s: int) -> None:
        check_amount(spent)
        now_us = self._monotonic_ns() // 1000
        self._expire(now_us)
        if budget not in self._budgets:
            due_us = now_us + ttl_s * 1_000_000
            self._budgets[budget] = _Budget(spent, due_us)
            self._live += 1
            heappush(self._deadlines, (due_us, budget, ""))

    async def spent(self, budget: str) -> int | None:
        self._expire(self._monotonic_ns() // 1000)
        state = self._budgets.get(budget)
        return None if state is None else state.spent

    async def ping(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _expire(self, now_us: int) -> None:
        """Forget budgets whose time is over; spend holds that fell due, then forget them too."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now_us:
            due_us, budget, reservation = heappop(deadlines)
            state = self._budgets.get(budget)
            if state is None:
                continue
            if not reservation:
                if state.due_us == due_us:
                    del self._budgets[budget]
                    self._live -= 1 + len(state.holds)
                continue
            hold = state.holds.get(reservation)
            if hold is None or hold.due_us != due_us:
                continue
            if hold.expired:
                del state.holds[reservation]
                self._live -= 1
                continue
            hold.expired = True
            hold.due_us = now_us + hold.ttl_us
            state.held -= hold.amount
            state.spent += hold.amount
            heappush(deadlines, (hold.due_us, budget, reservation))

    def _rebuild_deadlines(self) -> None:
        self._deadlines = [
            (hold.due_us, budget, reservation)
            for budget, state in self._budgets.items()
            for reservation, hold in state.holds.items()
        ]
        self._deadlines += [(state.due_us, budget, "") for budget, state in self._budgets.items()]
        heapify(self._deadlines)

    def _forget_idle_rates(self, now_us: int) -> None:
        """Look at the two oldest rates for each new one, so that drained ones leave as fast as new ones come."""
        rates = self._rates
        for _ in range(min(2, len(rates))):
            key, entry = rates.popitem(last=False)
            if drained_us(entry[0], entry[1]) > now_us:
                rates[key] = entry

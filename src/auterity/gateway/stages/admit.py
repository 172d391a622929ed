"""admit: room to record, the key's rate, a well-formed request, and its cost set aside.

The order matters: what is cheap to refuse is refused first, and a refused request still counts against the rate.
"""

from typing import Protocol

from auterity.domains.cost.reservation import ceiling
from auterity.engines.counters.port import Counters, CountersUnavailable, Rate, ReservationStatus
from auterity.gateway.errors import BudgetExceeded, RateLimitExceeded
from auterity.gateway.exchange import Exchange, Hold
from auterity.gateway.wire import openai
from auterity.gateway.wire.headers import reset_text
from auterity.gateway.wire.tags import header_tags, merge_tags
from auterity.kit.clock import Clock
from auterity.kit.money import format_dollars
from auterity.platform.keys.plan import KeyPlan
from auterity.platform.usage.recorder import UsageRecorder

__all__ = ["Admit", "SpentSoFar"]

_MONTH_S = 40 * 24 * 3600
"""A month's counter is kept a little longer than its month."""
_HOLD_S = 3600
"""Longer than any call may take."""


_MEDIA = (b'"image_url"', b'"input_audio"', b'"file"')


class SpentSoFar(Protocol):
    """The truth behind the counters: what the roll-ups say a key has spent."""

    async def month_to_date(self, tenant_id: str, key_id: str) -> int:
        """Nano-dollars in the present calendar month (UTC)."""
        ...


class Admit:
    """Lets a call in, or says why not."""

    def __init__(
        self, recorder: UsageRecorder, counters: Counters, local: Counters, spent: SpentSoFar, clock: Clock
    ) -> None:
        """
        Args:
            recorder: where the call's event will go.
            counters: shared by all workers.
            local: this process's own, for rates while the shared ones are away.
            spent: seeds a budget's counter.
            clock: decides the month.
        """
        self._recorder = recorder
        self._counters = counters
        self._local = local
        self._spent = spent
        self._clock = clock

    async def __call__(self, exchange: Exchange) -> None:
        key = exchange.holder
        self._recorder.admit()
        exchange.claimed = True
        if key.requests_per_minute is not None:
            await self._take(exchange, key.id, key.requests_per_minute)
        await self._read(exchange, key)
        if key.monthly_budget_nano is not None:
            await self._reserve(exchange, key, key.monthly_budget_nano)

    async def _take(self, exchange: Exchange, key_id: str, per_minute: int) -> None:
        rate = Rate(per_minute)
        name = f"rpm:{key_id}"
        try:
            decision = await self._counters.take(name, rate)
        except CountersUnavailable:
            # Without the shared counters each worker keeps the whole rate by itself: too generous, never an outage.
            decision = await self._local.take(name, rate)
        exchange.rate = decision
        if not decision.allowed:
            raise RateLimitExceeded(
                f"Rate limit reached for this key: {per_minute} requests per minute. "
                f"Try again in {reset_text(decision.retry_after_s)}.",
                retry_after=decision.retry_after_s,
            )

    async def _read(self, exchange: Exchange, key: KeyPlan) -> None:
        exchange.body = await exchange.request.body()
        inbound = exchange.inbound = openai.parse(exchange.endpoint, exchange.body)
        header = exchange.request.headers.get(b"x-auterity-tags")
        exchange.tags = merge_tags(key.tags, header_tags(header) if header else {}, inbound.tags)
        if exchange.plan is not None:
            exchange.model = exchange.plan.models.get(inbound.call.model)

    async def _reserve(self, exchange: Exchange, key: KeyPlan, limit: int) -> None:
        model, inbound = exchange.model, exchange.inbound
        if model is None or inbound is None:
            return  # there is nothing to call: a later stage says so
        body = exchange.body
        amount = ceiling(
            model.deployments,
            body_bytes=len(body),
            refers_to_media=any(kind in body for kind in _MEDIA),
            max_output_tokens=inbound.max_output_tokens,
            choices=inbound.choices,
        )
        if not amount:
            return  # free models stay usable when nothing is left
        budget = f"budget:{key.id}:{self._clock.now():%Y-%m}"
        decision = await self._counters.reserve(budget, exchange.id, amount, limit, _HOLD_S)
        if decision.status is ReservationStatus.UNSEEDED:
            spent = await self._spent.month_to_date(key.tenant_id, key.id)
            await self._counters.seed(budget, spent, _MONTH_S)
            decision = await self._counters.reserve(budget, exchange.id, amount, limit, _HOLD_S)
        if decision.status is not ReservationStatus.HELD:
            raise BudgetExceeded(
                f"This key's monthly budget of ${format_dollars(limit)} leaves ${format_dollars(decision.available)}; "
                f"this call could cost up to ${format_dollars(amount)}. Ask for fewer tokens, or for a larger budget."
            )
        exchange.hold = Hold(budget, amount)

"""admit: room to record, the key's rate, a well-formed request, and its cost set aside.

The order matters: what is cheap to refuse is refused first, and a refused request still counts against the rate.
"""

from datetime import UTC, datetime
from typing import Protocol

from auterity.domains.cost.reservation import ceiling
from auterity.engines.counters.port import Counters, CountersUnavailable, ReservationStatus
from auterity.gateway.errors import BudgetExceeded, RateLimitExceeded
from auterity.gateway.exchange import Exchange, Hold
from auterity.gateway.inbound import Inbound
from auterity.gateway.wire import openai
from auterity.gateway.wire.headers import per_minute_rate, reset_text
from auterity.gateway.wire.tags import header_tags, merge_tags
from auterity.kit.money import format_dollars
from auterity.platform.keys.plan import KeyPlan
from auterity.platform.models.plan import ModelPlan
from auterity.platform.usage.recorder import UsageRecorder

__all__ = ["Admit", "SpentSoFar"]

_MONTH_S = 40 * 24 * 3600
"""A month's counter is kept a little longer than its month."""
_DAY_US = 86_400_000_000
_HOLD_S = 3600
"""Longer than any call may take."""


class SpentSoFar(Protocol):
    """The truth behind the counters: what the roll-ups say a key has spent."""

    async def month_to_date(self, tenant_id: str, key_id: str) -> int:
        """Nano-dollars in the present calendar month (UTC)."""
        ...


class Admit:
    """Lets a call in, or says why not."""

    def __init__(
        self, recorder: UsageRecorder, counters: Counters, local: Counters, spent: SpentSoFar, *, body_limit: int
    ) -> None:
        """
        Args:
            recorder: where the call's event will go.
            counters: shared by all workers.
            local: this process's own, for rates while the shared ones are away.
            spent: seeds a budget's counter.
            body_limit: the longest request body, in bytes.
        """
        self._recorder = recorder
        self._counters = counters
        self._local = local
        self._spent = spent
        self._body_limit = body_limit
        self._day = -1
        self._month_text = ""

    async def __call__(self, exchange: Exchange) -> None:
        key = exchange.holder
        self._recorder.admit()
        exchange.claimed = True
        if key.requests_per_minute is not None:
            await self._take(exchange, key.id, key.requests_per_minute)
        body = exchange.body = await exchange.request.read(self._body_limit)
        inbound = exchange.inbound = openai.parse(exchange.endpoint, body)
        header = exchange.request.headers.get(b"x-auterity-tags")
        exchange.tags = merge_tags(key.tags, header_tags(header) if header else {}, inbound.tags)
        if exchange.plan is not None:
            exchange.model = exchange.plan.models.get(inbound.call.model)
        if key.monthly_budget_nano is not None and exchange.model is not None:
            await self._reserve(exchange, key, key.monthly_budget_nano, self._most(exchange.model, inbound, body))

    async def _take(self, exchange: Exchange, key_id: str, per_minute: int) -> None:
        rate = per_minute_rate(per_minute)
        name = "rpm:" + key_id
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

    @staticmethod
    def _most(model: ModelPlan, inbound: Inbound, body: bytes) -> int:
        return ceiling(
            model.deployments,
            body_bytes=len(body),
            refers_to_media=b'"image_url"' in body or b'"input_audio"' in body or b'"file"' in body,
            max_output_tokens=inbound.max_output_tokens,
            choices=inbound.choices,
        )

    async def _reserve(self, exchange: Exchange, key: KeyPlan, limit: int, amount: int) -> None:
        if not amount:
            return  # free models stay usable when nothing is left
        budget = f"budget:{key.id}:{self._month(exchange.started_us)}"
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

    def _month(self, epoch_us: int) -> str:
        """The call's calendar month in UTC, such as ``2026-11``; worked out once a day."""
        day = epoch_us // _DAY_US
        if day != self._day:
            self._day = day
            self._month_text = f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m}"
        return self._month_text

"""The tenant plan: all that the data plane needs to know of a tenant, compiled once and immutable.

The path of a call does no database read; it looks here. :class:`PlanCache` keeps the plans of the tenants that call,
reloads a plan when a NOTIFY says that it is out of date, and goes on with the old one when the database is away.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from auterity.engines.database.sessions import DatabaseUnavailable
from auterity.kit.clock import Clock
from auterity.platform.keys.plan import KeyPlan
from auterity.platform.models.plan import ModelPlan

__all__ = ["PlanCache", "PlanLoader", "TenantPlan"]


@dataclass(frozen=True, slots=True)
class TenantPlan:
    """One tenant, compiled."""

    tenant_id: str
    suspended: bool
    models: Mapping[str, ModelPlan]
    valid_until: datetime | None = None
    """From then on another price may apply somewhere."""


class PlanLoader(Protocol):
    """Reads plans from the database; the cold path."""

    async def key(self, secret_hash: bytes) -> KeyPlan | None:
        """The virtual key with this hash, expired and revoked ones included."""
        ...

    async def tenant(self, tenant_id: str) -> TenantPlan:
        """The tenant's plan."""
        ...


Value = TypeVar("Value")

_NOBODY = ""
"""Owner of the keys that do not exist."""


class _Slot(Generic[Value]):
    __slots__ = ("fresh_until_ns", "owner", "serial", "value")

    def __init__(self, value: Value, owner: str, serial: int, fresh_until_ns: int) -> None:
        self.value = value
        self.owner = owner
        self.serial = serial
        self.fresh_until_ns = fresh_until_ns


class _Shelf(Generic[Value]):
    """An LRU of values that go stale, with one load at a time for each.

    Changes are numbered; a value is fresh while no change of its owner came after its load began. That makes
    announcing a change O(1), however many values there are.
    """

    _OWNERS_REMEMBERED = 10_000

    def __init__(
        self,
        load: Callable[[str], Awaitable[Value]],
        *,
        owner: Callable[[Value], str],
        valid_until: Callable[[Value], datetime | None],
        clock: Clock,
        capacity: int,
        fresh_ns: int,
    ) -> None:
        self._load = load
        self._owner = owner
        self._valid_until = valid_until
        self._clock = clock
        self._capacity = capacity
        self._fresh_ns = fresh_ns
        self._slots: OrderedDict[str, _Slot[Value]] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Value]] = {}
        self._serial = 0
        self._all_changed = 0
        self._changed: dict[str, int] = {}

    def fresh(self, name: str) -> _Slot[Value] | None:
        slot = self._slots.get(name)
        if (
            slot is None
            or slot.serial < self._all_changed
            or slot.serial < self._changed.get(slot.owner, 0)
            or slot.fresh_until_ns < self._clock.monotonic_ns()
        ):
            return None
        self._slots.move_to_end(name)
        return slot

    async def get(self, name: str) -> Value:
        """Load the value, or join the load that is under way; with the database away, the stale one."""
        loading = self._loading.get(name)
        if loading is None:
            loading = asyncio.create_task(self._refresh(name))
            self._loading[name] = loading
            loading.add_done_callback(lambda done: self._loaded(name, done))
        try:
            # Shielded: the load serves everyone who waits, not only the caller that happens to leave.
            return await asyncio.shield(loading)
        except DatabaseUnavailable:
            slot = self._slots.get(name)
            if slot is None:
                raise
            return slot.value

    def changed(self, owner: str) -> None:
        self._serial += 1
        if len(self._changed) >= self._OWNERS_REMEMBERED:
            self._changed.clear()
            self._all_changed = self._serial
        self._changed[owner] = self._serial
        # Loads under way began before the change: whoever asks from now on must not join them.
        self._loading.clear()

    def all_changed(self) -> None:
        self._serial += 1
        self._all_changed = self._serial
        self._changed.clear()
        self._loading.clear()

    async def _refresh(self, name: str) -> Value:
        serial = self._serial
        value = await self._load(name)
        fresh_ns = self._fresh_ns
        ends = self._valid_until(value)
        if ends is not None:
            fresh_ns = min(fresh_ns, int((ends - self._clock.now()).total_seconds() * 1e9))
        fresh_until_ns = self._clock.monotonic_ns() + fresh_ns
        self._slots[name] = _Slot(value, self._owner(value), serial, fresh_until_ns)
        self._slots.move_to_end(name)
        while len(self._slots) > self._capacity:
            self._slots.popitem(last=False)
        return value

    def _loaded(self, name: str, done: asyncio.Task[Value]) -> None:
        if self._loading.get(name) is done:
            del self._loading[name]
        if not done.cancelled():
            done.exception()  # each waiter has it; nobody waiting is no reason to warn


class PlanCache:
    """Plans of the tenants and keys that call, at hand in the process."""

    def __init__(
        self,
        loader: PlanLoader,
        clock: Clock,
        *,
        tenants: int = 10_000,
        keys: int = 100_000,
        fresh_s: float = 60.0,
    ) -> None:
        """
        Args:
            loader: reads what is not at hand.
            clock: decides what is stale.
            tenants: plans kept.
            keys: keys kept, unknown ones included, so that guessing does not reach the database twice.
            fresh_s: a plan older than this is read again even if no change was announced.
        """
        fresh_ns = int(fresh_s * 1e9)
        self._loader = loader
        self._keys: _Shelf[KeyPlan | None] = _Shelf(
            self._load_key,
            owner=lambda key: key.tenant_id if key else _NOBODY,
            valid_until=lambda _: None,
            clock=clock,
            capacity=keys,
            fresh_ns=fresh_ns,
        )
        self._tenants: _Shelf[TenantPlan] = _Shelf(
            loader.tenant,
            owner=lambda plan: plan.tenant_id,
            valid_until=lambda plan: plan.valid_until,
            clock=clock,
            capacity=tenants,
            fresh_ns=fresh_ns,
        )

    async def _load_key(self, name: str) -> KeyPlan | None:
        return await self._loader.key(bytes.fromhex(name))

    def at_hand(self, secret_hash: bytes) -> tuple[KeyPlan, TenantPlan] | None:
        """The key with this hash and its tenant's plan, where both are fresh: what nearly every call finds."""
        key = self._keys.fresh(secret_hash.hex())
        if key is None or key.value is None:
            return None
        plan = self._tenants.fresh(key.value.tenant_id)
        return None if plan is None else (key.value, plan.value)

    async def find(self, secret_hash: bytes) -> tuple[KeyPlan, TenantPlan] | None:
        """The key with this hash and its tenant's plan, read where they are not at hand; None: there is no such key.

        Raises:
            DatabaseUnavailable: they are not at hand and cannot be read.
        """
        name = secret_hash.hex()
        slot = self._keys.fresh(name)
        key = slot.value if slot is not None else await self._keys.get(name)
        if key is None:
            return None
        plan = self._tenants.fresh(key.tenant_id)
        return key, plan.value if plan is not None else await self._tenants.get(key.tenant_id)

    def changed(self, tenant_id: str) -> None:
        """What is known of this tenant is out of date (``*``: of all). It is read again on next use."""
        if tenant_id == "*":
            self._keys.all_changed()
            self._tenants.all_changed()
            return
        self._tenants.changed(tenant_id)
        self._keys.changed(tenant_id)
        self._keys.changed(_NOBODY)  # an unknown key may be one that was just made

"""Plans are at hand, fresh after a change, and still there when the database is not."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from auterity.engines.database.sessions import DatabaseUnavailable
from auterity.gateway.plan import PlanCache, TenantPlan
from auterity.kit.clock import ManualClock
from auterity.platform.keys.plan import KeyPlan

HASH = b"\x01" * 32
HASHES = {f"ten_{number}": bytes([number]) * 32 for number in (1, 2, 3)}


class Rows:
    """A loader that counts its reads, can be away and can be held up."""

    def __init__(self) -> None:
        self.keys: dict[bytes, KeyPlan] = {
            secret: KeyPlan(f"key_of_{tenant}", tenant, "first", "") for tenant, secret in HASHES.items()
        }
        self.suspended = False
        self.prices_change_at: datetime | None = None
        self.key_reads = 0
        self.tenant_reads = 0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.reading = asyncio.Event()

    async def key(self, secret_hash: bytes) -> KeyPlan | None:
        self.key_reads += 1
        self.reading.set()
        if self.away:
            raise DatabaseUnavailable("away")
        found = self.keys.get(secret_hash)
        await self.gate.wait()
        return found

    async def tenant(self, tenant_id: str) -> TenantPlan:
        self.tenant_reads += 1
        if self.away:
            raise DatabaseUnavailable("away")
        return TenantPlan(tenant_id, self.suspended, {}, self.prices_change_at)


async def tenant_of(plans: PlanCache, tenant_id: str) -> TenantPlan:
    found = plans.at_hand(HASHES[tenant_id]) or await plans.find(HASHES[tenant_id])
    assert found is not None
    return found[1]


async def key_of(plans: PlanCache, secret_hash: bytes) -> KeyPlan | None:
    found = plans.at_hand(secret_hash) or await plans.find(secret_hash)
    return found[0] if found else None


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def plans(rows: Rows, clock: ManualClock) -> PlanCache:
    return PlanCache(rows, clock, tenants=2, keys=3, fresh_s=60)


async def test_a_plan_is_read_once(plans: PlanCache, rows: Rows) -> None:
    for _ in range(5):
        assert await key_of(plans, HASH) is rows.keys[HASH]
    assert rows.key_reads == 1


async def test_a_thousand_callers_at_once_read_once(plans: PlanCache, rows: Rows) -> None:
    await asyncio.gather(*(key_of(plans, HASH) for _ in range(1000)))
    assert rows.key_reads == 1


async def test_an_unknown_key_is_remembered_as_unknown_until_something_changes(plans: PlanCache, rows: Rows) -> None:
    other = b"\x09" * 32
    assert await key_of(plans, other) is None
    assert await key_of(plans, other) is None
    assert rows.key_reads == 1
    rows.keys[other] = KeyPlan("key_9", "ten_2", "second", "")
    plans.changed("ten_2")
    assert await key_of(plans, other) is rows.keys[other]


async def test_a_change_reaches_the_next_caller(plans: PlanCache, rows: Rows) -> None:
    assert not (await tenant_of(plans, "ten_1")).suspended
    rows.suspended = True
    assert not (await tenant_of(plans, "ten_1")).suspended
    plans.changed("ten_1")
    assert (await tenant_of(plans, "ten_1")).suspended


async def test_a_change_of_one_tenant_leaves_the_others_at_hand(plans: PlanCache, rows: Rows) -> None:
    await tenant_of(plans, "ten_1")
    plans.changed("ten_2")
    await tenant_of(plans, "ten_1")
    assert rows.tenant_reads == 1


async def test_a_change_during_a_read_is_not_lost(plans: PlanCache, rows: Rows) -> None:
    rows.gate.clear()
    first = asyncio.create_task(key_of(plans, HASH))
    await rows.reading.wait()
    rows.keys[HASH] = KeyPlan("key_1", "ten_1", "first", "", revoked=True)
    plans.changed("ten_1")
    rows.gate.set()
    await first
    assert (await key_of(plans, HASH)) is rows.keys[HASH]


async def test_an_old_plan_is_read_again(plans: PlanCache, rows: Rows, clock: ManualClock) -> None:
    await key_of(plans, HASH)
    clock.advance(timedelta(seconds=61))
    await key_of(plans, HASH)
    assert rows.key_reads == 2


async def test_a_plan_is_read_again_when_its_prices_change(plans: PlanCache, rows: Rows, clock: ManualClock) -> None:
    rows.prices_change_at = clock.now() + timedelta(seconds=10)
    await tenant_of(plans, "ten_1")
    clock.advance(timedelta(seconds=9))
    await tenant_of(plans, "ten_1")
    assert rows.tenant_reads == 1
    clock.advance(timedelta(seconds=2))
    await tenant_of(plans, "ten_1")
    assert rows.tenant_reads == 2


async def test_with_the_database_away_the_old_plan_serves(plans: PlanCache, rows: Rows) -> None:
    known = await key_of(plans, HASH)
    rows.away = True
    plans.changed("*")
    assert await key_of(plans, HASH) is known
    with pytest.raises(DatabaseUnavailable):
        await key_of(plans, b"\x08" * 32)


async def test_a_caller_that_leaves_does_not_take_the_read_from_the_others(plans: PlanCache, rows: Rows) -> None:
    rows.gate.clear()
    leaving = asyncio.create_task(key_of(plans, HASH))
    staying = asyncio.create_task(key_of(plans, HASH))
    await rows.reading.wait()
    leaving.cancel()
    rows.gate.set()
    assert await staying is rows.keys[HASH]


async def test_only_so_many_are_kept(plans: PlanCache, rows: Rows) -> None:
    for tenant in ("ten_1", "ten_2", "ten_3"):
        await tenant_of(plans, tenant)
    await tenant_of(plans, "ten_3")
    assert rows.tenant_reads == 3
    await tenant_of(plans, "ten_1")
    assert rows.tenant_reads == 4

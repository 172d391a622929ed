"""The life of a virtual key: made, found, changed, rotated, revoked, and told to every worker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pytest_asyncio
from pydantic import SecretStr, ValidationError
from sqlalchemy import text

from auterity.engines.counters.errors import MAX_AMOUNT
from auterity.engines.database.listen import PlanListener
from auterity.engines.database.sessions import Database
from auterity.kit.clock import ManualClock
from auterity.kit.errors import InvalidRequest
from auterity.kit.ids import new_id
from auterity.kit.money import nanos
from auterity.platform.keys.errors import KeyNotFound, KeyRevoked, OwnerUnknown, SecretRefused
from auterity.platform.keys.schemas import KeyCreate, KeyPatch
from auterity.platform.keys.secret import hash_secret, is_well_formed
from auterity.platform.keys.service import KeyService

_PEPPER = b"p" * 32
_START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(_START)


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> KeyService:
    return KeyService(database, pepper=_PEPPER, clock=clock)


async def _make_member(database: Database, tenant_id: str, email: str) -> str:
    user_id = new_id("usr")
    async with database.platform() as scope:
        await scope.session.execute(text("INSERT INTO users (id, email) VALUES (:id, :e)"), {"id": user_id, "e": email})
        await scope.session.execute(
            text("INSERT INTO memberships (tenant_id, user_id, roles) VALUES (:t, :u, '{developer}')"),
            {"t": tenant_id, "u": user_id},
        )
    return user_id


async def test_a_key_is_found_by_its_secret_with_all_its_rights(
    keys: KeyService, database: Database, tenant_id: str
) -> None:
    owner = await _make_member(database, tenant_id, "ann@acme.example")
    made = await keys.create(
        tenant_id,
        KeyCreate(
            name=" Batch jobs ",
            user_id=owner,
            allowed_models=["fast", "cheap"],
            requests_per_minute=60,
            monthly_budget_usd=Decimal("12.50"),
            expires_at=_START + timedelta(days=30),
            tags={"team": "search"},
        ),
    )
    assert is_well_formed(made.secret)
    plan = await keys.find_by_secret(made.secret)
    assert plan is not None
    assert (plan.id, plan.tenant_id, plan.name, plan.user_id) == (made.key.id, tenant_id, "Batch jobs", owner)
    assert plan.allowed_models == {"fast", "cheap"}
    assert plan.requests_per_minute == 60
    assert plan.monthly_budget_nano == 12_500_000_000
    assert plan.expires_at == _START + timedelta(days=30)
    assert plan.revoked is False
    assert plan.tags == {"team": "search"}
    assert await keys.find_by_secret(made.secret + "x") is None


async def test_the_secret_itself_is_stored_nowhere(keys: KeyService, database: Database, tenant_id: str) -> None:
    made = await keys.create(tenant_id, KeyCreate(name="k"))
    async with database.tenant(tenant_id) as scope:
        rows = (await scope.session.execute(text("SELECT k::text, s::text FROM virtual_keys k, key_secrets s"))).all()
        stored = await scope.session.scalar(text("SELECT hash FROM key_secrets"))
    assert made.secret not in str(rows)
    assert made.secret.removeprefix("ak-")[:20] not in str(rows)
    assert stored == hash_secret(_PEPPER, made.secret)


async def test_another_tenant_can_do_nothing_with_a_key(keys: KeyService, tenant_id: str, other_tenant_id: str) -> None:
    key_id = (await keys.create(tenant_id, KeyCreate(name="k"))).key.id
    assert (await keys.list(other_tenant_id)).keys == ()
    for attempt in (
        keys.get(other_tenant_id, key_id),
        keys.update(other_tenant_id, key_id, KeyPatch(name="mine")),
        keys.rotate(other_tenant_id, key_id),
        keys.revoke(other_tenant_id, key_id),
    ):
        with pytest.raises(KeyNotFound):
            await attempt
    assert (await keys.get(tenant_id, key_id)).name == "k"


async def test_only_the_presented_key_is_seen_in_a_look_up(
    keys: KeyService, database: Database, tenant_id: str, other_tenant_id: str
) -> None:
    made = [await keys.create(tenant, KeyCreate(name="k")) for tenant in (tenant_id, tenant_id, other_tenant_id)]
    async with database.key_lookup(hash_secret(_PEPPER, made[0].secret)) as scope:
        assert list(await scope.session.scalars(text("SELECT id FROM virtual_keys"))) == [made[0].key.id]
        assert await scope.session.scalar(text("SELECT count(*) FROM key_secrets")) == 1
    async with database.unscoped() as scope:
        assert await scope.session.scalar(text("SELECT count(*) FROM virtual_keys")) == 0
        assert await scope.session.scalar(text("SELECT count(*) FROM key_secrets")) == 0


async def test_only_a_member_can_own_a_key(
    keys: KeyService, database: Database, tenant_id: str, other_tenant_id: str
) -> None:
    stranger = await _make_member(database, other_tenant_id, "bob@globex.example")
    with pytest.raises(OwnerUnknown):
        await keys.create(tenant_id, KeyCreate(name="k", user_id=stranger))
    made = await keys.create(tenant_id, KeyCreate(name="k"))
    with pytest.raises(OwnerUnknown):
        await keys.update(tenant_id, made.key.id, KeyPatch(user_id=stranger))


async def test_a_patch_changes_what_it_names_and_null_takes_a_limit_away(keys: KeyService, tenant_id: str) -> None:
    made = await keys.create(
        tenant_id, KeyCreate(name="k", requests_per_minute=5, monthly_budget_usd=Decimal(3), allowed_models=["a"])
    )
    changed = await keys.update(tenant_id, made.key.id, KeyPatch(name="renamed", requests_per_minute=None))
    assert (changed.name, changed.requests_per_minute) == ("renamed", None)
    assert (changed.monthly_budget_nano, changed.allowed_models) == (3_000_000_000, ["a"])
    plan = await keys.find_by_secret(made.secret)
    assert plan is not None
    assert plan.requests_per_minute is None
    with pytest.raises(ValidationError, match="cannot be null"):
        KeyPatch(name=None)


async def test_a_revoked_key_is_found_marked_and_stays_revoked(
    keys: KeyService, clock: ManualClock, tenant_id: str
) -> None:
    made = await keys.create(tenant_id, KeyCreate(name="k"))
    first = (await keys.revoke(tenant_id, made.key.id)).revoked_at
    clock.advance(timedelta(hours=1))
    assert (await keys.revoke(tenant_id, made.key.id)).revoked_at == first == _START
    plan = await keys.find_by_secret(made.secret)
    assert plan is not None
    assert plan.revoked
    for attempt in (keys.rotate(tenant_id, made.key.id), keys.update(tenant_id, made.key.id, KeyPatch(name="x"))):
        with pytest.raises(KeyRevoked):
            await attempt


async def test_after_a_rotation_the_old_secret_works_until_the_grace_ends(
    keys: KeyService, clock: ManualClock, tenant_id: str
) -> None:
    old = await keys.create(tenant_id, KeyCreate(name="k", expires_at=_START + timedelta(days=1)))
    clock.advance(timedelta(seconds=1))
    new = await keys.rotate(tenant_id, old.key.id, grace_s=600)
    assert new.secret != old.secret
    assert new.key.id == old.key.id
    outgoing, current = await keys.find_by_secret(old.secret), await keys.find_by_secret(new.secret)
    assert outgoing is not None
    assert current is not None
    assert outgoing.id == current.id
    assert outgoing.expires_at == _START + timedelta(seconds=601)
    assert current.expires_at == _START + timedelta(days=1)
    assert [secret.hint for secret in new.key.secrets] == [new.secret[-4:], old.secret[-4:]]


async def test_a_key_has_at_most_two_secrets_and_without_grace_one(
    keys: KeyService, clock: ManualClock, tenant_id: str
) -> None:
    secrets = [(await keys.create(tenant_id, KeyCreate(name="k"))).secret]
    key_id = (await keys.list(tenant_id)).keys[0].id
    for grace_s in (60, 60, 0):
        clock.advance(timedelta(seconds=1))
        secrets.append((await keys.rotate(tenant_id, key_id, grace_s=grace_s)).secret)
        works = [await keys.find_by_secret(secret) is not None for secret in secrets]
        assert works[-1]
        assert sum(works) == (2 if grace_s else 1)


async def test_rotations_at_once_leave_one_current_secret(keys: KeyService, tenant_id: str) -> None:
    made = await keys.create(tenant_id, KeyCreate(name="k"))
    await asyncio.gather(*(keys.rotate(tenant_id, made.key.id, grace_s=60) for _ in range(5)))
    secrets = (await keys.get(tenant_id, made.key.id)).secrets
    assert len([secret for secret in secrets if secret.expires_at is None]) == 1
    assert len(secrets) == 2


async def test_a_caller_brings_its_own_secret_once_and_nobody_learns_whose_it_is(
    keys: KeyService, tenant_id: str, other_tenant_id: str
) -> None:
    mine = SecretStr("sk-from-another-gateway-1234")
    made = await keys.create(tenant_id, KeyCreate(name="k", secret=mine))
    assert made.secret == mine.get_secret_value()
    plan = await keys.find_by_secret("sk-from-another-gateway-1234")
    assert plan is not None
    assert plan.id == made.key.id
    said: set[str] = set()
    for tenant in (tenant_id, other_tenant_id):
        with pytest.raises(SecretRefused) as refused:
            await keys.create(tenant, KeyCreate(name="again", secret=mine))
        said.add(str(refused.value))
        assert [key.name for key in (await keys.list(tenant)).keys if key.name == "again"] == []
    assert len(said) == 1
    with pytest.raises(SecretRefused, match="16 to 256"):
        await keys.create(tenant_id, KeyCreate(name="k", secret=SecretStr("short")))


async def test_listing_pages_through_all_keys_once(keys: KeyService, tenant_id: str) -> None:
    made = [(await keys.create(tenant_id, KeyCreate(name=f"k{number}"))).key.id for number in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await keys.list(tenant_id, cursor=cursor, limit=2)
        seen += [key.id for key in page.keys]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(made)
    with pytest.raises(InvalidRequest):
        await keys.list(tenant_id, cursor="nonsense")


async def test_use_is_marked_for_many_tenants_at_once_and_at_most_once_a_minute(
    keys: KeyService, tenant_id: str, other_tenant_id: str
) -> None:
    ids = {tenant: (await keys.create(tenant, KeyCreate(name="k"))).key.id for tenant in (tenant_id, other_tenant_id)}

    async def mark(after_s: int) -> set[datetime | None]:
        await keys.touch(dict.fromkeys(ids.values(), _START + timedelta(seconds=after_s)))
        return {(await keys.get(tenant, key_id)).last_used_at for tenant, key_id in ids.items()}

    await keys.touch({})
    assert await mark(0) == {_START}
    assert await mark(59) == {_START}
    assert await mark(60) == {_START + timedelta(seconds=60)}
    assert await mark(0) == {_START + timedelta(seconds=60)}


async def test_workers_that_mark_the_same_keys_in_another_order_never_wait_for_each_other(
    keys: KeyService, tenant_id: str
) -> None:
    ids = [(await keys.create(tenant_id, KeyCreate(name="k"))).key.id for _ in range(20)]
    for minute in range(10):
        at = _START + timedelta(minutes=minute)
        await asyncio.gather(*(keys.touch(dict.fromkeys(order, at)) for order in (ids, ids[::-1]) * 2))
        assert {key.last_used_at for key in (await keys.list(tenant_id)).keys} == {at}


@pytest_asyncio.fixture
async def announced(database_url: str) -> AsyncIterator[Callable[[], Awaitable[list[str]]]]:
    """Asks which tenants' plans were announced as changed since the last time."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = PlanListener(database_url, on_change=heard.put_nowait, on_gap=lambda: heard.put_nowait("ready"))
    task = asyncio.create_task(listener.run())
    assert await asyncio.wait_for(heard.get(), 10) == "ready"
    other = Database(database_url)

    async def since() -> list[str]:
        async with other.unscoped() as scope:
            await scope.plan_changed("end")
        found: list[str] = []
        while (change := await asyncio.wait_for(heard.get(), 10)) != "end":
            found.append(change)
        return found

    yield since
    await other.close()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_every_change_of_a_key_is_announced_and_a_mark_of_use_is_not(
    keys: KeyService, tenant_id: str, announced: Callable[[], Awaitable[list[str]]]
) -> None:
    made = await keys.create(tenant_id, KeyCreate(name="k"))
    assert await announced() == [tenant_id]
    await keys.update(tenant_id, made.key.id, KeyPatch(name="x"))
    assert await announced() == [tenant_id]
    await keys.rotate(tenant_id, made.key.id)
    assert await announced() == [tenant_id]
    await keys.touch({made.key.id: _START})
    assert await announced() == []
    await keys.revoke(tenant_id, made.key.id)
    assert await announced() == [tenant_id]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"tags": {"k" * 65: "v"}},
        {"tags": {"k": "v" * 257}},
        {"tags": {str(number): "" for number in range(17)}},
        {"requests_per_minute": 0},
        {"monthly_budget_usd": -1},
        {"monthly_budget_usd": "NaN"},
        {"monthly_budget_usd": "0.0000000001"},
        {"expires_at": "2026-11-01T00:00:00"},
        {"user_id": "somebody"},
        {"unknown": 1},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        KeyCreate.model_validate({"name": "k", **wrong})


@pytest.mark.parametrize("shape", [KeyCreate, KeyPatch])
def test_a_budget_beyond_what_the_counters_can_hold_is_refused(shape: type[KeyCreate] | type[KeyPatch]) -> None:
    most = shape.model_validate({"name": "k", "monthly_budget_usd": "9000000"}).monthly_budget_usd
    assert most is not None
    assert nanos(most) < MAX_AMOUNT
    with pytest.raises(ValidationError, match="at most 9,000,000 US dollars a month"):
        shape.model_validate({"name": "k", "monthly_budget_usd": "9000000.000000001"})

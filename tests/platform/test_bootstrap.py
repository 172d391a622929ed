"""The first start gives the first access, exactly once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from auterity.engines.database.sessions import Database, Scope
from auterity.engines.secrets.sealing import Sealer
from auterity.kit.clock import ManualClock
from auterity.platform.bootstrap import FIRST_TENANT, FirstAccess, bootstrap
from auterity.platform.identity.service import IdentityService
from auterity.platform.keys.service import PEPPER_PURPOSE, KeyService
from auterity.platform.tenancy.service import TenantService

Seed = Callable[[Scope], Awaitable[None]]


async def _start(
    database: Database,
    people: IdentityService,
    identity_clock: ManualClock,
    sealer: Sealer,
    seed: Seed | None = None,
) -> FirstAccess | None:
    keys = KeyService(database, pepper=sealer.derive(PEPPER_PURPOSE), clock=identity_clock)
    return await bootstrap(database, tenants=TenantService(database), identity=people, keys=keys, seed=seed)


async def test_of_servers_that_start_at_once_one_gets_the_first_access_and_it_works(
    database: Database, database_url: str, people: IdentityService, identity_clock: ManualClock, sealer: Sealer
) -> None:
    others = [Database(database_url, pool_size=1) for _ in range(3)]
    seeded: list[str] = []

    async def seed(scope: Scope) -> None:
        seeded.append(scope.tenant_id)

    started = await asyncio.gather(*(_start(each, people, identity_clock, sealer, seed) for each in others))
    found = [access for access in started if access]
    assert len(found) == 1
    access = found[0]
    assert seeded == [access.tenant_id]
    assert await _start(database, people, identity_clock, sealer) is None

    login = await people.login(access.email, access.password, address="127.0.0.1")
    assert login.principal.operator
    assert login.principal.roles == {"owner"}
    assert login.principal.tenant_id == access.tenant_id
    assert (await TenantService(database).get(FIRST_TENANT)).id == access.tenant_id
    keys = KeyService(database, pepper=sealer.derive(PEPPER_PURPOSE), clock=identity_clock)
    plan = await keys.find_by_secret(access.api_key)
    assert plan is not None
    assert (plan.tenant_id, plan.user_id) == (access.tenant_id, login.principal.user_id)
    assert access.password not in repr(access)
    assert access.api_key not in repr(access)
    for each in others:
        await each.close()


async def test_a_start_that_breaks_off_while_it_seeds_leaves_nothing_and_the_next_one_gets_the_access(
    database: Database, people: IdentityService, identity_clock: ManualClock, sealer: Sealer
) -> None:
    async def break_off(scope: Scope) -> None:
        raise ConnectionResetError(scope.tenant_id)

    with pytest.raises(ConnectionResetError):
        await _start(database, people, identity_clock, sealer, break_off)
    assert (await TenantService(database).list()).tenants == ()
    assert await _start(database, people, identity_clock, sealer) is not None

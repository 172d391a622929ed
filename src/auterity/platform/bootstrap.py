"""The first start: a tenant, an administrator who is the platform's operator, and a virtual key."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy import text

from auterity.engines.database.sessions import Database, Scope
from auterity.platform.identity.passwords import new_password
from auterity.platform.identity.repository import IdentityRepository
from auterity.platform.identity.service import IdentityService
from auterity.platform.keys.schemas import KeyCreate
from auterity.platform.keys.service import KeyService
from auterity.platform.tenancy.schemas import TenantCreate
from auterity.platform.tenancy.service import TenantService

__all__ = ["FIRST_EMAIL", "FIRST_TENANT", "FirstAccess", "bootstrap"]

FIRST_TENANT = "default"
FIRST_EMAIL = "admin@localhost"

_LOCK = 0x626F6F7473747270
"""Key of an advisory lock; the letters "bootstrp"."""


@dataclass(frozen=True, slots=True)
class FirstAccess:
    """What the first start made. The secrets are kept nowhere else."""

    tenant_id: str
    email: str
    password: str = field(repr=False)
    api_key: str = field(repr=False)


async def bootstrap(
    database: Database,
    *,
    tenants: TenantService,
    identity: IdentityService,
    keys: KeyService,
    seed: Callable[[Scope], Awaitable[None]] | None = None,
    email: str = FIRST_EMAIL,
    password: str | None = None,
) -> FirstAccess | None:
    """Make the first access, unless there is anybody already; of servers that start at once one gets it.

    Args:
        database: migrated.
        tenants: makes the tenant ``default``.
        identity: makes the administrator.
        keys: makes the key.
        seed: gives the new tenant its first data, in the same transaction and in the operator's right: there is all of
            it or nothing, and whoever finds nothing begins anew.
        email: the administrator's address.
        password: hers; None: one is made.

    Returns:
        The access, exactly once; None ever after.
    """
    async with database.platform() as scope:
        if await IdentityRepository(scope.session).any_user():
            return None
    password = password or new_password()
    password_hash = await identity.hash_password(password)
    async with database.platform() as scope:
        await scope.session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if await IdentityRepository(scope.session).any_user():
            return None
        tenant = await tenants.create_in(scope, TenantCreate(slug=FIRST_TENANT, name="Default"))
        user = await identity.create_user_in(
            scope, email, password_hash, tenant_id=tenant.id, roles=("owner",), name="Administrator", operator=True
        )
        made = await keys.create_in(scope, tenant.id, KeyCreate(name="First key", user_id=user.id))
        if seed is not None:
            await seed(Scope(scope.session, tenant.id))
    return FirstAccess(tenant_id=tenant.id, email=user.email, password=password, api_key=made.secret)

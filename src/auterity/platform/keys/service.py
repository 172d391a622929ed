"""Use-cases of virtual keys: make, list, change, rotate, revoke, find, mark as used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError

from auterity.engines.database.sessions import Database, Scope
from auterity.kit.clock import Clock
from auterity.kit.ids import new_id
from auterity.kit.money import nanos
from auterity.kit.pagination import decode_cursor, encode_cursor
from auterity.platform.keys.errors import KeyNotFound, KeyRevoked, OwnerUnknown, SecretRefused
from auterity.platform.keys.models import KeySecret, VirtualKey
from auterity.platform.keys.plan import KeyPlan
from auterity.platform.keys.repository import KeyRepository, find_by_hash, mark_used
from auterity.platform.keys.schemas import KeyCreate, KeyPatch
from auterity.platform.keys.secret import (
    LONGEST_SECRET,
    SHORTEST_SECRET,
    hash_secret,
    hint,
    is_importable,
    new_secret,
)

__all__ = ["PEPPER_PURPOSE", "KeyPage", "KeyService", "NewKey"]

PEPPER_PURPOSE = "virtual-keys"
"""The pepper is ``Sealer.derive`` of this."""

_MARK_RESOLUTION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and the secret that was just made for it, which is kept nowhere."""

    key: VirtualKey
    secret: str


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Some keys, and where the next page begins."""

    keys: tuple[VirtualKey, ...]
    next_cursor: str | None


class KeyService:
    """Each call is one transaction of the tenant it names; a change is told to all workers when it commits."""

    def __init__(self, database: Database, *, pepper: bytes, clock: Clock) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock

    async def create(self, tenant_id: str, wanted: KeyCreate) -> NewKey:
        """Make a key.

        Raises:
            SecretRefused: the caller's own secret is too short, too long, not printable ASCII, or cannot be had.
            OwnerUnknown: the owner is not a member of the tenant.
        """
        async with self._database.tenant(tenant_id) as scope:
            return await self.create_in(scope, tenant_id, wanted)

    async def create_in(self, scope: Scope, tenant_id: str, wanted: KeyCreate) -> NewKey:
        """As :meth:`create`, as a part of a larger use-case."""
        repository = KeyRepository(scope.session, tenant_id)
        await self._require_member(repository, wanted.user_id)
        key = VirtualKey(
            id=new_id("key"),
            tenant_id=tenant_id,
            name=wanted.name,
            user_id=wanted.user_id,
            allowed_models=wanted.allowed_models,
            requests_per_minute=wanted.requests_per_minute,
            monthly_budget_nano=None if wanted.monthly_budget_usd is None else nanos(wanted.monthly_budget_usd),
            expires_at=wanted.expires_at,
            tags=dict(wanted.tags),
        )
        secret = new_secret() if wanted.secret is None else _imported(wanted.secret.get_secret_value())
        await repository.add(key)
        await self._add_secret(repository, key, secret)
        # A key that did not exist may be remembered as unknown.
        await scope.plan_changed(tenant_id)
        return NewKey(await _required(repository, key.id), secret)

    async def list(self, tenant_id: str, *, cursor: str | None = None, limit: int = 100) -> KeyPage:
        """A page of the tenant's keys, revoked ones too, oldest first.

        Raises:
            InvalidRequest: the cursor is not one of this listing.
        """
        after = str(decode_cursor(cursor, 1)[0]) if cursor else None
        async with self._database.tenant(tenant_id) as scope:
            found = await KeyRepository(scope.session, tenant_id).page(after=after, limit=limit + 1)
        keys = tuple(found[:limit])
        return KeyPage(keys, encode_cursor([keys[-1].id]) if len(found) > limit else None)

    async def get(self, tenant_id: str, key_id: str) -> VirtualKey:
        """
        Raises:
            KeyNotFound: the tenant has no such key.
        """
        async with self._database.tenant(tenant_id) as scope:
            return await _required(KeyRepository(scope.session, tenant_id), key_id)

    async def update(self, tenant_id: str, key_id: str, patch: KeyPatch) -> VirtualKey:
        """Change what the patch names.

        Raises:
            KeyNotFound: the tenant has no such key.
            KeyRevoked: it has been revoked.
            OwnerUnknown: the new owner is not a member of the tenant.
        """
        async with self._database.tenant(tenant_id) as scope:
            repository = KeyRepository(scope.session, tenant_id)
            key = await _required(repository, key_id, usable=True)
            if "user_id" in patch.model_fields_set:
                await self._require_member(repository, patch.user_id)
            for name in patch.model_fields_set - {"monthly_budget_usd"}:
                setattr(key, name, getattr(patch, name))
            if "monthly_budget_usd" in patch.model_fields_set:
                key.monthly_budget_nano = None if patch.monthly_budget_usd is None else nanos(patch.monthly_budget_usd)
            await scope.session.flush()
            await scope.plan_changed()
            return await _required(repository, key_id)

    async def revoke(self, tenant_id: str, key_id: str) -> VirtualKey:
        """Stop a key for good; once more changes nothing.

        Raises:
            KeyNotFound: the tenant has no such key.
        """
        async with self._database.tenant(tenant_id) as scope:
            key = await _required(KeyRepository(scope.session, tenant_id), key_id, lock=True)
            if key.revoked_at is None:
                key.revoked_at = self._clock.now()
                await scope.session.flush()
                await scope.plan_changed()
            return key

    async def rotate(self, tenant_id: str, key_id: str, *, grace_s: int = 0) -> NewKey:
        """Give a key a new secret; the present one works for ``grace_s`` more seconds, an earlier one no longer.

        Raises:
            KeyNotFound: the tenant has no such key.
            KeyRevoked: it has been revoked.
        """
        now = self._clock.now()
        async with self._database.tenant(tenant_id) as scope:
            repository = KeyRepository(scope.session, tenant_id)
            key = await _required(repository, key_id, usable=True)
            await repository.end_secrets(key_id, now, now + timedelta(seconds=grace_s))
            secret = new_secret()
            await self._add_secret(repository, key, secret)
            await scope.plan_changed()
            return NewKey(await _required(repository, key_id), secret)

    async def find_by_secret(self, secret: str) -> KeyPlan | None:
        """What the holder of a secret may do; expired and revoked keys too, for the gateway says why it refuses."""
        return await self.find_by_hash(hash_secret(self._pepper, secret))

    async def find_by_hash(self, secret_hash: bytes) -> KeyPlan | None:
        """As :meth:`find_by_secret`, for one who has hashed the secret already."""
        async with self._database.key_lookup(secret_hash) as scope:
            found = await find_by_hash(scope.session, secret_hash)
        return None if found is None else _plan(*found)

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Remember when keys, of whatever tenants, were last used: key ids to moments. One statement for all.

        A key is written at most once a minute, so that a busy one costs no more than an idle one.
        """
        if used:
            async with self._database.platform() as scope:
                await mark_used(scope.session, used, _MARK_RESOLUTION)

    async def _add_secret(self, repository: KeyRepository, key: VirtualKey, secret: str) -> None:
        row = KeySecret(
            hash=hash_secret(self._pepper, secret),
            key_id=key.id,
            tenant_id=key.tenant_id,
            hint=hint(secret),
            # The transaction's time would be the same for a key that is made and rotated in one.
            created_at=self._clock.now(),
        )
        try:
            await repository.add(row)
        except IntegrityError as error:
            raise SecretRefused(
                "This secret cannot be used; bring another, or let one be made.", param="secret"
            ) from error

    async def _require_member(self, repository: KeyRepository, user_id: str | None) -> None:
        if user_id is not None and not await repository.is_member(user_id):
            raise OwnerUnknown


async def _required(repository: KeyRepository, key_id: str, *, usable: bool = False, lock: bool = False) -> VirtualKey:
    key = await repository.get(key_id, lock=lock or usable)
    if key is None:
        raise KeyNotFound(key_id)
    if usable and key.revoked_at is not None:
        raise KeyRevoked
    return key


def _imported(secret: str) -> str:
    if not is_importable(secret):
        raise SecretRefused(
            f"Your own secret must be {SHORTEST_SECRET} to {LONGEST_SECRET} printable ASCII characters without spaces; "
            "one that begins with ak- must be one that Auterity made.",
            param="secret",
        )
    return secret


def _plan(key: VirtualKey, secret_expires_at: datetime | None) -> KeyPlan:
    ends = [moment for moment in (key.expires_at, secret_expires_at) if moment is not None]
    return KeyPlan(
        id=key.id,
        tenant_id=key.tenant_id,
        name=key.name,
        user_id=key.user_id or "",
        allowed_models=None if key.allowed_models is None else frozenset(key.allowed_models),
        requests_per_minute=key.requests_per_minute,
        monthly_budget_nano=key.monthly_budget_nano,
        expires_at=min(ends, default=None),
        revoked=key.revoked_at is not None,
        tags=key.tags,
    )

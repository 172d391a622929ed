"""All SQL of virtual keys. Within a tenant, but for the look-up by hash and the marks of use."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, column, delete, or_, select, update, values
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload
from sqlalchemy.types import Text

from auterity.platform.identity.models import Membership
from auterity.platform.keys.models import KeySecret, VirtualKey

__all__ = ["KeyRepository", "find_by_hash", "mark_used"]


class KeyRepository:
    """One tenant's keys, in one transaction."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def page(self, *, after: str | None, limit: int) -> Sequence[VirtualKey]:
        """Keys with their secrets, oldest first."""
        query = self._keys().order_by(VirtualKey.id).limit(limit)
        return (await self._session.scalars(query.where(VirtualKey.id > after) if after else query)).all()

    async def get(self, key_id: str, *, lock: bool = False) -> VirtualKey | None:
        """A key with its secrets; ``lock`` keeps others from changing it until the transaction ends."""
        query = self._keys().where(VirtualKey.id == key_id)
        if lock:
            query = query.with_for_update()
        return await self._session.scalar(query.execution_options(populate_existing=True))

    async def add(self, row: VirtualKey | KeySecret) -> None:
        """
        Raises:
            IntegrityError: somebody has this secret.
        """
        self._session.add(row)
        await self._session.flush()

    async def is_member(self, user_id: str) -> bool:
        """Say whether a person belongs to the tenant."""
        query = select(Membership.user_id).where(Membership.tenant_id == self._tenant_id, Membership.user_id == user_id)
        return await self._session.scalar(query) is not None

    async def end_secrets(self, key_id: str, now: datetime, at: datetime) -> None:
        """Let the current secret work until ``at``, and forget those whose time is over."""
        mine = (KeySecret.tenant_id == self._tenant_id, KeySecret.key_id == key_id)
        await self._session.execute(delete(KeySecret).where(*mine, KeySecret.expires_at.is_not(None)))
        if at <= now:
            await self._session.execute(delete(KeySecret).where(*mine))
        else:
            await self._session.execute(update(KeySecret).where(*mine).values(expires_at=at))

    def _keys(self) -> Select[VirtualKey]:
        return (
            select(VirtualKey).where(VirtualKey.tenant_id == self._tenant_id).options(selectinload(VirtualKey.secrets))
        )


async def find_by_hash(session: AsyncSession, secret_hash: bytes) -> tuple[VirtualKey, datetime | None] | None:
    """The key of a secret, whoever owns it, and when the secret stops working."""
    row = (
        await session.execute(
            select(VirtualKey, KeySecret.expires_at)
            .join(KeySecret, KeySecret.key_id == VirtualKey.id)
            .where(KeySecret.hash == secret_hash)
        )
    ).one_or_none()
    return (row[0], row[1]) if row is not None else None


async def mark_used(session: AsyncSession, used: Mapping[str, datetime], resolution: timedelta) -> None:
    """Remember the last use of keys of any tenants; marks closer than ``resolution`` to the last are left out."""
    marks = values(column("id", Text), column("at", TIMESTAMP(timezone=True)), name="marks").data(list(used.items()))
    # Rows that another worker marks at this moment are left to it: two that waited for each other would be stuck.
    due = (
        select(VirtualKey.id, marks.c.at)
        .join(marks, marks.c.id == VirtualKey.id)
        .where(or_(VirtualKey.last_used_at.is_(None), VirtualKey.last_used_at <= marks.c.at - resolution))
        .with_for_update(of=VirtualKey, key_share=True, skip_locked=True)
        .cte("due")
    )
    await session.execute(
        update(VirtualKey)
        .where(VirtualKey.id == due.c.id)
        .values(last_used_at=due.c.at)
        .execution_options(synchronize_session=False)
    )

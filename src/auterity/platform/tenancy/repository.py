"""All SQL of tenants. What a transaction sees is its scope's: a tenant itself, an operator all."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auterity.engines.database.tables import Tenant

__all__ = ["TenantRepository"]


class TenantRepository:
    """Tenants, in one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, tenant: Tenant) -> None:
        """
        Raises:
            IntegrityError: the slug is taken.
        """
        self._session.add(tenant)
        await self._session.flush()
        await self._session.refresh(tenant)

    async def get(self, id_or_slug: str) -> Tenant | None:
        """One tenant."""
        query = select(Tenant).where(or_(Tenant.id == id_or_slug, Tenant.slug == id_or_slug))
        return await self._session.scalar(query)

    async def page(self, *, after: str | None, limit: int) -> Sequence[Tenant]:
        """Tenants, oldest first."""
        query = select(Tenant).order_by(Tenant.id).limit(limit)
        return (await self._session.scalars(query.where(Tenant.id > after) if after else query)).all()

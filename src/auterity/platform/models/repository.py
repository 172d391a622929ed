"""All SQL of the catalogue, within one tenant: its own rows, and where it says so the shared ones.

Row-level security is the second wall; the conditions here are the first, and the only one for an operator.
"""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, joinedload, selectinload, undefer

from auterity.engines.database.sessions import Scope
from auterity.kit.pagination import MAX_PAGE_SIZE
from auterity.platform.models.models import Deployment, Model, PriceOverlay, Provider

__all__ = ["CatalogueRepository"]

Row = TypeVar("Row", Provider, Model, PriceOverlay)

_SECRETS = (undefer(Provider.sealed_key), undefer(Provider.sealed_headers))


class CatalogueRepository:
    """Reads and writes the rows of one transaction's tenant."""

    def __init__(self, scope: Scope) -> None:
        self._tenant_id = scope.tenant_id
        self._session: AsyncSession = scope.session

    # Providers

    async def providers(self, *, after: str | None, limit: int) -> Sequence[Provider]:
        """The tenant's providers, oldest first."""
        return await self._page(
            select(Provider).where(Provider.tenant_id == self._tenant_id), Provider.id, after, limit
        )

    async def provider(self, name_or_id: str, *, secrets: bool = False) -> Provider | None:
        """One of the tenant's providers; ``secrets`` loads the sealed columns too."""
        query = select(Provider).where(
            Provider.tenant_id == self._tenant_id, or_(Provider.id == name_or_id, Provider.name == name_or_id)
        )
        query = query.order_by(Provider.id != name_or_id).limit(1)  # an id wins over a name that looks like one
        return await self._session.scalar(query.options(*_SECRETS) if secrets else query)

    async def models_of(self, provider: Provider, *, limit: int, shared: bool = False) -> Sequence[str]:
        """Names of the models, or of the shared ones, that the provider serves."""
        query = (
            select(Model.name)
            .join(Deployment, Deployment.model_id == Model.id)
            .where(Deployment.provider_id == provider.id)
            .distinct()
            .order_by(Model.name)
            .limit(limit)
        )
        return (await self._session.scalars(query.where(Model.shared) if shared else query)).all()

    # Models

    async def models(self, *, after: str | None, limit: int) -> Sequence[Model]:
        """The tenant's models and the shared ones, oldest first, with deployments and their providers."""
        return await self._page(_whole(select(Model).where(self._visible(Model))), Model.id, after, limit)

    async def model(self, name_or_id: str, *, shared: bool = False) -> Model | None:
        """A model with its deployments; ``shared`` finds other tenants' too, the tenant's own first."""
        condition = self._visible(Model) if shared else Model.tenant_id == self._tenant_id
        query = (
            _whole(select(Model))
            .where(condition, or_(Model.id == name_or_id, Model.name == name_or_id))
            .order_by(Model.tenant_id != self._tenant_id, Model.id != name_or_id, Model.id)
            .limit(1)
        )
        return await self._session.scalar(query.execution_options(populate_existing=True))

    async def deployment(self, model: Model, deployment_id: str) -> Deployment | None:
        """One of a model's deployments, with its provider."""
        return await self._session.scalar(
            select(Deployment)
            .where(
                Deployment.tenant_id == self._tenant_id,
                Deployment.model_id == model.id,
                Deployment.id == deployment_id,
            )
            .options(joinedload(Deployment.provider))
        )

    async def share_deployments(self, model: Model) -> None:
        """Give all deployments of a model its ``shared``."""
        await self._session.execute(
            update(Deployment).where(Deployment.model_id == model.id).values(shared=model.shared)
        )

    async def servable(self, only: str | None = None) -> Sequence[Model]:
        """All enabled models, shared ones too, with everything that a call needs, secrets included."""
        query = (
            select(Model)
            .where(self._visible(Model), Model.enabled)
            .options(
                selectinload(Model.deployments.and_(Deployment.enabled))
                .joinedload(Deployment.provider)
                .options(*_SECRETS)
            )
            .order_by(Model.tenant_id != self._tenant_id, Model.id)
        )
        if only is not None:
            query = query.where(or_(Model.id == only, Model.name == only))
        return (await self._session.scalars(query.execution_options(populate_existing=True))).all()

    # Price overlays

    async def overlays(self, *, after: str | None = None, limit: int = MAX_PAGE_SIZE) -> Sequence[PriceOverlay]:
        """The tenant's own terms, oldest first."""
        query = select(PriceOverlay).where(PriceOverlay.tenant_id == self._tenant_id)
        return await self._page(query, PriceOverlay.id, after, limit)

    async def terms(self) -> Sequence[PriceOverlay]:
        """All terms that can matter to the tenant's calls: its own and the shared ones."""
        return (await self._session.scalars(select(PriceOverlay).where(self._visible(PriceOverlay)))).all()

    async def overlay(self, overlay_id: str) -> PriceOverlay | None:
        """One of the tenant's terms."""
        return await self._session.scalar(
            select(PriceOverlay).where(PriceOverlay.tenant_id == self._tenant_id, PriceOverlay.id == overlay_id)
        )

    # Writing

    async def add(self, row: Provider | Model | Deployment | PriceOverlay) -> None:
        """Insert a row.

        Raises:
            IntegrityError: its name is taken, or what it refers to is gone.
        """
        self._session.add(row)
        await self._session.flush()

    async def remove(self, row: Provider | Model | Deployment | PriceOverlay) -> None:
        """Delete a row.

        Raises:
            IntegrityError: others refer to it.
        """
        await self._session.delete(row)
        await self._session.flush()

    async def flush(self) -> None:
        """Write the changes made to rows.

        Raises:
            IntegrityError: as for :meth:`add`.
        """
        await self._session.flush()

    def _visible(self, table: type[Model] | type[PriceOverlay]) -> ColumnElement[bool]:
        return or_(table.tenant_id == self._tenant_id, table.shared)

    async def _page(
        self, query: Select[Row], key: InstrumentedAttribute[str], after: str | None, limit: int
    ) -> Sequence[Row]:
        if after is not None:
            query = query.where(key > after)
        return (await self._session.scalars(query.order_by(key).limit(limit))).all()


def _whole(query: Select[Model]) -> Select[Model]:
    return query.options(selectinload(Model.deployments).joinedload(Deployment.provider))

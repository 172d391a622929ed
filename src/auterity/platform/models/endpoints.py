"""The catalogue in the management API: ``/providers``, ``/models``, ``/prices``."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, status
from pydantic import AwareDatetime

from auterity.engines.database.sessions import Database, Scope
from auterity.engines.http.port import Transport
from auterity.kit.clock import Clock
from auterity.kit.errors import Conflict
from auterity.kit.pagination import MAX_PAGE_SIZE, decode_cursor, encode_cursor
from auterity.kit.schemas import Page
from auterity.platform.identity.guard import Requires
from auterity.platform.identity.principal import Principal
from auterity.platform.models.catalogue import Catalogue, deployment_out, model_out
from auterity.platform.models.compile import compile_models
from auterity.platform.models.credentials import ProviderCredentials
from auterity.platform.models.probe import probe
from auterity.platform.models.providers import Providers, provider_out
from auterity.platform.models.schemas import (
    DeploymentCreate,
    DeploymentOut,
    DeploymentPatch,
    ModelCreate,
    ModelOut,
    ModelPatch,
    ModelTest,
    ModelTestRequest,
    OverlayCreate,
    OverlayOut,
    OverlayPatch,
    PriceResolution,
    ProviderCreate,
    ProviderOut,
    ProviderPatch,
)
from auterity.platform.models.terms import Terms, overlay_out
from auterity.providers.contract import Wire

__all__ = ["CatalogueServices", "actor_scope", "catalogue_routes"]


_Item = TypeVar("_Item", ProviderOut, ModelOut, OverlayOut)


@dataclass(frozen=True, slots=True)
class CatalogueServices:
    """What the endpoints stand on; the assembly makes it."""

    database: Database
    providers: Providers
    catalogue: Catalogue
    terms: Terms
    credentials: ProviderCredentials
    wires: Mapping[str, Wire]
    transports: Mapping[str, Transport]
    clock: Clock

    async def test(self, tenant_id: str, model: str, wanted: ModelTestRequest) -> ModelTest:
        """Call each deployment of one of the tenant's models once; the provider charges for it.

        Raises:
            ModelNotFound: the tenant has none of this name or id.
            Conflict: it is disabled.
        """
        async with self.database.tenant(tenant_id) as scope:
            row = await self.catalogue.get(scope, model)  # not the operator's: its owner would pay
            compiled = await compile_models(
                scope,
                credentials=self.credentials,
                wires=self.wires,
                transports=self.transports,
                at=self.clock.now(),
                only=row.id,
            )
        if not compiled:
            raise Conflict(f"The model {model!r} is disabled; enable it first.")
        return await probe(next(iter(compiled.values())), wanted)


@asynccontextmanager
async def actor_scope(database: Database, actor: Principal) -> AsyncGenerator[Scope]:
    """A transaction for changes: an operator's may touch shared rows, everyone else's sees one tenant's only."""
    if actor.operator:
        async with database.platform() as platform:
            yield Scope(platform.session, actor.tenant_id)
    else:
        async with database.tenant(actor.tenant_id) as scope:
            yield scope


@dataclass(frozen=True, slots=True)
class _PageQuery:
    after: str | None
    limit: int

    @property
    def fetch(self) -> int:
        """One row more than is shown tells whether there is another page."""
        return self.limit + 1


def _page_query(
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = 100, cursor: Annotated[str | None, Query()] = None
) -> _PageQuery:
    return _PageQuery(str(decode_cursor(cursor, 1)[0]) if cursor else None, limit)


_Paging = Annotated[_PageQuery, Depends(_page_query)]


def _page(items: list[_Item], paging: _PageQuery) -> Page[_Item]:
    """A page of what was fetched."""
    shown = items[: paging.limit]
    more = len(items) > paging.limit
    return Page(items=shown, next_cursor=encode_cursor([shown[-1].id]) if more else None)


def catalogue_routes(services: CatalogueServices) -> APIRouter:
    """All routes of the catalogue, to be included under the management API's prefix."""
    router = APIRouter()
    router.include_router(_provider_routes(services))
    router.include_router(_model_routes(services))
    router.include_router(_deployment_routes(services))
    router.include_router(_price_routes(services))
    return router


def _provider_routes(services: CatalogueServices) -> APIRouter:
    router = APIRouter(prefix="/providers", tags=["providers"])
    providers, database = services.providers, services.database

    @router.get("", name="list")
    async def list_providers(
        actor: Annotated[Principal, Depends(Requires("providers.read"))], paging: _Paging
    ) -> Page[ProviderOut]:
        """Your providers and the shared ones; credentials are never shown."""
        async with database.tenant(actor.tenant_id) as scope:
            rows = await providers.page(scope, after=paging.after, limit=paging.fetch)
        return _page([provider_out(row) for row in rows], paging)

    @router.post("", status_code=status.HTTP_201_CREATED, name="create")
    async def create_provider(
        actor: Annotated[Principal, Depends(Requires("providers.create"))], wanted: ProviderCreate
    ) -> ProviderOut:
        """Add a provider. Its credential is sealed at once and can never be read back."""
        async with actor_scope(database, actor) as scope:
            return provider_out(await providers.create(scope, actor, wanted))

    @router.get("/{provider}", name="get")
    async def get_provider(
        actor: Annotated[Principal, Depends(Requires("providers.read"))], provider: str
    ) -> ProviderOut:
        """One provider, by name or id."""
        async with database.tenant(actor.tenant_id) as scope:
            return provider_out(await providers.get(scope, provider))

    @router.patch("/{provider}", name="update")
    async def change_provider(
        actor: Annotated[Principal, Depends(Requires("providers.update"))], provider: str, patch: ProviderPatch
    ) -> ProviderOut:
        """Change what is named; a credential that is given replaces the present one."""
        async with actor_scope(database, actor) as scope:
            return provider_out(await providers.change(scope, actor, provider, patch))

    @router.delete("/{provider}", status_code=status.HTTP_204_NO_CONTENT, name="delete")
    async def delete_provider(
        actor: Annotated[Principal, Depends(Requires("providers.delete"))], provider: str
    ) -> None:
        """Remove a provider that no deployment uses."""
        async with actor_scope(database, actor) as scope:
            await providers.remove(scope, actor, provider)

    _ = (list_providers, create_provider, get_provider, change_provider, delete_provider)
    return router


def _model_routes(services: CatalogueServices) -> APIRouter:
    """Model names may hold slashes: the paths with something behind the name are declared first."""
    router = APIRouter(prefix="/models", tags=["models"])
    catalogue, database = services.catalogue, services.database

    @router.get("", name="list")
    async def list_models(
        actor: Annotated[Principal, Depends(Requires("models.read"))], paging: _Paging
    ) -> Page[ModelOut]:
        """Your models and the shared ones, with their deployments."""
        async with database.tenant(actor.tenant_id) as scope:
            rows = await catalogue.page(scope, after=paging.after, limit=paging.fetch)
        return _page([model_out(row, actor.tenant_id) for row in rows], paging)

    @router.post("", status_code=status.HTTP_201_CREATED, name="create")
    async def create_model(
        actor: Annotated[Principal, Depends(Requires("models.create"))], wanted: ModelCreate
    ) -> ModelOut:
        """Add a model under a public name, with the deployments that serve it."""
        async with actor_scope(database, actor) as scope:
            return model_out(await catalogue.create(scope, actor, wanted), actor.tenant_id)

    @router.post("/{model:path}/test", name="test")
    async def test_model(
        actor: Annotated[Principal, Depends(Requires("models.test"))], model: str, wanted: ModelTestRequest
    ) -> ModelTest:
        """Call each deployment once. The provider charges for it; it does not appear in the usage."""
        return await services.test(actor.tenant_id, model, wanted)

    @router.get("/{model:path}", name="get")
    async def get_model(actor: Annotated[Principal, Depends(Requires("models.read"))], model: str) -> ModelOut:
        """One model, by name or id."""
        async with database.tenant(actor.tenant_id) as scope:
            return model_out(await catalogue.get(scope, model, shared=True), actor.tenant_id)

    _ = (list_models, create_model, test_model, get_model)
    return router


def _deployment_routes(services: CatalogueServices) -> APIRouter:
    router = APIRouter(prefix="/models")
    catalogue, database = services.catalogue, services.database

    @router.post("/{model:path}/deployments", status_code=status.HTTP_201_CREATED, name="create", tags=["deployments"])
    async def create_deployment(
        actor: Annotated[Principal, Depends(Requires("models.update"))], model: str, wanted: DeploymentCreate
    ) -> DeploymentOut:
        """Add a deployment that serves the model."""
        async with actor_scope(database, actor) as scope:
            return deployment_out(await catalogue.deploy(scope, actor, model, wanted))

    @router.patch("/{model:path}/deployments/{deployment}", name="update", tags=["deployments"])
    async def change_deployment(
        actor: Annotated[Principal, Depends(Requires("models.update"))],
        model: str,
        deployment: str,
        patch: DeploymentPatch,
    ) -> DeploymentOut:
        """Change a deployment; weight 0 makes it a fallback."""
        async with actor_scope(database, actor) as scope:
            return deployment_out(await catalogue.change_deployment(scope, actor, model, deployment, patch))

    @router.delete(
        "/{model:path}/deployments/{deployment}",
        status_code=status.HTTP_204_NO_CONTENT,
        name="delete",
        tags=["deployments"],
    )
    async def delete_deployment(
        actor: Annotated[Principal, Depends(Requires("models.update"))], model: str, deployment: str
    ) -> None:
        """Take a deployment from the model."""
        async with actor_scope(database, actor) as scope:
            await catalogue.withdraw(scope, actor, model, deployment)

    @router.patch("/{model:path}", name="update", tags=["models"])
    async def change_model(
        actor: Annotated[Principal, Depends(Requires("models.update"))], model: str, patch: ModelPatch
    ) -> ModelOut:
        """Change what is named."""
        async with actor_scope(database, actor) as scope:
            return model_out(await catalogue.change(scope, actor, model, patch), actor.tenant_id)

    @router.delete("/{model:path}", status_code=status.HTTP_204_NO_CONTENT, name="delete", tags=["models"])
    async def delete_model(actor: Annotated[Principal, Depends(Requires("models.delete"))], model: str) -> None:
        """Remove a model and its deployments; calls for it are refused from then on."""
        async with actor_scope(database, actor) as scope:
            await catalogue.remove(scope, actor, model)

    _ = (create_deployment, change_deployment, delete_deployment, change_model, delete_model)
    return router


def _price_routes(services: CatalogueServices) -> APIRouter:
    router = APIRouter(prefix="/prices", tags=["prices"])
    terms, database = services.terms, services.database

    @router.get("/resolve", name="resolve")
    async def resolve_price(
        actor: Annotated[Principal, Depends(Requires("prices.read"))],
        provider: Annotated[str, Query(description="Name or id of one of your providers.")],
        model: Annotated[str, Query(description="The model's name at the provider.")],
        listed_as: Annotated[str | None, Query(description="Its name in the price list, if another.")] = None,
        at: Annotated[AwareDatetime | None, Query(description="The moment; now if left out.")] = None,
    ) -> PriceResolution:
        """Which price a call would have, and why."""
        async with database.tenant(actor.tenant_id) as scope:
            return await terms.resolve(scope, provider, model, listed_as=listed_as, at=at)

    @router.get("/overlays", name="list_overlays")
    async def list_overlays(
        actor: Annotated[Principal, Depends(Requires("prices.read"))], paging: _Paging
    ) -> Page[OverlayOut]:
        """Your terms on top of the price list."""
        async with database.tenant(actor.tenant_id) as scope:
            rows = await terms.page(scope, after=paging.after, limit=paging.fetch)
        return _page([overlay_out(row) for row in rows], paging)

    @router.post("/overlays", status_code=status.HTTP_201_CREATED, name="create_overlay")
    async def create_overlay(
        actor: Annotated[Principal, Depends(Requires("prices.create"))], wanted: OverlayCreate
    ) -> OverlayOut:
        """Add terms: a discount, or prices of your own."""
        async with actor_scope(database, actor) as scope:
            return overlay_out(await terms.create(scope, actor, wanted))

    @router.get("/overlays/{overlay}", name="get_overlay")
    async def get_overlay(actor: Annotated[Principal, Depends(Requires("prices.read"))], overlay: str) -> OverlayOut:
        """One of your terms."""
        async with database.tenant(actor.tenant_id) as scope:
            return overlay_out(await terms.get(scope, overlay))

    @router.patch("/overlays/{overlay}", name="update_overlay")
    async def change_overlay(
        actor: Annotated[Principal, Depends(Requires("prices.update"))], overlay: str, patch: OverlayPatch
    ) -> OverlayOut:
        """Change what is named; calls that were priced keep their price."""
        async with actor_scope(database, actor) as scope:
            return overlay_out(await terms.change(scope, actor, overlay, patch))

    @router.delete("/overlays/{overlay}", status_code=status.HTTP_204_NO_CONTENT, name="delete_overlay")
    async def delete_overlay(actor: Annotated[Principal, Depends(Requires("prices.delete"))], overlay: str) -> None:
        """Remove terms; the price list applies again."""
        async with actor_scope(database, actor) as scope:
            await terms.remove(scope, actor, overlay)

    _ = (resolve_price, list_overlays, create_overlay, get_overlay, change_overlay, delete_overlay)
    return router

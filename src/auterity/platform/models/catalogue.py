"""Use-cases of models: the names that clients ask for, and the deployments that serve each."""

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError

from auterity.engines.database.sessions import Scope
from auterity.kit.clock import Clock
from auterity.kit.ids import new_id
from auterity.platform.identity.principal import Principal
from auterity.platform.models.errors import (
    DeploymentNotFound,
    ModelNotFound,
    NameTaken,
    OperatorOnly,
    ProviderNotFound,
    SharingConflict,
)
from auterity.platform.models.models import Deployment, Model
from auterity.platform.models.repository import CatalogueRepository
from auterity.platform.models.schemas import (
    DeploymentCreate,
    DeploymentOut,
    DeploymentPatch,
    ModelCreate,
    ModelOut,
    ModelPatch,
)

__all__ = ["Catalogue", "deployment_out", "model_out"]


class Catalogue:
    """Each method works in the transaction it is given, of the actor's tenant."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    async def create(self, scope: Scope, actor: Principal, wanted: ModelCreate) -> Model:
        """
        Raises:
            NameTaken: the tenant has a model of this name, or two deployments are the same.
            ProviderNotFound: a deployment names a provider that the tenant does not have.
            OperatorOnly: it is to be shared and the actor is no operator.
            SharingConflict: it is to be shared and a provider is not.
        """
        if wanted.shared and not actor.operator:
            raise OperatorOnly
        repository = CatalogueRepository(scope)
        model = Model(
            id=new_id("mod"),
            tenant_id=scope.tenant_id,
            name=wanted.name,
            description=wanted.description,
            allow_unpriced=wanted.allow_unpriced,
            enabled=wanted.enabled,
            shared=wanted.shared,
            updated_at=self._clock.now(),
        )
        try:
            await repository.add(model)
        except IntegrityError as error:
            raise NameTaken(f"There is a model {wanted.name!r} already.", param="name") from error
        for deployment in wanted.deployments:
            await self._deploy(scope, model, deployment)
        await self._announce(scope, model)
        return await self.get(scope, model.id)

    async def page(self, scope: Scope, *, after: str | None, limit: int) -> Sequence[Model]:
        """The tenant's models and the shared ones, oldest first."""
        return await CatalogueRepository(scope).models(after=after, limit=limit)

    async def get(self, scope: Scope, name_or_id: str, *, shared: bool = False) -> Model:
        """A model of the tenant; ``shared`` finds the operator's too.

        Raises:
            ModelNotFound: there is none of this name or id.
        """
        model = await CatalogueRepository(scope).model(name_or_id, shared=shared)
        if model is None:
            raise ModelNotFound(name_or_id)
        return model

    async def change(self, scope: Scope, actor: Principal, name_or_id: str, patch: ModelPatch) -> Model:
        """
        Raises:
            ModelNotFound: there is none.
            NameTaken: another model has the name.
            OperatorOnly: it is shared, or to be shared, and the actor is no operator.
            SharingConflict: it is to be shared and a provider is not.
        """
        model = await self._own(scope, actor, name_or_id)
        was_shared = model.shared
        if patch.shared and not actor.operator:
            raise OperatorOnly
        if patch.shared:
            _require_shared(model.deployments)
        for name in patch.model_fields_set:
            setattr(model, name, getattr(patch, name))
        model.updated_at = self._clock.now()
        repository = CatalogueRepository(scope)
        try:
            await repository.flush()
        except IntegrityError as error:
            raise NameTaken(f"There is a model {patch.name!r} already.", param="name") from error
        if model.shared is not was_shared:
            await repository.share_deployments(model)
        await self._announce(scope, model, was_shared=was_shared)
        return model

    async def remove(self, scope: Scope, actor: Principal, name_or_id: str) -> None:
        """Delete a model with its deployments.

        Raises:
            ModelNotFound: there is none.
            OperatorOnly: it is shared and the actor is no operator.
        """
        model = await self._own(scope, actor, name_or_id)
        await CatalogueRepository(scope).remove(model)
        await self._announce(scope, model)

    async def deploy(self, scope: Scope, actor: Principal, name_or_id: str, wanted: DeploymentCreate) -> Deployment:
        """Add a deployment to a model.

        Raises:
            ModelNotFound, ProviderNotFound: there is none.
            NameTaken: the model has this deployment already.
            OperatorOnly: the model is shared and the actor is no operator.
            SharingConflict: the model is shared, the provider is not.
        """
        model = await self._own(scope, actor, name_or_id)
        deployment = await self._deploy(scope, model, wanted)
        await self._announce(scope, model)
        return await self._deployment(scope, model, deployment.id)

    async def change_deployment(
        self, scope: Scope, actor: Principal, name_or_id: str, deployment_id: str, patch: DeploymentPatch
    ) -> Deployment:
        """
        Raises:
            ModelNotFound, DeploymentNotFound: there is none.
            NameTaken: the model has such a deployment already.
            OperatorOnly: the model is shared and the actor is no operator.
        """
        model = await self._own(scope, actor, name_or_id)
        deployment = await self._deployment(scope, model, deployment_id)
        for name in patch.model_fields_set:
            setattr(deployment, name, getattr(patch, name))
        deployment.updated_at = self._clock.now()
        try:
            await CatalogueRepository(scope).flush()
        except IntegrityError as error:
            raise _duplicate(deployment.upstream_model) from error
        await self._announce(scope, model)
        return deployment

    async def withdraw(self, scope: Scope, actor: Principal, name_or_id: str, deployment_id: str) -> None:
        """Take a deployment away from a model.

        Raises:
            ModelNotFound, DeploymentNotFound: there is none.
            OperatorOnly: the model is shared and the actor is no operator.
        """
        model = await self._own(scope, actor, name_or_id)
        await CatalogueRepository(scope).remove(await self._deployment(scope, model, deployment_id))
        await self._announce(scope, model)

    async def _own(self, scope: Scope, actor: Principal, name_or_id: str) -> Model:
        model = await self.get(scope, name_or_id, shared=True)
        if model.tenant_id != scope.tenant_id or (model.shared and not actor.operator):
            raise OperatorOnly
        return model

    async def _deployment(self, scope: Scope, model: Model, deployment_id: str) -> Deployment:
        deployment = await CatalogueRepository(scope).deployment(model, deployment_id)
        if deployment is None:
            raise DeploymentNotFound(deployment_id)
        return deployment

    async def _deploy(self, scope: Scope, model: Model, wanted: DeploymentCreate) -> Deployment:
        repository = CatalogueRepository(scope)
        provider = await repository.provider(wanted.provider)
        if provider is None:
            raise ProviderNotFound(wanted.provider)
        if model.shared and not provider.shared:
            raise _unshared(provider.name)
        deployment = Deployment(
            id=new_id("dep"),
            tenant_id=scope.tenant_id,
            model_id=model.id,
            provider_id=provider.id,
            upstream_model=wanted.upstream_model,
            listed_as=wanted.listed_as,
            position=wanted.position,
            weight=wanted.weight,
            context_window=wanted.context_window,
            max_output_tokens=wanted.max_output_tokens,
            enabled=wanted.enabled,
            shared=model.shared,
            updated_at=self._clock.now(),
        )
        try:
            await repository.add(deployment)
        except IntegrityError as error:
            raise _duplicate(wanted.upstream_model) from error
        return deployment

    async def _announce(self, scope: Scope, model: Model, *, was_shared: bool = False) -> None:
        await scope.plan_changed("*" if model.shared or was_shared else None)


def _duplicate(upstream_model: str) -> NameTaken:
    return NameTaken(f"The model is served by {upstream_model!r} at this provider already.", param="upstream_model")


def _unshared(provider: str) -> SharingConflict:
    return SharingConflict(f"The provider {provider!r} is not shared; a shared model needs shared providers.")


def _require_shared(deployments: Sequence[Deployment]) -> None:
    for deployment in deployments:
        if not deployment.provider.shared:
            raise _unshared(deployment.provider.name)


def deployment_out(deployment: Deployment) -> DeploymentOut:
    """The row as the API shows it."""
    return DeploymentOut(
        id=deployment.id,
        provider_id=deployment.provider_id,
        provider=deployment.provider.name,
        upstream_model=deployment.upstream_model,
        listed_as=deployment.listed_as,
        position=deployment.position,
        weight=deployment.weight,
        context_window=deployment.context_window,
        max_output_tokens=deployment.max_output_tokens,
        enabled=deployment.enabled,
    )


def model_out(model: Model, tenant_id: str) -> ModelOut:
    """The row as the API shows it to a tenant."""
    yours = model.tenant_id == tenant_id
    return ModelOut(
        id=model.id,
        name=model.name,
        description=model.description,
        allow_unpriced=model.allow_unpriced,
        enabled=model.enabled,
        shared=model.shared,
        yours=yours,
        deployments=[deployment_out(deployment) for deployment in model.deployments] if yours else [],
        created_at=model.created_at,
        updated_at=model.updated_at,
    )

"""Carrying an import plan out through the catalogue's services, in one transaction. A second run changes nothing."""

from dataclasses import dataclass, field
from decimal import Decimal

from auterity.app.importing.litellm import ImportPlan
from auterity.engines.database.sessions import Database, Scope
from auterity.kit.errors import AuterityError
from auterity.platform.identity.principal import Principal
from auterity.platform.models.addresses import InvalidProviderAddress
from auterity.platform.models.catalogue import Catalogue
from auterity.platform.models.endpoints import actor_scope
from auterity.platform.models.errors import ModelNotFound, ProviderNotFound
from auterity.platform.models.models import Model
from auterity.platform.models.providers import Providers
from auterity.platform.models.schemas import (
    DeploymentCreate,
    ModelCreate,
    OverlayCreate,
    ProviderCreate,
    ProviderPatch,
)
from auterity.platform.models.terms import Terms

__all__ = ["ImportOutcome", "apply_plan"]


@dataclass(slots=True)
class ImportOutcome:
    """What was made. Each list holds short sentences for a person."""

    created: list[str] = field(default_factory=list[str])
    changed: list[str] = field(default_factory=list[str])
    unchanged: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    """With the reason; what depends on it is left out too."""


async def apply_plan(
    plan: ImportPlan,
    database: Database,
    actor: Principal,
    *,
    providers: Providers,
    catalogue: Catalogue,
    terms: Terms,
    dry_run: bool = False,
) -> ImportOutcome:
    """Make what the plan holds and the tenant lacks; keep what is there.

    A provider or model of the same name that is there already is kept as it is: a provider without a key gets the
    planned one, a model gets the deployments that it lacks.

    Args:
        plan: from :func:`auterity.app.importing.litellm.plan_litellm`.
        database: where the tenant's catalogue is.
        actor: whose tenant gets it.
        providers, catalogue, terms: the catalogue's services.
        dry_run: do everything and roll it back.
    """
    outcome = ImportOutcome()
    async with actor_scope(database, actor) as scope:
        step = _Application(scope, actor, outcome, providers=providers, catalogue=catalogue, terms=terms)
        for provider in plan.providers:
            await step.provider(provider)
        for model in plan.models:
            await step.model(model)
        for overlay in plan.overlays:
            await step.overlay(overlay)
        if dry_run:
            await scope.session.rollback()
    return outcome


class _Application:
    def __init__(
        self,
        scope: Scope,
        actor: Principal,
        outcome: ImportOutcome,
        *,
        providers: Providers,
        catalogue: Catalogue,
        terms: Terms,
    ) -> None:
        self._scope = scope
        self._actor = actor
        self._providers = providers
        self._catalogue = catalogue
        self._terms = terms
        self._outcome = outcome
        self._missing: set[str] = set()

    async def provider(self, wanted: ProviderCreate) -> None:
        name = f"provider {wanted.name}"
        try:
            present = await self._providers.get(self._scope, wanted.name)
        except ProviderNotFound:
            try:
                await self._providers.create(self._scope, self._actor, wanted)
            except InvalidProviderAddress as error:
                self._refuse(name, error)
                self._missing.add(wanted.name)
            else:
                self._outcome.created.append(name)
            return
        if (present.kind, present.base_url) != (wanted.kind, (wanted.base_url or "").rstrip("/")):
            self._outcome.refused.append(f"{name}: there is another provider of this name; rename one of them.")
            self._missing.add(wanted.name)
        elif wanted.api_key is not None and present.key_hint is None:
            await self._providers.change(
                self._scope, self._actor, wanted.name, ProviderPatch.model_validate({"api_key": wanted.api_key})
            )
            self._outcome.changed.append(f"{name}: the key was added")
        elif lacking := wanted.headers.keys() - present.header_names:
            await self._providers.change(
                self._scope, self._actor, wanted.name, ProviderPatch.model_validate({"headers": wanted.headers})
            )
            self._outcome.changed.append(f"{name}: the headers {', '.join(sorted(lacking))} were added")
        else:
            self._outcome.unchanged.append(name)

    async def model(self, wanted: ModelCreate) -> None:
        name = f"model {wanted.name}"
        reachable = [each for each in wanted.deployments if each.provider not in self._missing]
        if wanted.deployments and not reachable:
            self._outcome.refused.append(f"{name}: none of its providers could be added.")
            return
        try:
            present = await self._catalogue.get(self._scope, wanted.name)
        except ModelNotFound:
            model = wanted.model_copy(update={"deployments": reachable})
            await self._catalogue.create(self._scope, self._actor, model)
            self._outcome.created.append(name)
            return
        lacking = [each for each in reachable if not _has(present, each)]
        for deployment in lacking:
            await self._catalogue.deploy(self._scope, self._actor, present.id, deployment)
        if lacking:
            self._outcome.changed.append(f"{name}: {len(lacking)} deployments were added")
        else:
            self._outcome.unchanged.append(name)

    async def overlay(self, wanted: OverlayCreate) -> None:
        name = f"prices of {wanted.upstream_model} at provider {wanted.provider}"
        if wanted.provider is None or wanted.provider in self._missing:
            self._outcome.refused.append(f"{name}: the provider could not be added.")
            return
        provider = await self._providers.get(self._scope, wanted.provider)
        for row in await self._terms.all(self._scope):
            if (row.provider_id, row.upstream_model) != (provider.id, wanted.upstream_model):
                continue
            same = {kind: Decimal(price) for kind, price in row.prices.items()} == dict(wanted.prices)
            if same:
                self._outcome.unchanged.append(name)
            else:
                self._outcome.refused.append(f"{name}: there is another overlay; change or remove it.")
            return
        await self._terms.create(self._scope, self._actor, wanted)
        self._outcome.created.append(name)

    def _refuse(self, name: str, error: AuterityError) -> None:
        self._outcome.refused.append(f"{name}: {error.message}")


def _has(model: Model, wanted: DeploymentCreate) -> bool:
    return any(
        (each.provider.name, each.upstream_model) == (wanted.provider, wanted.upstream_model)
        for each in model.deployments
    )

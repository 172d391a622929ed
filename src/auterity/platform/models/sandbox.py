"""The sandbox in the catalogue: its provider, its models and their small list prices."""

from collections.abc import Mapping
from decimal import Decimal

from auterity.engines.database.sessions import Scope
from auterity.platform.identity.principal import Principal
from auterity.platform.models.catalogue import Catalogue
from auterity.platform.models.errors import ProviderNotFound
from auterity.platform.models.prices import Tariff
from auterity.platform.models.providers import Providers
from auterity.platform.models.repository import CatalogueRepository
from auterity.platform.models.schemas import DeploymentCreate, ModelCreate, ProviderCreate
from auterity.providers.sandbox.models import SANDBOX_MODELS

__all__ = ["SANDBOX_PRICES", "SANDBOX_PROVIDER", "seed_sandbox"]

SANDBOX_PROVIDER = "sandbox"
"""Name of the provider that is seeded."""

SANDBOX_PRICES: Mapping[str, Tariff] = {
    "sandbox-small": Tariff.per_million(
        {"input": Decimal("0.10"), "cache_read": Decimal("0.025"), "output": Decimal("0.40")}
    ),
    "sandbox-large": Tariff.per_million(
        {"input": Decimal("2.00"), "cache_read": Decimal("0.50"), "output": Decimal("8.00")}
    ),
    "sandbox-reasoning": Tariff.per_million(
        {"input": Decimal("1.00"), "cache_read": Decimal("0.25"), "output": Decimal("4.00")}
    ),
    "sandbox-embed": Tariff.per_million({"input": Decimal("0.02"), "output": Decimal(0)}),
}
"""Prices that nobody is billed, so that budgets and reports have something to show on the first run."""


async def seed_sandbox(scope: Scope, actor: Principal, providers: Providers, catalogue: Catalogue) -> list[str]:
    """Give a tenant the sandbox provider and its models, where it lacks them; return the names of the new models.

    What the tenant has under these names already stays as it is.
    """
    try:
        await providers.get(scope, SANDBOX_PROVIDER)
    except ProviderNotFound:
        await providers.create(scope, actor, ProviderCreate(name=SANDBOX_PROVIDER, kind="sandbox"))
    repository = CatalogueRepository(scope)
    made: list[str] = []
    for model in SANDBOX_MODELS.values():
        if await repository.model(model.name) is not None:
            continue
        await catalogue.create(
            scope,
            actor,
            ModelCreate(
                name=model.name,
                description="Answers without any model behind it: for trying out and for tests.",
                deployments=[
                    DeploymentCreate(
                        provider=SANDBOX_PROVIDER,
                        upstream_model=model.name,
                        context_window=model.context_window,
                        max_output_tokens=model.max_output_tokens or None,
                    )
                ],
            ),
        )
        made.append(model.name)
    return made

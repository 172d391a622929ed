"""A tenant's models compiled for the hot path: names, credentials and prices resolved. The cold path runs this."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from auterity.engines.database.sessions import Scope
from auterity.engines.http.port import Header, Transport
from auterity.platform.models.credentials import ProviderCredentials
from auterity.platform.models.models import Deployment, Model, PriceOverlay, Provider
from auterity.platform.models.plan import DeploymentPlan, ModelPlan
from auterity.platform.models.pricebook import PriceBook, Resolution
from auterity.platform.models.repository import CatalogueRepository
from auterity.platform.models.sandbox import SANDBOX_PRICES
from auterity.platform.models.terms import overlay_terms, priced_model
from auterity.providers.contract import Endpoint, Target, Wire
from auterity.providers.sandbox.models import SANDBOX_MODELS

__all__ = ["CompiledModels", "compile_models"]

_SANDBOX = "sandbox"


class CompiledModels(dict[str, ModelPlan]):
    """Models by their public names, and how long they hold."""

    def __init__(self, models: Mapping[str, ModelPlan], valid_until: datetime | None) -> None:
        super().__init__(models)
        self.valid_until = valid_until
        """From then on another price may apply somewhere: compile again. None: until something is changed."""


async def compile_models(
    scope: Scope,
    *,
    credentials: ProviderCredentials,
    wires: Mapping[str, Wire],
    transports: Mapping[str, Transport],
    at: datetime,
    only: str | None = None,
) -> CompiledModels:
    """Read and compile all enabled models that the scope's tenant may call, the shared ones included.

    A tenant's own model hides a shared one of the same name. A model that nothing can serve stays, without deployments.

    Args:
        scope: a tenant's transaction.
        credentials: opens the keys.
        wires: by the provider's kind; deployments at providers of other kinds are left out.
        transports: by the provider's kind.
        at: the moment whose prices apply.
        only: name or id of the one model to compile.

    Raises:
        SealBroken: a credential cannot be opened with the present master keys.
    """
    repository = CatalogueRepository(scope)
    rows = await repository.servable(only)
    books = _books(await repository.terms())
    compiler = _Compiler(credentials, wires, transports, books, at)
    models: dict[str, ModelPlan] = {}
    for row in rows:  # the tenant's own come first
        if row.name not in models:
            models[row.name] = compiler.model(row)
    return CompiledModels(models, min(compiler.changes, default=None))


def _books(overlays: Sequence[PriceOverlay]) -> Mapping[str, PriceBook]:
    """A price book for each owner of terms: a deployment is priced by its owner's terms, never by its caller's."""
    owners: dict[str, list[PriceOverlay]] = {}
    for overlay in overlays:
        owners.setdefault(overlay.tenant_id, []).append(overlay)
    return {
        owner: PriceBook([overlay_terms(row) for row in rows], sandbox=SANDBOX_PRICES) for owner, rows in owners.items()
    }


class _Compiler:
    def __init__(
        self,
        credentials: ProviderCredentials,
        wires: Mapping[str, Wire],
        transports: Mapping[str, Transport],
        books: Mapping[str, PriceBook],
        at: datetime,
    ) -> None:
        self._credentials = credentials
        self._wires = wires
        self._transports = transports
        self._books = books
        self._list_only = PriceBook(sandbox=SANDBOX_PRICES)
        self._at = at
        self._opened: dict[str, tuple[str | None, tuple[Header, ...]]] = {}
        self.changes: list[datetime] = []

    def model(self, row: Model) -> ModelPlan:
        """Compile one model with those of its deployments that can serve."""
        usable = [
            deployment
            for deployment in row.deployments
            if deployment.provider.enabled
            and deployment.provider.kind in self._wires
            and deployment.provider.kind in self._transports
        ]
        deployments = tuple(self._deployment(row, deployment) for deployment in usable)
        return ModelPlan(
            name=row.name,
            created=int(row.created_at.timestamp()),
            owned_by=usable[0].provider.name if usable else "",
            endpoints=frozenset(endpoint for one in usable for endpoint in self._endpoints(one)),
            deployments=deployments,
            allow_unpriced=row.allow_unpriced,
            facts=_facts(row, deployments),
        )

    def _endpoints(self, row: Deployment) -> frozenset[Endpoint]:
        if row.provider.kind == _SANDBOX and row.upstream_model in SANDBOX_MODELS:
            return frozenset({SANDBOX_MODELS[row.upstream_model].endpoint})
        return self._wires[row.provider.kind].endpoints

    def _deployment(self, model: Model, row: Deployment) -> DeploymentPlan:
        provider = row.provider
        key, headers = self._secrets(provider)
        resolution = self._price(row)
        if resolution.valid_until is not None:
            self.changes.append(resolution.valid_until)
        return DeploymentPlan(
            id=row.id,
            provider=provider.name,
            kind=provider.kind,
            wire=self._wires[provider.kind],
            transport=self._transports[provider.kind],
            target=Target(
                base_url=provider.base_url,
                api_key=key,
                upstream_model=row.upstream_model,
                public_model=model.name,
                headers=headers,
                query=provider.query,
                max_output_tokens=row.max_output_tokens,
                accepts_stream_options=provider.stream_options,
            ),
            price=resolution.card,
            context_window=row.context_window or resolution.context_window,
            max_output_tokens=row.max_output_tokens,
            weight=row.weight,
            timeouts=provider.limits,
        )

    def _secrets(self, provider: Provider) -> tuple[str | None, tuple[Header, ...]]:
        if provider.id not in self._opened:
            self._opened[provider.id] = self._credentials.key(provider), self._credentials.headers(provider)
        return self._opened[provider.id]

    def _price(self, row: Deployment) -> Resolution:
        book = self._books.get(row.tenant_id, self._list_only)
        return book.explain(priced_model(row.provider, row.upstream_model, row.listed_as), self._at)


def _facts(row: Model, deployments: Sequence[DeploymentPlan]) -> Mapping[str, str | int | bool]:
    """What ``/v1/models`` shows beyond OpenAI's fields; limits are those that every deployment keeps."""
    facts: dict[str, str | int | bool] = {}
    if row.description:
        facts["description"] = row.description
    for name, limits in (
        ("context_window", [deployment.context_window for deployment in deployments]),
        ("max_output_tokens", [deployment.max_output_tokens for deployment in deployments]),
    ):
        known = [limit for limit in limits if limit is not None]
        if known and len(known) == len(limits):
            facts[name] = min(known)
    if any(deployment.kind == _SANDBOX for deployment in deployments):
        facts[_SANDBOX] = True
    return facts

"""Use-cases of providers: where a tenant's models are called, with which credential."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.exc import IntegrityError

from auterity.engines.database.sessions import Scope
from auterity.kit.clock import Clock
from auterity.kit.errors import InvalidRequest
from auterity.kit.ids import new_id
from auterity.platform.identity.principal import Principal
from auterity.platform.models.addresses import AddressPolicy, InvalidProviderAddress
from auterity.platform.models.credentials import ProviderCredentials
from auterity.platform.models.errors import NameTaken, OperatorOnly, ProviderInUse, ProviderNotFound, SharingConflict
from auterity.platform.models.models import Provider
from auterity.platform.models.repository import CatalogueRepository
from auterity.platform.models.schemas import ProviderCreate, ProviderOut, ProviderPatch, TimeoutLimits
from auterity.providers.sandbox.wire import SANDBOX_BASE_URL

__all__ = ["DEFAULT_BASE_URLS", "Providers", "provider_out"]

DEFAULT_BASE_URLS: Mapping[str, str] = {
    "anthropic": "https://api.anthropic.com",
    "sandbox": SANDBOX_BASE_URL,
}
"""Addresses of the kinds that live at one place."""

_SANDBOX = "sandbox"
_NAMES_SHOWN = 5


class Providers:
    """Each method works in the transaction it is given, of the actor's tenant."""

    def __init__(
        self,
        *,
        credentials: ProviderCredentials,
        addresses: AddressPolicy,
        clock: Clock,
        kinds: Collection[str],
    ) -> None:
        """
        Args:
            credentials: seals the keys.
            addresses: where providers may live.
            clock: dates the changes.
            kinds: names of the wires that there are.
        """
        self._credentials = credentials
        self._addresses = addresses
        self._clock = clock
        self._kinds = frozenset(kinds)

    async def create(self, scope: Scope, actor: Principal, wanted: ProviderCreate) -> Provider:
        """
        Raises:
            InvalidRequest: the kind is unknown.
            InvalidProviderAddress: it cannot live there.
            NameTaken: the tenant has a provider of this name.
            OperatorOnly: it is to be shared and the actor is no operator.
        """
        if wanted.kind not in self._kinds:
            known = ", ".join(sorted(self._kinds))
            raise InvalidRequest(f"There is no kind of provider {wanted.kind!r}; there are: {known}.", param="kind")
        if wanted.shared and not actor.operator:
            raise OperatorOnly
        provider = Provider(
            id=new_id("prv"),
            tenant_id=scope.tenant_id,
            name=wanted.name,
            kind=wanted.kind,
            base_url=await self._address(wanted.kind, wanted.base_url, actor),
            sealed_key=None,
            key_hint=None,
            query=wanted.query,
            stream_options=wanted.stream_options,
            price_provider=wanted.price_provider,
            timeouts=wanted.timeouts.model_dump(exclude_none=True),
            enabled=wanted.enabled,
            shared=wanted.shared,
            updated_at=self._clock.now(),
        )
        self._credentials.set_key(provider, wanted.api_key.get_secret_value() if wanted.api_key else None)
        self._credentials.set_headers(provider, wanted.headers)
        try:
            await CatalogueRepository(scope).add(provider)
        except IntegrityError as error:
            raise NameTaken(f"There is a provider {wanted.name!r} already.", param="name") from error
        await self._announce(scope, provider)
        return provider

    async def page(self, scope: Scope, *, after: str | None, limit: int) -> Sequence[Provider]:
        """The tenant's providers, oldest first."""
        return await CatalogueRepository(scope).providers(after=after, limit=limit)

    async def get(self, scope: Scope, name_or_id: str) -> Provider:
        """
        Raises:
            ProviderNotFound: the tenant has none of this name or id.
        """
        provider = await CatalogueRepository(scope).provider(name_or_id)
        if provider is None:
            raise ProviderNotFound(name_or_id)
        return provider

    async def change(self, scope: Scope, actor: Principal, name_or_id: str, patch: ProviderPatch) -> Provider:
        """
        Raises:
            ProviderNotFound: there is none.
            InvalidProviderAddress: it cannot live there.
            NameTaken: another provider has the name.
            OperatorOnly: it is shared, or to be shared, and the actor is no operator.
            SharingConflict: a shared model needs it shared.
        """
        provider = await self.get(scope, name_or_id)
        was_shared = provider.shared
        if (was_shared or patch.shared) and not actor.operator:
            raise OperatorOnly
        repository = CatalogueRepository(scope)
        given = patch.model_fields_set
        if patch.base_url is not None:
            provider.base_url = await self._address(provider.kind, patch.base_url, actor)
        if was_shared and patch.shared is False:
            await self._require_unshared_models(repository, provider)
        if "api_key" in given:
            self._credentials.set_key(provider, patch.api_key.get_secret_value() if patch.api_key else None)
        if patch.headers is not None:
            self._credentials.set_headers(provider, patch.headers)
        if patch.timeouts is not None:
            provider.timeouts = patch.timeouts.model_dump(exclude_none=True)
        for name in given & {"name", "query", "stream_options", "price_provider", "enabled", "shared"}:
            setattr(provider, name, getattr(patch, name))
        provider.updated_at = self._clock.now()
        try:
            await repository.flush()
        except IntegrityError as error:
            raise NameTaken(f"There is a provider {patch.name!r} already.", param="name") from error
        await self._announce(scope, provider, was_shared=was_shared)
        return provider

    async def remove(self, scope: Scope, actor: Principal, name_or_id: str) -> None:
        """Delete a provider and the overlays that speak of it.

        Raises:
            ProviderNotFound: there is none.
            ProviderInUse: models are served by it.
            OperatorOnly: it is shared and the actor is no operator.
        """
        provider = await self.get(scope, name_or_id)
        if provider.shared and not actor.operator:
            raise OperatorOnly
        repository = CatalogueRepository(scope)
        if names := await repository.models_of(provider, limit=_NAMES_SHOWN):
            raise ProviderInUse(f"Models are served by it: {', '.join(names)}. Remove their deployments first.")
        try:
            await repository.remove(provider)
        except IntegrityError as error:  # a deployment came in between
            raise ProviderInUse("A model is served by it. Remove its deployment first.") from error
        await self._announce(scope, provider)

    async def _require_unshared_models(self, repository: CatalogueRepository, provider: Provider) -> None:
        if names := await repository.models_of(provider, limit=_NAMES_SHOWN, shared=True):
            raise SharingConflict(f"Shared models are served by it: {', '.join(names)}. Stop sharing these first.")

    async def _address(self, kind: str, url: str | None, actor: Principal) -> str:
        url = url or DEFAULT_BASE_URLS.get(kind)
        if url is None:
            raise InvalidProviderAddress(f"A provider of the kind {kind} needs a base_url.")
        if kind == _SANDBOX:  # it answers in-process: there is no address to reach
            return SANDBOX_BASE_URL
        return await self._addresses.check(url, operator=actor.operator)

    async def _announce(self, scope: Scope, provider: Provider, *, was_shared: bool = False) -> None:
        await scope.plan_changed("*" if provider.shared or was_shared else None)


def provider_out(provider: Provider) -> ProviderOut:
    """The row as the API shows it."""
    return ProviderOut(
        id=provider.id,
        name=provider.name,
        kind=provider.kind,
        base_url=provider.base_url,
        has_credential=provider.key_hint is not None,
        credential_hint=provider.key_hint or "",
        header_names=provider.header_names,
        query=provider.query,
        stream_options=provider.stream_options,
        price_provider=provider.price_provider,
        timeouts=TimeoutLimits(**provider.timeouts),
        enabled=provider.enabled,
        shared=provider.shared,
        created_at=provider.created_at,
        updated_at=provider.updated_at,
    )

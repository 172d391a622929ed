"""Use-cases of prices: a tenant's own terms, and the answer to which price applies and why."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from auterity.engines.database.sessions import Scope
from auterity.kit.clock import Clock
from auterity.kit.errors import InvalidRequest
from auterity.kit.ids import new_id
from auterity.kit.money import NANO_PER_DOLLAR
from auterity.platform.identity.principal import Principal
from auterity.platform.models.errors import OperatorOnly, OverlayNotFound, ProviderNotFound
from auterity.platform.models.models import PriceOverlay, Provider
from auterity.platform.models.pricebook import Overlay, PriceBook, PricedModel, Resolution
from auterity.platform.models.prices import TOKEN_KINDS, Rate, TokenKind
from auterity.platform.models.repository import CatalogueRepository
from auterity.platform.models.sandbox import SANDBOX_PRICES
from auterity.platform.models.schemas import OverlayCreate, OverlayOut, OverlayPatch, PriceResolution

__all__ = ["Terms", "overlay_out", "overlay_terms", "price_resolution", "priced_model"]


class Terms:
    """Each method works in the transaction it is given, of the actor's tenant."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    async def create(self, scope: Scope, actor: Principal, wanted: OverlayCreate) -> PriceOverlay:
        """
        Raises:
            ProviderNotFound: it speaks for a provider that the tenant does not have.
            OperatorOnly: it is to be shared and the actor is no operator.
        """
        if wanted.shared and not actor.operator:
            raise OperatorOnly
        repository = CatalogueRepository(scope)
        provider: Provider | None = None
        if wanted.provider is not None:
            provider = await repository.provider(wanted.provider)
            if provider is None:
                raise ProviderNotFound(wanted.provider)
        overlay = PriceOverlay(
            id=new_id("ovl"),
            tenant_id=scope.tenant_id,
            note=wanted.note,
            provider_id=provider.id if provider else None,
            upstream_model=wanted.upstream_model,
            discount_percent=wanted.discount_percent,
            prices=_stored(wanted.prices),
            per_request=wanted.per_request,
            batch_multiplier=wanted.batch_multiplier,
            valid_from=wanted.valid_from,
            valid_to=wanted.valid_to,
            shared=wanted.shared,
            updated_at=self._clock.now(),
        )
        await repository.add(overlay)
        await self._announce(scope, overlay)
        return overlay

    async def page(self, scope: Scope, *, after: str | None, limit: int) -> Sequence[PriceOverlay]:
        """The tenant's terms, oldest first."""
        return await CatalogueRepository(scope).overlays(after=after, limit=limit)

    async def all(self, scope: Scope) -> Sequence[PriceOverlay]:
        """All of the tenant's own terms."""
        return [row for row in await CatalogueRepository(scope).terms() if row.tenant_id == scope.tenant_id]

    async def get(self, scope: Scope, overlay_id: str) -> PriceOverlay:
        """
        Raises:
            OverlayNotFound: the tenant has none of this id.
        """
        overlay = await CatalogueRepository(scope).overlay(overlay_id)
        if overlay is None:
            raise OverlayNotFound(overlay_id)
        return overlay

    async def change(self, scope: Scope, actor: Principal, overlay_id: str, patch: OverlayPatch) -> PriceOverlay:
        """
        Raises:
            OverlayNotFound: there is none.
            InvalidRequest: it would end before it begins.
            OperatorOnly: it is shared and the actor is no operator.
        """
        overlay = await self._own(scope, actor, overlay_id)
        for name in patch.model_fields_set - {"prices"}:
            setattr(overlay, name, getattr(patch, name))
        if patch.prices is not None:
            overlay.prices = _stored(patch.prices)
        if overlay.valid_from and overlay.valid_to and overlay.valid_to <= overlay.valid_from:
            raise InvalidRequest("valid_to must come after valid_from.", param="valid_to")
        overlay.updated_at = self._clock.now()
        await CatalogueRepository(scope).flush()
        await self._announce(scope, overlay)
        return overlay

    async def remove(self, scope: Scope, actor: Principal, overlay_id: str) -> None:
        """
        Raises:
            OverlayNotFound: there is none.
            OperatorOnly: it is shared and the actor is no operator.
        """
        overlay = await self._own(scope, actor, overlay_id)
        await CatalogueRepository(scope).remove(overlay)
        await self._announce(scope, overlay)

    async def resolve(
        self,
        scope: Scope,
        provider: str,
        upstream_model: str,
        *,
        listed_as: str | None = None,
        at: datetime | None = None,
    ) -> PriceResolution:
        """Which price applies to a model at one of the tenant's providers, now or at another moment.

        Raises:
            ProviderNotFound: the tenant has none of this name or id.
        """
        repository = CatalogueRepository(scope)
        found = await repository.provider(provider)
        if found is None:
            raise ProviderNotFound(provider)
        own = [overlay_terms(row) for row in await self.all(scope)]
        moment = at or self._clock.now()
        resolution = PriceBook(own, sandbox=SANDBOX_PRICES).explain(
            priced_model(found, upstream_model, listed_as), moment
        )
        return price_resolution(resolution, found.name, upstream_model, moment)

    async def _own(self, scope: Scope, actor: Principal, overlay_id: str) -> PriceOverlay:
        overlay = await self.get(scope, overlay_id)
        if overlay.shared and not actor.operator:
            raise OperatorOnly
        return overlay

    async def _announce(self, scope: Scope, overlay: PriceOverlay) -> None:
        await scope.plan_changed("*" if overlay.shared else None)


def priced_model(provider: Provider, upstream_model: str, listed_as: str | None = None) -> PricedModel:
    """What the price book wants to know of a model."""
    return PricedModel(
        kind=provider.kind,
        base_url=provider.base_url,
        upstream_model=upstream_model,
        listed_as=listed_as,
        provider_id=provider.id,
        price_provider=provider.price_provider,
    )


def overlay_terms(row: PriceOverlay) -> Overlay:
    """The row as the price book takes it."""
    return Overlay(
        id=row.id,
        updated_at=row.updated_at,
        provider_id=row.provider_id,
        upstream_model=row.upstream_model,
        discount_percent=row.discount_percent,
        prices=_prices(row.prices),
        per_request=row.per_request,
        batch_multiplier=row.batch_multiplier,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
    )


def overlay_out(row: PriceOverlay) -> OverlayOut:
    """The row as the API shows it."""
    return OverlayOut(
        id=row.id,
        note=row.note,
        provider_id=row.provider_id,
        upstream_model=row.upstream_model,
        discount_percent=row.discount_percent,
        prices=_prices(row.prices),
        per_request=row.per_request,
        batch_multiplier=row.batch_multiplier,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        shared=row.shared,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def price_resolution(resolution: Resolution, provider: str, model: str, at: datetime) -> PriceResolution:
    """The price book's answer as the API shows it."""
    tariff = resolution.tariff
    rates: Mapping[TokenKind, Rate] = tariff.rates if tariff else {}
    return PriceResolution(
        provider=provider,
        model=model,
        at=at,
        known=resolution.card is not None,
        source=resolution.card.source if resolution.card else None,
        version=resolution.card.version if resolution.card else None,
        reason=resolution.reason,
        valid_until=resolution.valid_until,
        per_million={kind: _dollars(rate.base, 1_000_000) for kind, rate in rates.items()},
        tiers={
            kind: {start: _dollars(price, 1_000_000) for start, price in rate.tiers}
            for kind, rate in rates.items()
            if rate.tiers
        },
        per_request=_dollars(tariff.request.base, 1) if tariff else Decimal(0),
        overlay_id=resolution.overlay.id if resolution.overlay else None,
        unmetered=list(resolution.unmetered),
    )


def _stored(prices: Mapping[TokenKind, Decimal]) -> dict[str, str]:
    return {kind: f"{price:f}" for kind, price in prices.items()}


def _prices(stored: Mapping[str, str]) -> dict[TokenKind, Decimal]:
    return {kind: Decimal(stored[kind]) for kind in TOKEN_KINDS if kind in stored}


def _dollars(nano: Fraction, units: int) -> Decimal:
    """US dollars for so many units, for people to read: up to twelve decimal places."""
    dollars = nano * units / NANO_PER_DOLLAR
    rounded = (Decimal(dollars.numerator) / Decimal(dollars.denominator)).quantize(Decimal("1e-12"))
    return Decimal(f"{rounded.normalize():f}")

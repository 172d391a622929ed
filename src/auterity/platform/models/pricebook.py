"""Which price applies: a tenant's overlays on top of the public list, and the sandbox's own small prices.

An overlay speaks for a provider, a model, both or neither. Exactly one applies to a call: the narrowest that is valid
at the moment (a model is narrower than a provider), of equally narrow ones the one that became valid latest, then the
one that was changed latest. Overlays are not added up, so that a reader of one row knows the price.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from auterity.kit.money import NANO_PER_DOLLAR
from auterity.platform.models.pricelist import LIST_VERSION, Listing, look_up
from auterity.platform.models.prices import PriceCard, Rate, Tariff, TokenKind

__all__ = ["Overlay", "PriceBook", "PricedModel", "Resolution"]

_DAWN = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PricedModel:
    """The model whose price is asked for, as its deployment names it."""

    kind: str
    """The provider's kind: ``openai_compatible``, ``anthropic``, ``sandbox``."""
    base_url: str
    upstream_model: str
    listed_as: str | None = None
    """Its name in the public price list, where that is another."""
    provider_id: str | None = None
    """``prv_…``: the tenant's provider, which overlays refer to."""
    price_provider: str | None = None
    """The provider's id in the public price list; without it the address decides."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """A tenant's own terms."""

    id: str
    updated_at: datetime
    provider_id: str | None = None
    """None: at any provider."""
    upstream_model: str | None = None
    """None: any model."""
    discount_percent: Decimal = Decimal(0)
    """Off the list price, for all that ``prices`` does not fix. Negative for a surcharge."""
    prices: Mapping[TokenKind, Decimal] = field(default_factory=dict[TokenKind, Decimal])
    """Fixed prices in US dollars per million tokens."""
    per_request: Decimal | None = None
    """Fixed price in US dollars per call; None: the list's."""
    batch_multiplier: Decimal = Decimal(1)
    """What batched calls cost, relative to others; for the batch endpoints."""
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    """The first moment at which it no longer holds."""

    def speaks_for(self, model: PricedModel) -> bool:
        """Say whether the overlay is about this model at all."""
        return self.provider_id in (None, model.provider_id) and (
            self.upstream_model is None or self.upstream_model.lower() == model.upstream_model.lower()
        )

    def holds(self, at: datetime) -> bool:
        """Say whether the overlay is valid at a moment."""
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_to is None or at < self.valid_to)

    @property
    def precedence(self) -> tuple[bool, bool, datetime, datetime, str]:
        """The greatest wins."""
        return (
            self.upstream_model is not None,
            self.provider_id is not None,
            self.valid_from or _DAWN,
            self.updated_at,
            self.id,
        )


@dataclass(frozen=True, slots=True)
class Resolution:
    """The price that applies, and why."""

    card: PriceCard | None
    reason: str
    valid_until: datetime | None
    """The next moment at which another price may apply, whether or not there is one now."""
    tariff: Tariff | None = None
    overlay: Overlay | None = None
    unmetered: tuple[str, ...] = ()
    """Charges that the list has for this model and the gateway does not meter."""
    context_window: int | None = None
    """What the public list knows of it, in tokens."""


class PriceBook:
    """All prices of one tenant."""

    def __init__(self, overlays: Sequence[Overlay] = (), *, sandbox: Mapping[str, Tariff] | None = None) -> None:
        """
        Args:
            overlays: the tenant's own terms, in any order.
            sandbox: prices of the sandbox provider's models by their upstream name.
        """
        self._overlays = tuple(overlays)
        self._sandbox = sandbox or {}

    def resolve(self, model: PricedModel, at: datetime) -> PriceCard | None:
        """The price at a moment; None where it is not known, which is never the same as free."""
        return self.explain(model, at).card

    def explain(self, model: PricedModel, at: datetime) -> Resolution:
        """The price at a moment, in words too."""
        listing, source, version = self._listed(model, at)
        about = [overlay for overlay in self._overlays if overlay.speaks_for(model)]
        winner = max(
            (overlay for overlay in about if overlay.holds(at)), key=lambda overlay: overlay.precedence, default=None
        )
        changes = [
            moment
            for moment in (listing.valid_until, *(moment for one in about for moment in (one.valid_from, one.valid_to)))
            if moment is not None and moment > at
        ]
        known = Resolution(
            card=None,
            reason=listing.reason,
            valid_until=min(changes, default=None),
            tariff=listing.tariff,
            unmetered=listing.unmetered,
            context_window=listing.context_window,
        )
        if winner is not None:
            source, version = "overlay", f"{winner.id}@{winner.updated_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
            tariff, reason = _overlaid(winner, listing)
            known = replace(known, tariff=tariff, reason=reason, overlay=winner)
        if known.tariff is None:
            return known
        try:
            card = known.tariff.card(source=source, version=version, valid_until=known.valid_until)
        except ValueError as error:
            return replace(known, tariff=None, reason=f"{known.reason} It cannot be used: {error}.")
        return replace(known, card=card)

    def _listed(self, model: PricedModel, at: datetime) -> tuple[Listing, str, str]:
        if model.kind != "sandbox":
            name = model.listed_as or model.upstream_model
            listing = look_up(name, provider_id=model.price_provider, base_url=model.base_url or None, at=at)
            return listing, "genai-prices", LIST_VERSION
        tariff = self._sandbox.get(model.upstream_model)
        reason = "The sandbox's own price; nobody is billed." if tariff else "The sandbox has no model of this name."
        return Listing(tariff, reason), "sandbox", "1"


def _overlaid(overlay: Overlay, listing: Listing) -> tuple[Tariff | None, str]:
    """Apply an overlay to the list's prices, or to none: then it must itself say what input and output cost."""
    fixed: dict[TokenKind, Rate] = {kind: Rate.per_million(price) for kind, price in overlay.prices.items()}
    if listing.tariff is None and not {"input", "output"} <= fixed.keys():
        return None, (
            f"{listing.reason} The overlay {overlay.id} fixes no price for both input and output, "
            "and there is no list price that it could change."
        )
    factor = 1 - Fraction(overlay.discount_percent) / 100
    listed = listing.tariff.scaled(factor) if listing.tariff else Tariff({})
    request = listed.request if overlay.per_request is None else _per_call(overlay.per_request)
    what: list[str] = []
    if fixed:
        what.append("fixed prices for " + ", ".join(sorted(fixed)))
    if listing.tariff is not None and overlay.discount_percent:
        what.append(f"{overlay.discount_percent.normalize():f} % off the list price")
    return Tariff({**listed.rates, **fixed}, request), (
        f"Overlay {overlay.id}: {' and '.join(what) or 'the list price'}. {listing.reason}"
    )


def _per_call(dollars: Decimal) -> Rate:
    return Rate(Fraction(dollars) * NANO_PER_DOLLAR)

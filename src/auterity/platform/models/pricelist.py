"""The public price list (genai-prices), read into tariffs.

A model that the list does not know, or prices by what the gateway does not meter (hours of audio, pages, characters),
has no price here: the answer says so, and is never zero. A free model is one that the list names as free.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from fractions import Fraction

from genai_prices import __version__ as list_version
from genai_prices.data_snapshot import get_snapshot
from genai_prices.data_units import unit_data
from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices, TimeOfDateConstraint
from genai_prices.units import UnitRegistry

from auterity.kit.money import NANO_PER_DOLLAR
from auterity.platform.models.prices import Rate, Tariff, TokenKind

__all__ = ["LIST_VERSION", "Listing", "look_up", "tariff"]

LIST_VERSION = list_version
"""Version of the price list's package."""

_UNITS = UnitRegistry(unit_data)

# The list is read here, when the program starts: on first use it would hold up the event loop for a sixth of a second.
get_snapshot()

_KINDS: dict[str, TokenKind] = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "input_audio_tokens": "input_audio",
    "cache_audio_read_tokens": "cache_read_audio",
    "output_audio_tokens": "output_audio",
    "output_reasoning_tokens": "reasoning",
}
"""The list's units that the gateway meters. Tokens of other kinds (images, longer-lived cache) are metered in their
parent and priced so, as the list itself does with usage that does not tell them apart."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the list says of a model at one moment."""

    tariff: Tariff | None
    reason: str
    """In words: where the price comes from, or why there is none."""
    valid_until: datetime | None = None
    """The next moment at which the list itself changes this price."""
    unmetered: tuple[str, ...] = ()
    """Charges of the list that the gateway does not meter, e.g. ``web_searches``."""
    context_window: int | None = None
    """The most tokens that the model takes, where the list knows it."""


def look_up(model: str, *, provider_id: str | None, base_url: str | None, at: datetime) -> Listing:
    """Find a model by the list's provider id or, without one, by the provider's address."""
    where = provider_id or base_url or ""
    if not where:
        return Listing(None, "Neither a provider of the price list nor an address is known.")
    try:
        provider, info = get_snapshot().find_provider_model(
            model, None, provider_id or None, None if provider_id else base_url
        )
    except LookupError:
        return Listing(None, f"The price list does not know the model {model!r} at {where}.")
    return _listing(info, provider.id, at)


def tariff(price: ModelPrice, *, free: bool = False) -> tuple[Tariff | None, tuple[str, ...]]:
    """Read one set of prices; also return the units of the list that are priced and not metered here.

    None where the prices are for something else than tokens, or there are none and the model is not ``free``.
    """
    rates: dict[TokenKind, Rate] = {}
    request = Rate(Fraction(0))
    unmetered: list[str] = []
    stated = {key: value for key, value in vars(price).items() if value is not None}
    if not stated:
        return (Tariff({"input": request, "output": request}) if free else None), ()
    for key, value in stated.items():
        unit = _UNITS.unit_for_price_key(key)
        rate = _rate(value, unit.per)
        kind = _KINDS.get(unit.usage_key)
        if kind is not None:
            rates[kind] = rate
        elif unit.usage_key == "requests":
            request = rate
        else:
            unmetered.append(unit.usage_key)
    if "input" not in rates or any(not _is_extra(name) for name in unmetered):
        return None, tuple(unmetered)
    return Tariff(rates, request), tuple(unmetered)


def _is_extra(usage_key: str) -> bool:
    """Say whether a unit is priced beside the tokens of a call rather than instead of some of them."""
    return _UNITS.units[usage_key].dimensions.get("family") in {"tokens", "tool_calls"}


def _listing(info: ModelInfo, provider_id: str, at: datetime) -> Listing:
    if not info.prices:
        return Listing(None, f"The price list names {info.id!r} of {provider_id} without a price.")
    price = info.get_prices(at)
    found, unmetered = tariff(price, free=info.id.lower().endswith(":free"))
    valid_until = _next_change(info, at)
    if found is None:
        why = f"prices it by {', '.join(unmetered)}" if unmetered else "states no price for it"
        return Listing(
            None,
            f"The price list knows {info.id!r} of {provider_id} but {why}; add an overlay with the price per token.",
            valid_until,
            unmetered,
            info.context_window,
        )
    return Listing(found, f"List price of {info.id!r} of {provider_id}.", valid_until, unmetered, info.context_window)


def _rate(price: object, per: int) -> Rate:
    scale = Fraction(NANO_PER_DOLLAR, per)
    if isinstance(price, TieredPrices):
        return Rate(
            Fraction(price.base) * scale,
            tuple((tier.start, Fraction(tier.price) * scale) for tier in price.tiers),
        )
    return Rate(Fraction(str(price)) * scale)


def _next_change(info: ModelInfo, at: datetime) -> datetime | None:
    if isinstance(info.prices, ModelPrice):
        return None
    moments: list[datetime] = []
    for conditional in info.prices:
        constraint = conditional.constraint
        if isinstance(constraint, StartDateConstraint):
            moments.append(datetime.combine(constraint.start_date, time(), UTC))
        elif isinstance(constraint, TimeOfDateConstraint):
            moments.extend(_daily(boundary, at) for boundary in (constraint.start_time, constraint.end_time))
    return min((moment for moment in moments if moment > at), default=None)


def _daily(boundary: time, at: datetime) -> datetime:
    """The first time after ``at`` that a daily clock time comes round; without a zone it is UTC."""
    zone = boundary.tzinfo or UTC
    moment = datetime.combine(at.astimezone(zone).date(), boundary.replace(tzinfo=None), zone)
    return (moment if moment > at else moment + timedelta(days=1)).astimezone(UTC)

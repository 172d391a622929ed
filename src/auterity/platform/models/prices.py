"""Prices: what one call costs in integer nano-dollars.

A price list speaks of dollars per million tokens, by kind, with tiers. A :class:`Tariff` holds that exactly, as
fractions of a nano-dollar per token; :meth:`Tariff.card` compiles it into integers over one common denominator, so that
the hot path adds a few products and rounds once, half to even. Nothing is a float and nothing is rounded on the way.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal, get_args

from auterity.kit.money import NANO_PER_DOLLAR
from auterity.kit.tokens import TokenUsage

__all__ = ["TOKEN_KINDS", "Band", "PriceCard", "Rate", "Tariff", "TokenKind"]

TokenKind = Literal[
    "input",
    "output",
    "cache_read",
    "cache_write",
    "input_audio",
    "cache_read_audio",
    "output_audio",
    "reasoning",
]
"""A field of :class:`TokenUsage` that can have a price of its own; tokens of a kind without one cost what the kind they
are a part of costs."""
TOKEN_KINDS: tuple[TokenKind, ...] = get_args(TokenKind)

_INPUT_KINDS: tuple[TokenKind, ...] = ("input", "cache_read", "cache_write", "input_audio", "cache_read_audio")
_OUTPUT_KINDS: tuple[TokenKind, ...] = ("output", "output_audio", "reasoning")
_ZERO = Fraction(0)


@dataclass(frozen=True, slots=True)
class Rate:
    """Nano-dollars per unit, possibly dearer (or cheaper) for long contexts.

    A tier ``(start, price)`` applies to *all* units of a call whose total input is more than ``start`` tokens: the
    threshold pricing that providers publish. Tiers are in ascending order.
    """

    base: Fraction
    tiers: tuple[tuple[int, Fraction], ...] = ()

    @classmethod
    def per_million(cls, dollars: Decimal) -> "Rate":
        """From US dollars per million units."""
        return cls(Fraction(dollars) * NANO_PER_DOLLAR / 1_000_000)

    def at(self, start: int | None) -> Fraction:
        """The price in the band that opens just above ``start`` input tokens; None: the lowest band."""
        price = self.base
        if start is not None:
            for threshold, tier in self.tiers:
                if threshold <= start:
                    price = tier
        return price

    def scaled(self, factor: Fraction) -> "Rate":
        """The same rate times a factor, e.g. a discount."""
        return Rate(self.base * factor, tuple((start, price * factor) for start, price in self.tiers))


@dataclass(frozen=True, slots=True)
class Band:
    """A card's integers for one range of total input tokens, all over the card's denominator.

    The coefficients are for the totals of :class:`TokenUsage`, which include their parts: a part's coefficient is its
    price less the price of what it is a part of (inclusion and exclusion), so that summing needs no subtractions.
    """

    start: int
    """Applies to more input tokens than this; -1 for the lowest band."""
    input: int
    output: int
    cache_read: int
    cache_write: int
    input_audio: int
    cache_read_audio: int
    output_audio: int
    reasoning: int
    request: int
    dearest_input: int
    dearest_output: int


@dataclass(frozen=True, slots=True)
class PriceCard:
    """The price of one model at one moment.

    ``cost`` equals, to the nano-dollar, the exact sum of all parts rounded half to even.
    """

    source: str
    """``genai-prices``, ``overlay`` or ``sandbox``."""
    version: str
    bands: tuple[Band, ...] = ()
    """Ascending by ``start``; never empty on a compiled card."""
    denominator: int = 1
    priced: frozenset[TokenKind] = frozenset()
    """Kinds with a price of their own."""
    valid_until: datetime | None = None
    """From then on another price may apply: resolve again."""

    def cost(self, usage: TokenUsage) -> int:
        """Nano-dollars for this usage.

        A provider's figures may contradict themselves (parts larger than their total); then the total is taken to be
        at least the sum of its priced parts, so that nothing is charged twice or less than zero.
        """
        cached = usage.cache_read + usage.cache_write
        audio = usage.input_audio
        both = usage.cache_read_audio
        if (
            cached + audio - both > usage.input
            or usage.output_audio + usage.reasoning > usage.output
            or (both and (both > audio or both > usage.cache_read))
        ):
            usage = self._consistent(usage)
            cached = usage.cache_read + usage.cache_write
        band = self._band(usage.input)
        total = band.request + usage.input * band.input + usage.output * band.output
        if cached:
            total += usage.cache_read * band.cache_read + usage.cache_write * band.cache_write
        if usage.reasoning:
            total += usage.reasoning * band.reasoning
        if usage.input_audio or usage.output_audio:
            total += (
                usage.input_audio * band.input_audio
                + usage.cache_read_audio * band.cache_read_audio
                + usage.output_audio * band.output_audio
            )
        return self._rounded(total)

    def ceiling(self, input_tokens: int, output_tokens: int) -> int:
        """The most, in nano-dollars, that a call of at most these totals can cost, whatever their kinds."""
        most = 0
        bands = self.bands
        last = len(bands) - 1
        for index, band in enumerate(bands):
            if index and input_tokens <= band.start:
                break
            tokens = input_tokens if index == last else min(input_tokens, bands[index + 1].start)
            total = band.request + tokens * band.dearest_input + output_tokens * band.dearest_output
            most = max(most, total)
        return self._rounded(most)

    def _band(self, input_tokens: int) -> Band:
        bands = self.bands
        band = bands[0]
        if len(bands) > 1:
            for higher in bands:
                if input_tokens > higher.start:
                    band = higher
        return band

    def _rounded(self, total: int) -> int:
        nano, rest = divmod(total, self.denominator)
        twice = 2 * rest
        if twice > self.denominator or (twice == self.denominator and nano & 1):
            nano += 1
        return nano

    def _consistent(self, usage: TokenUsage) -> TokenUsage:
        """Lift totals to the sum of their priced parts; parts without a price count for nothing here."""
        parts = {kind: getattr(usage, kind) if kind in self.priced else 0 for kind in TOKEN_KINDS}
        both = parts["cache_read_audio"]
        cache_read = max(parts["cache_read"], both)
        audio = max(parts["input_audio"], both)
        return TokenUsage(
            input=max(usage.input, cache_read + audio - both + parts["cache_write"]),
            output=max(usage.output, parts["output_audio"] + parts["reasoning"]),
            cache_read=cache_read,
            cache_write=parts["cache_write"],
            input_audio=audio,
            cache_read_audio=both,
            output_audio=parts["output_audio"],
            reasoning=parts["reasoning"],
        )


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a price list says of one model at one moment, exact and not yet compiled."""

    rates: Mapping[TokenKind, Rate]
    request: Rate = field(default_factory=lambda: Rate(_ZERO))
    """Nano-dollars per call."""

    @classmethod
    def per_million(cls, prices: Mapping[TokenKind, Decimal], request: Decimal = Decimal(0)) -> "Tariff":
        """From US dollars per million tokens of each kind and US dollars per call."""
        rates: dict[TokenKind, Rate] = {kind: Rate.per_million(price) for kind, price in prices.items()}
        return cls(rates, Rate(Fraction(request) * NANO_PER_DOLLAR))

    def scaled(self, factor: Fraction) -> "Tariff":
        """All prices times a factor."""
        return Tariff({kind: rate.scaled(factor) for kind, rate in self.rates.items()}, self.request.scaled(factor))

    def card(self, *, source: str, version: str, valid_until: datetime | None = None) -> PriceCard:
        """Compile into integers.

        Raises:
            ValueError: cached and audio input have prices, cached audio has none: such tokens would be subtracted
                twice.
        """
        if "cache_read" in self.rates and "input_audio" in self.rates and "cache_read_audio" not in self.rates:
            raise ValueError("a price for cache_read_audio is needed beside those for cache_read and input_audio")
        starts = sorted({start for rate in self._all_rates() for start, _ in rate.tiers})
        exact = [self._coefficients(start) for start in (None, *starts)]
        denominator = math.lcm(*(value.denominator for band in exact for value in band.values()))
        bands = tuple(
            Band(
                start=-1 if start is None else start,
                **{name: int(value * denominator) for name, value in band.items()},
            )
            for start, band in zip((None, *starts), exact, strict=True)
        )
        return PriceCard(source, version, bands, denominator, frozenset(self.rates), valid_until)

    def _all_rates(self) -> Iterable[Rate]:
        yield self.request
        yield from self.rates.values()

    def _coefficients(self, start: int | None) -> dict[str, Fraction]:
        prices = {kind: rate.at(start) for kind, rate in self.rates.items()}
        whole_input = prices.get("input", _ZERO)
        whole_output = prices.get("output", _ZERO)

        def beyond(kind: TokenKind, whole: Fraction) -> Fraction:
            return prices[kind] - whole if kind in prices else _ZERO

        cache_read = beyond("cache_read", whole_input)
        audio = beyond("input_audio", whole_input)
        return {
            "input": whole_input,
            "output": whole_output,
            "cache_read": cache_read,
            "cache_write": beyond("cache_write", whole_input),
            "input_audio": audio,
            "cache_read_audio": beyond("cache_read_audio", whole_input + cache_read + audio),
            "output_audio": beyond("output_audio", whole_output),
            "reasoning": beyond("reasoning", whole_output),
            "request": self.request.at(start),
            "dearest_input": max((prices[kind] for kind in _INPUT_KINDS if kind in prices), default=_ZERO),
            "dearest_output": max((prices[kind] for kind in _OUTPUT_KINDS if kind in prices), default=_ZERO),
        }

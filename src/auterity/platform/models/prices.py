"""Prices: what one call costs in integer nano-dollars."""

from dataclasses import dataclass

from auterity.kit.tokens import TokenUsage

__all__ = ["PriceCard"]


@dataclass(frozen=True, slots=True)
class PriceCard:
    """The price of one model at one moment."""

    source: str
    version: str

    def cost(self, usage: TokenUsage) -> int:
        """Nano-dollars for this usage."""
        raise NotImplementedError

    def ceiling(self, input_tokens: int, output_tokens: int) -> int:
        """The most, in nano-dollars, that a call of at most these totals can cost, whatever their kinds."""
        raise NotImplementedError

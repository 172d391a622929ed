"""Promises of a compiled price: exact, bounded by its ceiling, and never confused by odd figures."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from auterity.kit.tokens import TokenUsage
from auterity.platform.models.prices import TOKEN_KINDS, PriceCard, Rate, Tariff, TokenKind

_COUNTS = st.integers(0, 2_000_000)
_DOLLARS = st.decimals(0, 500, places=6, allow_nan=False, allow_infinity=False)


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    """Usage whose parts fit into their totals."""
    both = draw(st.integers(0, 100_000))
    cached = both + draw(st.integers(0, 500_000))
    audio = both + draw(st.integers(0, 100_000))
    written = draw(st.integers(0, 500_000))
    output_audio, reasoning = draw(st.integers(0, 100_000)), draw(st.integers(0, 100_000))
    return TokenUsage(
        input=cached + audio - both + written + draw(_COUNTS),
        output=output_audio + reasoning + draw(_COUNTS),
        cache_read=cached,
        cache_write=written,
        input_audio=audio,
        cache_read_audio=both,
        output_audio=output_audio,
        reasoning=reasoning,
    )


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    """Prices for a random set of kinds, some of them tiered."""
    rates: dict[TokenKind, Rate] = {}
    for kind in TOKEN_KINDS:
        if kind in ("input", "output") or draw(st.booleans()):
            base = Rate.per_million(draw(_DOLLARS)).base
            starts = sorted(draw(st.sets(st.sampled_from([0, 1_000, 128_000, 200_000]), max_size=2)))
            rates[kind] = Rate(base, tuple((start, Rate.per_million(draw(_DOLLARS)).base) for start in starts))
    if "cache_read" in rates and "input_audio" in rates and "cache_read_audio" not in rates:
        rates["cache_read_audio"] = rates["cache_read"]
    return Tariff(rates, Rate(Fraction(draw(st.integers(0, 50_000_000)))))


def _compiled(tariff: Tariff) -> PriceCard:
    return tariff.card(source="test", version="1")


def test_tokens_cost_their_price_per_million() -> None:
    card = _compiled(Tariff.per_million({"input": Decimal("2.5"), "output": Decimal(10)}))
    assert card.cost(TokenUsage(input=1_000, output=500)) == 2_500_000 + 5_000_000


def test_cached_tokens_are_charged_once_at_their_own_price() -> None:
    card = _compiled(Tariff.per_million({"input": Decimal(2), "output": Decimal(8), "cache_read": Decimal("0.5")}))
    assert card.cost(TokenUsage(input=1_000, cache_read=400)) == 600 * 2_000 + 400 * 500


def test_a_kind_without_a_price_costs_what_it_is_a_part_of() -> None:
    card = _compiled(Tariff.per_million({"input": Decimal(2), "output": Decimal(8)}))
    plain = card.cost(TokenUsage(input=1_000, output=100))
    kinds = TokenUsage(input=1_000, output=100, cache_read=400, cache_write=5, input_audio=7, reasoning=50)
    assert card.cost(kinds) == plain


def test_a_long_context_is_charged_at_its_tier_throughout() -> None:
    rates: dict[TokenKind, Rate] = {
        "input": Rate(Fraction(1_000), ((200_000, Fraction(2_000)),)),
        "output": Rate(Fraction(5_000), ((200_000, Fraction(7_500)),)),
    }
    card = _compiled(Tariff(rates))
    assert card.cost(TokenUsage(input=200_000, output=10)) == 200_000 * 1_000 + 10 * 5_000
    assert card.cost(TokenUsage(input=200_001, output=10)) == 200_001 * 2_000 + 10 * 7_500


def test_a_fee_per_request_is_charged_once() -> None:
    card = _compiled(Tariff.per_million({"input": Decimal(1), "output": Decimal(1)}, request=Decimal("0.005")))
    assert card.cost(TokenUsage()) == 5_000_000
    assert card.cost(TokenUsage(input=10)) == 5_000_000 + 10_000


@pytest.mark.parametrize(("tokens", "nano"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_half_a_nano_dollar_is_rounded_to_even_once_per_call(tokens: int, nano: int) -> None:
    card = _compiled(Tariff.per_million({"input": Decimal("0.0005"), "output": Decimal(0)}))
    assert card.cost(TokenUsage(input=tokens)) == nano


@pytest.mark.parametrize(
    ("odd", "meant"),
    [
        (TokenUsage(input=10, cache_read=50), TokenUsage(input=50, cache_read=50)),
        (TokenUsage(input=10, cache_read=6, cache_write=6), TokenUsage(input=12, cache_read=6, cache_write=6)),
        (
            TokenUsage(input=10, cache_read_audio=20),
            TokenUsage(input=20, cache_read=20, input_audio=20, cache_read_audio=20),
        ),
        (TokenUsage(output=1, reasoning=5), TokenUsage(output=5, reasoning=5)),
        (TokenUsage(output=1, output_audio=5), TokenUsage(output=5, output_audio=5)),
    ],
)
def test_parts_larger_than_their_total_lift_the_total(odd: TokenUsage, meant: TokenUsage) -> None:
    prices: dict[TokenKind, Decimal] = {kind: Decimal(1 + place) for place, kind in enumerate(TOKEN_KINDS)}
    card = _compiled(Tariff.per_million(prices))
    assert card.cost(odd) == card.cost(meant) > 0


def test_cached_audio_needs_a_price_where_cache_and_audio_have_one() -> None:
    prices: dict[TokenKind, Decimal] = {kind: Decimal(1) for kind in TOKEN_KINDS if kind != "cache_read_audio"}
    with pytest.raises(ValueError, match="cache_read_audio"):
        _compiled(Tariff.per_million(prices))


@given(tariffs(), usages())
def test_cost_is_the_exact_sum_of_its_parts_rounded_once(tariff: Tariff, usage: TokenUsage) -> None:
    """Against the definition: split the tokens into disjoint leaves and price each, in fractions."""
    reached = [start for rate in (*tariff.rates.values(), tariff.request) for start, _ in rate.tiers]
    start = max((start for start in reached if usage.input > start), default=None)
    prices = {kind: rate.at(start) for kind, rate in tariff.rates.items()}
    counts = {kind: getattr(usage, kind) if kind in prices else 0 for kind in TOKEN_KINDS}
    both = counts["cache_read_audio"]
    leaves = dict(counts)
    if "cache_read" in prices:
        leaves["cache_read"] -= both
    if "input_audio" in prices:
        leaves["input_audio"] -= both
    inner = both + leaves["cache_read"] + leaves["input_audio"] + leaves["cache_write"]
    leaves["input"] -= inner
    leaves["output"] -= counts["output_audio"] + counts["reasoning"]
    exact = sum((prices[kind] * leaves[kind] for kind in prices), tariff.request.at(start))
    assert _compiled(tariff).cost(usage) == round(exact)


@given(tariffs(), usages(), st.integers(0, 100_000), st.integers(0, 100_000))
def test_no_call_costs_more_than_the_ceiling(tariff: Tariff, usage: TokenUsage, spare: int, more: int) -> None:
    card = _compiled(tariff)
    ceiling = card.ceiling(usage.input + spare, usage.output + more)
    assert 0 <= card.cost(usage) <= ceiling


@given(tariffs(), st.integers(0, 400_000), st.integers(0, 10_000))
def test_the_ceiling_can_be_reached(tariff: Tariff, input_tokens: int, output_tokens: int) -> None:
    """A ceiling far above any real cost would refuse calls that a budget can pay."""
    card = _compiled(tariff)

    def dearest(tokens: int) -> int:
        plain = TokenUsage(input=tokens, output=output_tokens)
        of_input = [
            plain,
            replace(plain, cache_read=tokens),
            replace(plain, cache_write=tokens),
            replace(plain, input_audio=tokens),
            replace(plain, cache_read=tokens, input_audio=tokens, cache_read_audio=tokens),
        ]
        return max(
            card.cost(usage)
            for one in of_input
            for usage in (one, replace(one, output_audio=output_tokens), replace(one, reasoning=output_tokens))
        )

    reachable = {input_tokens, *(band.start for band in card.bands if 0 <= band.start < input_tokens)}
    assert card.ceiling(input_tokens, output_tokens) == max(map(dearest, reachable))


@given(tariffs(), usages(), st.integers(0, 100))
def test_a_discount_is_taken_off_the_exact_price(tariff: Tariff, usage: TokenUsage, percent: int) -> None:
    factor = Fraction(100 - percent, 100)
    whole = _compiled(tariff).cost(usage)
    assert abs(_compiled(tariff.scaled(factor)).cost(usage) - whole * factor) <= 1

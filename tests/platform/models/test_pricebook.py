"""Promises of the price book: the right terms apply at the right moment, and nothing unknown is ever free."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.kit.tokens import TokenUsage
from auterity.platform.models.pricebook import Overlay, PriceBook, PricedModel
from auterity.platform.models.prices import Tariff, TokenKind

_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_MODEL = PricedModel(
    kind="openai_compatible",
    base_url="https://api.openai.com/v1",
    upstream_model="gpt-4o-mini",
    provider_id="prv_1",
)
_USAGE = TokenUsage(input=1_000, output=100)
_LIST_COST = 1_000 * 150 + 100 * 600


def _cost(book: PriceBook, model: PricedModel = _MODEL, at: datetime = _AT) -> int | None:
    card = book.resolve(model, at)
    return card.cost(_USAGE) if card else None


def _terms(name: str, *, discount: int = 0, provider: str | None = None, model: str | None = None) -> Overlay:
    return Overlay(
        id=name, updated_at=_AT, discount_percent=Decimal(discount), provider_id=provider, upstream_model=model
    )


def test_without_terms_the_list_price_applies() -> None:
    resolution = PriceBook().explain(_MODEL, _AT)
    assert resolution.card is not None
    assert resolution.card.source == "genai-prices"
    assert resolution.card.cost(_USAGE) == _LIST_COST


def test_a_discount_is_taken_off_the_list_price() -> None:
    assert _cost(PriceBook([_terms("ovl", discount=20)])) == _LIST_COST * 8 // 10


def test_the_card_names_the_terms_it_came_from() -> None:
    card = PriceBook([_terms("ovl_1", discount=20)]).resolve(_MODEL, _AT)
    assert card is not None
    assert (card.source, card.version) == ("overlay", "ovl_1@2026-11-22T12:00:00.000000Z")


def test_the_narrowest_terms_apply_and_alone() -> None:
    everywhere = _terms("everywhere", discount=10)
    provider = _terms("provider", discount=20, provider="prv_1")
    model = _terms("model", discount=30, model="gpt-4o-mini")
    both = _terms("both", discount=40, provider="prv_1", model="GPT-4o-mini")
    elsewhere = _terms("elsewhere", discount=99, provider="prv_2")
    expected = [(everywhere, 90), (provider, 80), (model, 70), (both, 60)]
    for count in range(1, 5):
        book = PriceBook([elsewhere, *(terms for terms, _ in expected[:count])])
        assert _cost(book) == _LIST_COST * expected[count - 1][1] // 100


@given(st.permutations(range(4)))
def test_of_equally_narrow_terms_the_latest_applies(order: list[int]) -> None:
    terms = [
        Overlay(
            id=f"ovl_{day}",
            updated_at=_AT,
            discount_percent=Decimal(day),
            valid_from=_AT - timedelta(days=10 - day),
        )
        for day in order
    ]
    assert PriceBook(terms).explain(_MODEL, _AT).overlay == terms[order.index(3)]


def test_terms_hold_from_their_first_moment_to_before_their_last() -> None:
    begin, end = _AT + timedelta(days=1), _AT + timedelta(days=2)
    book = PriceBook([replace(_terms("ovl", discount=50), valid_from=begin, valid_to=end)])
    moment = timedelta(microseconds=1)
    assert _cost(book, at=begin - moment) == _LIST_COST
    assert _cost(book, at=begin) == _LIST_COST // 2
    assert _cost(book, at=end - moment) == _LIST_COST // 2
    assert _cost(book, at=end) == _LIST_COST


def test_a_price_tells_when_the_next_terms_begin_or_end() -> None:
    begin, end = _AT + timedelta(days=1), _AT + timedelta(days=2)
    book = PriceBook([replace(_terms("ovl", discount=50), valid_from=begin, valid_to=end)])
    assert book.explain(_MODEL, _AT).valid_until == begin
    card = book.resolve(_MODEL, begin)
    assert card is not None
    assert card.valid_until == end
    assert book.explain(_MODEL, end).valid_until is None


def test_terms_that_will_price_an_unknown_model_are_told_beforehand() -> None:
    private = replace(_MODEL, base_url="http://vllm.internal/v1", upstream_model="our-own")
    begin = _AT + timedelta(days=1)
    terms = Overlay(
        id="ovl",
        updated_at=_AT,
        valid_from=begin,
        prices={"input": Decimal("0.1"), "output": Decimal("0.2")},
    )
    book = PriceBook([terms])
    assert book.explain(private, _AT).card is None
    assert book.explain(private, _AT).valid_until == begin
    assert _cost(book, private, begin) == 1_000 * 100 + 100 * 200


def test_an_unknown_model_has_no_price_whatever_the_discount() -> None:
    private = replace(_MODEL, base_url="http://vllm.internal/v1", upstream_model="our-own")
    assert _cost(PriceBook(), private) is None
    resolution = PriceBook([_terms("ovl", discount=20)]).explain(private, _AT)
    assert resolution.card is None
    assert "ovl" in resolution.reason


@pytest.mark.parametrize("prices", [{"input": Decimal(1)}, {"output": Decimal(1)}])
def test_half_a_price_for_an_unknown_model_is_no_price(prices: dict[TokenKind, Decimal]) -> None:
    private = replace(_MODEL, base_url="http://vllm.internal/v1", upstream_model="our-own")
    assert _cost(PriceBook([Overlay(id="ovl", updated_at=_AT, prices=prices)]), private) is None


def test_a_model_under_another_name_is_priced_as_the_list_calls_it() -> None:
    azure = replace(_MODEL, base_url="https://acme.openai.azure.com", upstream_model="team-deployment")
    assert _cost(PriceBook(), azure) is None
    assert _cost(PriceBook(), replace(azure, listed_as="gpt-4o-mini")) == _LIST_COST
    terms = _terms("ovl", discount=50, model="team-deployment")
    assert _cost(PriceBook([terms]), replace(azure, listed_as="gpt-4o-mini")) == _LIST_COST // 2


def test_a_price_of_zero_is_a_known_price() -> None:
    private = replace(_MODEL, base_url="http://vllm.internal/v1", upstream_model="our-own")
    terms = Overlay(id="ovl", updated_at=_AT, prices={"input": Decimal(0), "output": Decimal(0)})
    assert _cost(PriceBook([terms]), private) == 0


def test_fixed_prices_replace_only_their_kinds() -> None:
    terms = Overlay(id="ovl", updated_at=_AT, prices={"output": Decimal(1)}, discount_percent=Decimal(50))
    assert _cost(PriceBook([terms])) == 1_000 * 75 + 100 * 1_000


def test_a_fixed_price_per_call_is_added() -> None:
    terms = Overlay(id="ovl", updated_at=_AT, per_request=Decimal("0.001"))
    assert _cost(PriceBook([terms])) == _LIST_COST + 1_000_000


def test_prices_that_do_not_fit_together_are_no_price() -> None:
    terms = Overlay(id="ovl", updated_at=_AT, prices={"input_audio": Decimal(5)})
    resolution = PriceBook([terms]).explain(_MODEL, _AT)
    assert resolution.card is None
    assert "cache_read_audio" in resolution.reason


def test_the_sandbox_has_its_own_prices() -> None:
    sandbox = PriceBook(sandbox={"small": Tariff.per_million({"input": Decimal(1), "output": Decimal(2)})})
    model = PricedModel(kind="sandbox", base_url="", upstream_model="small")
    card = sandbox.resolve(model, _AT)
    assert card is not None
    assert card.source == "sandbox"
    assert card.cost(_USAGE) == 1_000 * 1_000 + 100 * 2_000
    assert sandbox.resolve(replace(model, upstream_model="gpt-4o-mini"), _AT) is None


@given(st.decimals(-100, 100, places=2))
def test_a_discount_scales_the_exact_price(percent: Decimal) -> None:
    terms = replace(_terms("ovl"), discount_percent=percent)
    assert _cost(PriceBook([terms])) == round(_LIST_COST * (1 - Fraction(percent) / 100))

"""The public price list, compiled: equal to the list's own arithmetic for all of its models."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from functools import cache

from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider
from hypothesis import given, settings
from hypothesis import strategies as st

from auterity.kit.money import nanos
from auterity.kit.tokens import TokenUsage
from auterity.platform.models.pricelist import LIST_VERSION, look_up, tariff
from auterity.platform.models.prices import PriceCard

_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@cache
def _all() -> list[tuple[Provider, ModelInfo, ModelPrice, PriceCard | None]]:
    """Each set of prices in the list, past and future ones too, with its compiled card."""
    found: list[tuple[Provider, ModelInfo, ModelPrice, PriceCard | None]] = []
    for provider in get_snapshot().providers:
        for model in provider.models:
            free = model.id.lower().endswith(":free")
            sets = [model.prices] if isinstance(model.prices, ModelPrice) else [one.prices for one in model.prices]
            for prices in sets:
                read, _ = tariff(prices, free=free)
                card = read.card(source="genai-prices", version=LIST_VERSION) if read else None
                found.append((provider, model, prices, card))
    return found


def _by_the_list(prices: ModelPrice, usage: TokenUsage) -> int:
    with localcontext(Context(prec=60)):
        priced = prices.calc_price(
            Usage(
                input_tokens=usage.input,
                output_tokens=usage.output,
                cache_read_tokens=usage.cache_read,
                cache_write_tokens=usage.cache_write,
                input_audio_tokens=usage.input_audio,
                cache_audio_read_tokens=usage.cache_read_audio,
                output_audio_tokens=usage.output_audio,
                output_reasoning_tokens=usage.reasoning,
            )
        )
        return nanos(priced["total_price"])


def _usage(chance: random.Random) -> TokenUsage:
    def some(most: int) -> int:
        return chance.choice((0, chance.randrange(1, 100), chance.randrange(1, most)))

    both, written, reasoning, spoken = some(50_000), some(90_000), some(50_000), some(50_000)
    cached, audio = both + some(200_000), both + some(50_000)
    return TokenUsage(
        input=cached + audio - both + written + some(600_000),
        output=reasoning + spoken + some(200_000),
        cache_read=cached,
        cache_write=written,
        input_audio=audio,
        cache_read_audio=both,
        output_audio=spoken,
        reasoning=reasoning,
    )


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
def test_every_model_of_the_list_costs_what_the_list_says(seed: int) -> None:
    chance = random.Random(seed)
    wrong = [
        (provider.id, model.id, usage)
        for provider, model, prices, card in _all()
        if card is not None
        for usage in (_usage(chance),)
        if card.cost(usage) != _by_the_list(prices, usage)
    ]
    assert wrong == []


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 2**32))
def test_models_with_kinds_and_tiers_cost_what_the_list_says(data: st.DataObject, seed: int) -> None:
    rich = [entry for entry in _all() if entry[3] and (len(entry[3].bands) > 1 or len(entry[3].priced) > 3)]
    _, _, prices, card = data.draw(st.sampled_from(rich))
    usage = _usage(random.Random(seed))
    assert card is not None
    assert card.cost(usage) == _by_the_list(prices, usage)


def test_every_model_that_is_priced_by_the_token_compiles() -> None:
    """What is left out is priced by hours, pages, characters or messages, or has no price and is not called free."""
    by_tokens = [entry for entry in _all() if "input_mtok" in vars(entry[2])]
    left_out = {model.id for _, model, _, card in by_tokens if card is None}
    assert len(by_tokens) > 2_000
    assert left_out == {
        model.id
        for _, model, prices, _ in by_tokens
        if {"audio_hours", "input_audio_hours", "input_mchars"} & vars(prices).keys()
    }


def test_a_known_model_is_found_by_provider_and_by_address() -> None:
    by_id = look_up("gpt-4o-2024-08-06", provider_id="openai", base_url=None, at=_AT)
    by_address = look_up("gpt-4o-2024-08-06", provider_id=None, base_url="https://api.openai.com/v1", at=_AT)
    assert by_id.tariff is not None
    assert by_id.tariff == by_address.tariff


def test_an_unknown_model_has_no_price() -> None:
    listing = look_up("no-such-model", provider_id="openai", base_url=None, at=_AT)
    assert listing.tariff is None
    assert "no-such-model" in listing.reason


def test_an_unknown_address_has_no_price_even_for_a_famous_model() -> None:
    listing = look_up("gpt-4o", provider_id=None, base_url="http://10.1.2.3:8000/v1", at=_AT)
    assert listing.tariff is None


def test_a_model_that_the_list_calls_free_costs_nothing_and_is_known() -> None:
    listing = look_up("openai/gpt-oss-20b:free", provider_id="openrouter", base_url=None, at=_AT)
    assert listing.tariff is not None
    card = listing.tariff.card(source="genai-prices", version=LIST_VERSION)
    assert card.cost(TokenUsage(input=1_000_000, output=1_000_000)) == 0


def test_a_model_without_a_price_that_is_not_called_free_has_no_price() -> None:
    listing = look_up("qwen-3-coder-480b", provider_id="cerebras", base_url=None, at=_AT)
    assert listing.tariff is None


def test_audio_by_the_hour_is_no_price_per_token() -> None:
    listing = look_up("whisper-large-v3", provider_id="groq", base_url=None, at=_AT)
    assert listing.tariff is None
    assert "audio_seconds" in listing.unmetered


def test_a_dated_price_is_valid_until_the_list_changes_it() -> None:
    """For each model whose price changes with time, the price stands still until the moment that is told."""
    moment = datetime(2025, 1, 1, 3, 0, tzinfo=UTC)
    changing = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            if isinstance(model.prices, ModelPrice) or len(model.prices) < 2:
                continue
            if provider.find_model(model.id) is not model:  # an id that the list itself reads as another model
                continue
            at, end = moment, moment + timedelta(days=800)
            for _ in range(4):
                until = look_up(model.id, provider_id=provider.id, base_url=None, at=at).valid_until
                last = min(until or end, end) - timedelta(microseconds=1)
                assert model.get_prices(at) == model.get_prices(last) == model.get_prices(at + (last - at) / 2)
                if until is None:
                    break
                at = until
                changing += 1
    assert changing > 50


def test_prices_are_decimals_all_the_way() -> None:
    cheap = look_up("gpt-4o-mini", provider_id="openai", base_url=None, at=_AT)
    assert cheap.tariff is not None
    assert cheap.tariff.rates["input"].base == Decimal("0.15") * 1000

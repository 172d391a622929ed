"""Promises of the offers made from environment variables."""

from genai_prices.data_snapshot import get_snapshot

from auterity.platform.models.known import KNOWN_PROVIDERS, discover
from auterity.platform.models.providers import DEFAULT_BASE_URLS


def test_a_key_in_the_environment_is_an_offer() -> None:
    (offer,) = discover({"MISTRAL_API_KEY": "key-0123456789", "HOME": "/root"})
    assert offer.variable == "MISTRAL_API_KEY"
    assert (offer.provider.name, offer.provider.base_url) == ("mistral", "https://api.mistral.ai/v1")
    assert offer.provider.api_key is not None
    assert offer.provider.api_key.get_secret_value() == "key-0123456789"


def test_nothing_in_the_environment_is_no_offer() -> None:
    assert discover({"OPENAI_API_KEY": " ", "GROQ_API_KEY": ""}) == []


def test_a_variable_that_holds_no_key_is_passed_over() -> None:
    assert discover({"OPENAI_API_KEY": "two words"}) == []


def test_a_key_for_another_address_goes_there() -> None:
    (offer,) = discover({"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": "https://proxy.example/v1"})
    assert offer.provider.base_url == "https://proxy.example/v1"


def test_an_offer_does_not_show_its_key() -> None:
    assert "key-0123456789" not in repr(discover({"OPENAI_API_KEY": "key-0123456789"}))


def test_every_known_address_is_in_the_price_list() -> None:
    """Or its models would have no price."""
    snapshot = get_snapshot()
    assert all(snapshot.find_provider(None, None, known.base_url) for known in KNOWN_PROVIDERS.values())


def test_anthropic_lives_at_one_address() -> None:
    assert KNOWN_PROVIDERS["anthropic"].base_url == DEFAULT_BASE_URLS["anthropic"]

"""Well-known providers: where each lives and where its key is usually found. Used for offers, never for guesses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr, ValidationError

from auterity.platform.models.schemas import ProviderCreate

__all__ = ["KNOWN_PROVIDERS", "KnownProvider", "Offer", "discover"]


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """A provider with one public address."""

    name: str
    kind: str
    base_url: str
    key_variable: str
    """Environment variable in which its own tools look for the key."""
    base_url_variables: tuple[str, ...] = ()
    """Variables that lead its own tools elsewhere: then the key is for there too."""


def _compatible(name: str, base_url: str, key_variable: str, *base_url_variables: str) -> KnownProvider:
    return KnownProvider(name, "openai_compatible", base_url, key_variable, base_url_variables)


KNOWN_PROVIDERS: Mapping[str, KnownProvider] = {
    provider.name: provider
    for provider in (
        _compatible("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"),
        KnownProvider(
            "anthropic", "anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", ("ANTHROPIC_BASE_URL",)
        ),
        _compatible("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        _compatible("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        _compatible("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        _compatible("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        _compatible("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        _compatible("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
        _compatible("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        _compatible("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
        _compatible("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        _compatible("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    )
}
"""By name."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider that could be added, and why."""

    variable: str
    """The environment variable that holds the key."""
    provider: ProviderCreate


def discover(environment: Mapping[str, str]) -> Sequence[Offer]:
    """What could be added because its key is in the environment. Adds nothing; the caller asks first.

    A variable that holds no possible key is passed over.
    """
    offers: list[Offer] = []
    for known in KNOWN_PROVIDERS.values():
        key = environment.get(known.key_variable, "").strip()
        if not key:
            continue
        elsewhere = (environment.get(variable, "").strip() for variable in known.base_url_variables)
        try:
            provider = ProviderCreate(
                name=known.name,
                kind=known.kind,
                base_url=next(filter(None, elsewhere), known.base_url),
                api_key=SecretStr(key),
            )
        except ValidationError:
            continue
        offers.append(Offer(known.key_variable, provider))
    return offers

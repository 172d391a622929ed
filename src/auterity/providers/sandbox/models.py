"""The sandbox's models: names, limits and how fast each pretends to be."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from auterity.providers.contract import Endpoint

__all__ = ["SANDBOX_MODELS", "SandboxModel"]


class SandboxModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model that is none."""

    name: str
    kind: Literal["chat", "reasoning", "embedding"]
    context_window: int
    """Tokens of input and output together."""
    max_output_tokens: int
    """0 for embeddings."""
    first_token_s: float
    """Typical seconds until the first token."""
    per_token_s: float
    """Typical seconds for each further token, reasoning included."""
    dimensions: int = 0
    """Length of an embedding unless the request says otherwise."""

    @property
    def endpoint(self) -> Endpoint:
        """Where the model is called."""
        return "embeddings" if self.kind == "embedding" else "chat.completions"


_MODELS = (
    SandboxModel(
        name="sandbox-small",
        kind="chat",
        context_window=128_000,
        max_output_tokens=16_384,
        first_token_s=0.25,
        per_token_s=0.008,
    ),
    SandboxModel(
        name="sandbox-large",
        kind="chat",
        context_window=200_000,
        max_output_tokens=32_768,
        first_token_s=0.6,
        per_token_s=0.02,
    ),
    SandboxModel(
        name="sandbox-reasoning",
        kind="reasoning",
        context_window=200_000,
        max_output_tokens=65_536,
        first_token_s=0.5,
        per_token_s=0.012,
    ),
    SandboxModel(
        name="sandbox-embed",
        kind="embedding",
        context_window=8_192,
        max_output_tokens=0,
        first_token_s=0.05,
        per_token_s=0.0,
        dimensions=1_536,
    ),
)

SANDBOX_MODELS: Mapping[str, SandboxModel] = {model.name: model for model in _MODELS}
"""All of them, by name."""

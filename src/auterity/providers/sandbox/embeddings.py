"""Embeddings of the sandbox: unit vectors that depend on the text alone."""

import base64
import hashlib
import math
import struct
from random import Random

import msgspec

from auterity.providers.sandbox.models import SandboxModel
from auterity.providers.sandbox.requests import EmbeddingsRequest, RequestError, TokenIds
from auterity.providers.sandbox.tokens import count_tokens

__all__ = ["embeddings_body"]

_MAX_INPUTS = 2_048


def embeddings_body(request: EmbeddingsRequest, model: SandboxModel) -> bytes:
    """The answer in OpenAI's shape.

    Raises:
        RequestError: the request is one that OpenAI would refuse.
    """
    inputs = _inputs(request)
    dimensions = request.dimensions if request.dimensions is not None else model.dimensions
    if not 1 <= dimensions <= model.dimensions:
        raise RequestError(400, f"'dimensions' must be between 1 and {model.dimensions}.", param="dimensions")
    tokens = 0
    for each in inputs:
        length = count_tokens(each) if isinstance(each, str) else len(each)
        if length > model.context_window:
            raise RequestError(
                400, f"This model's maximum context length is {model.context_window} tokens.", param="input"
            )
        tokens += length
    data: list[dict[str, object]] = []
    for index, each in enumerate(inputs):
        vector = _vector(each, dimensions)
        value = (
            base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
            if request.encoding_format == "base64"
            else vector
        )
        data.append({"object": "embedding", "index": index, "embedding": value})
    return msgspec.json.encode(
        {
            "object": "list",
            "data": data,
            "model": model.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _inputs(request: EmbeddingsRequest) -> list[str | TokenIds]:
    """The texts or token lists; one list of numbers is one input."""
    if isinstance(request.input, str):
        return _checked([request.input])
    numbers = [each for each in request.input if isinstance(each, int)]
    others = [each for each in request.input if not isinstance(each, int)]
    if numbers and others:
        raise RequestError(400, "'input' mixes tokens and texts.", param="input")
    return _checked([numbers] if numbers else others)


def _checked(inputs: list[str | TokenIds]) -> list[str | TokenIds]:
    if not 1 <= len(inputs) <= _MAX_INPUTS or not all(inputs):
        raise RequestError(400, f"'input' must hold 1 to {_MAX_INPUTS} texts, none of them empty.", param="input")
    return inputs


def _vector(text: str | TokenIds, dimensions: int) -> list[float]:
    """A point on the unit sphere, evenly distributed (normal coordinates, divided by their length)."""
    seed = hashlib.blake2b(text.encode() if isinstance(text, str) else msgspec.json.encode(text), digest_size=8)
    random = Random(int.from_bytes(seed.digest()))  # noqa: S311 (chosen to be repeatable, guards nothing)
    values = [random.gauss(0.0, 1.0) for _ in range(dimensions)]
    length = math.sqrt(math.fsum(value * value for value in values)) or 1.0
    return [value / length for value in values]

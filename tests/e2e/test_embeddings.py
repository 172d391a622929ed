"""Embeddings with the official SDK, which asks for base64 unless told otherwise."""

import math
from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Server, TwinModels
    from tests.fixtures.twins import Twin


def test_the_sandbox_embeds_texts_as_unit_vectors(sdk: openai.OpenAI) -> None:
    answer = sdk.embeddings.create(model="sandbox-embed", input=["one", "two"])
    assert [each.index for each in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == 1536
    assert math.hypot(*answer.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert answer.data[0].embedding != answer.data[1].embedding


async def test_both_encodings_say_the_same(async_sdk: openai.AsyncOpenAI) -> None:
    packed = await async_sdk.embeddings.create(model="sandbox-embed", input="one", dimensions=16)
    spelled = await async_sdk.embeddings.create(
        model="sandbox-embed", input="one", dimensions=16, encoding_format="float"
    )
    assert packed.data[0].embedding == pytest.approx(spelled.data[0].embedding, abs=1e-6)


def test_embeddings_of_a_provider_are_metered(
    server: "Server", twin_models: "TwinModels", openai_twin: "Twin", sdk: openai.OpenAI
) -> None:
    answer = sdk.embeddings.with_raw_response.create(model=twin_models.embeddings, input=["one", "two"])
    assert answer.parse().data[1].embedding == [0.5, -0.5, 0.5, -0.5]
    event = server.event(answer.headers["x-request-id"])
    assert event["endpoint"] == "embeddings"
    assert (event["input_tokens"], event["output_tokens"]) == (6, 0)
    assert event["cost_nano"] == 6 * 20  # $0.02 for a million tokens
    assert event["price_source"] == "genai-prices"


def test_a_chat_model_does_not_embed(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.embeddings.create(model="sandbox-small", input="one")
    assert refused.value.type == "invalid_request_error"

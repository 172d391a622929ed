"""``GET /v1/models``: what a key may use, and that the sandbox says that it is one."""

from typing import TYPE_CHECKING

import openai
import pytest

if TYPE_CHECKING:
    from tests.fixtures.server import Say, Server, TwinModels


def test_all_models_of_the_tenant_are_listed(twin_models: "TwinModels", sdk: openai.OpenAI) -> None:
    listed = {model.id: model for model in sdk.models.list()}
    wanted = {"sandbox-small", "sandbox-embed", twin_models.openai, twin_models.anthropic}
    assert wanted <= listed.keys()
    assert all(model.object == "model" and model.owned_by for model in listed.values())
    assert "sandbox" in str(listed["sandbox-small"].model_dump()).replace("sandbox-small", "")


async def test_one_model_is_retrieved(async_sdk: openai.AsyncOpenAI) -> None:
    model = await async_sdk.models.retrieve("sandbox-large")
    assert model.id == "sandbox-large"
    with pytest.raises(openai.NotFoundError) as missing:
        await async_sdk.models.retrieve("nothing-like-it")
    assert missing.value.code == "model_not_found"


def test_names_of_models_may_hold_slashes(server: "Server", sdk: openai.OpenAI, say: "Say") -> None:
    name = "acme/chat:1"
    server.management.model(name, {"provider": "sandbox", "upstream_model": "sandbox-small"})
    assert sdk.models.retrieve(name).id == name
    assert sdk.chat.completions.create(model=name, messages=say("Hello")).choices
    server.management.delete(f"/models/{name}")
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve(name)


def test_a_key_sees_only_the_models_that_it_may_use(server: "Server") -> None:
    limited = server.sdk(server.management.key(allowed_models=["sandbox-small"])["secret"])
    assert [model.id for model in limited.models.list()] == ["sandbox-small"]
    with pytest.raises(openai.NotFoundError):
        limited.models.retrieve("sandbox-large")

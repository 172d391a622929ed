"""``GET /v1/models``: what the holder of a key may use."""

from auterity.domains.governance.access import may_use
from auterity.gateway.errors import ModelNotFound
from auterity.gateway.stages.authenticate import Authenticate
from auterity.gateway.wire import openai

__all__ = ["ListModels"]


class ListModels:
    """The caller's models, from the tenant's plan."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate

    async def all(self, headers: dict[bytes, bytes]) -> bytes:
        """All models of the caller, as OpenAI lists them."""
        key, plan = await self._authenticate.identify(headers)
        return openai.models_body(model for model in plan.models.values() if may_use(key, model.name))

    async def one(self, headers: dict[bytes, bytes], name: str) -> bytes:
        """One model.

        Raises:
            ModelNotFound: there is none of this name for the caller.
        """
        key, plan = await self._authenticate.identify(headers)
        model = plan.models.get(name)
        if model is None or not may_use(key, name):
            raise ModelNotFound(f"The model '{name}' does not exist or you do not have access to it.", param="model")
        return openai.model_body(model)

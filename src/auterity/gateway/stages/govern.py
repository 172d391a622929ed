"""govern: is this use allowed? Today the key's allow-list of models."""

from auterity.domains.governance.access import may_use
from auterity.gateway.errors import ModelNotAllowed
from auterity.gateway.exchange import Exchange

__all__ = ["Govern"]


class Govern:
    """Refuses what policy does not allow."""

    async def __call__(self, exchange: Exchange) -> None:
        model = exchange.call.model
        if not may_use(exchange.holder, model):
            raise ModelNotAllowed(
                f"This API key may not use the model '{model}'. GET /v1/models lists the models that it may.",
                param="model",
            )

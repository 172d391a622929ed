"""route: which deployments are tried, in which order."""

import random

from auterity.domains.orchestration.routing import order
from auterity.gateway.errors import ModelNotFound, PriceUnknown, ProviderUnavailable
from auterity.gateway.exchange import Exchange
from auterity.kit.errors import InvalidRequest

__all__ = ["Route"]


class Route:
    """Sets ``exchange.candidates``."""

    def __init__(self, source: random.Random) -> None:
        self._random = source

    async def __call__(self, exchange: Exchange) -> None:
        model = exchange.model
        if model is None:
            raise ModelNotFound(
                f"The model '{exchange.call.model}' does not exist or you do not have access to it.", param="model"
            )
        if not model.deployments:
            raise ProviderUnavailable(f"The model '{model.name}' has no enabled deployment.", param="model")
        if exchange.endpoint not in model.endpoints:
            raise InvalidRequest(f"The model '{model.name}' does not serve {exchange.endpoint}.", param="model")
        deployments = [d for d in model.deployments if exchange.endpoint in d.wire.endpoints]
        if not model.allow_unpriced:
            deployments = [d for d in deployments if d.price is not None]
            if not deployments:
                raise PriceUnknown(
                    f"No price is known for the model '{model.name}', and it may not be served unpriced. "
                    "An administrator can add a price for it, or allow unpriced calls.",
                    param="model",
                )
        exchange.candidates = order(deployments, self._random)

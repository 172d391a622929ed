"""The one ASGI application of a worker: the gateway and the health pages first, the management API for the rest."""

from starlette.types import ASGIApp, Receive, Scope, Send

from auterity.app.health import HealthApp
from auterity.gateway.asgi import GatewayApp
from auterity.gateway.service import GatewayService

__all__ = ["RootApp"]


class RootApp:
    """Looks at the path and passes on; inference calls go to ``calls`` before (see ``GatewayProtocol``)."""

    def __init__(self, calls: GatewayService, gateway: GatewayApp, health: HealthApp, api: ASGIApp) -> None:
        self.calls = calls
        self._gateway = gateway
        self._health = health
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if GatewayApp.serves(path):
                await self._gateway(scope, receive, send)
                return
            if HealthApp.serves(path):
                await self._health(scope, receive, send)
                return
        await self._api(scope, receive, send)

"""The way of a call: the nine stages in their order, and nothing else. Each is a file under ``stages/``."""

import asyncio
import logging
from dataclasses import dataclass

from auterity.gateway.exchange import Exchange, Outcome
from auterity.gateway.observe import Observe
from auterity.gateway.reply import ClientLeft
from auterity.gateway.respond import Respond
from auterity.gateway.stages.admit import Admit
from auterity.gateway.stages.authenticate import Authenticate
from auterity.gateway.stages.call import Call
from auterity.gateway.stages.govern import Govern
from auterity.gateway.stages.recall import Recall
from auterity.gateway.stages.record import Record
from auterity.gateway.stages.remember import Remember
from auterity.gateway.stages.route import Route
from auterity.gateway.stages.settle import Settle
from auterity.kit.errors import AuterityError, Unavailable

__all__ = ["Pipeline"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Runs an exchange from the client's first byte to its last."""

    authenticate: Authenticate
    admit: Admit
    govern: Govern
    recall: Recall
    route: Route
    call: Call
    settle: Settle
    remember: Remember
    record: Record
    respond: Respond
    observe: Observe

    async def run(self, exchange: Exchange) -> None:
        """Serve the exchange. Whatever happens it is settled, recorded and answered, in this order."""
        self.observe.begin(exchange)
        try:
            await self._serve(exchange)
            await self.settle(exchange)
            if exchange.outcome is Outcome.OK:
                await self.remember(exchange)
            try:
                await self.record(exchange)
            except AuterityError as error:
                exchange.fail(error)
            await self.respond(exchange)
        finally:
            self.observe.end(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self.authenticate(exchange)
            await self.admit(exchange)
            await self.govern(exchange)
            if not await self.recall(exchange):
                await self.route(exchange)
                await self.call(exchange)
        except AuterityError as error:
            exchange.fail(error)
        except ClientLeft:
            exchange.outcome = Outcome.CANCELLED
        except asyncio.CancelledError:
            # The server gives up waiting for us while it shuts down; the call is still settled, recorded and answered.
            exchange.outcome = Outcome.INTERRUPTED
            exchange.fail(Unavailable("The server is shutting down; try again.", retry_after=1))
        except Exception:  # noqa: BLE001 - the edge: a defect of ours must not leave the call unsettled or unanswered
            _log.exception("a call failed")
            exchange.fail(AuterityError("Something went wrong on our side. Quote the request id when you report it."))

"""call: the candidates in turn, until one answers. A stream goes out as it comes in; its last bytes wait for `record`.

Fallback happens only while the client has seen nothing of an answer. A plain call whose client leaves runs to its end
and is billed exactly, because providers bill it anyway; a stream is cut off at once.
"""

import msgspec

from auterity.engines.http.port import FailureKind, HttpResponse, TransportError
from auterity.gateway.errors import (
    ProviderMisconfigured,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimitExceeded,
    RefusedByProvider,
)
from auterity.gateway.exchange import Exchange, Outcome
from auterity.gateway.respond import stream_headers
from auterity.kit.clock import Clock
from auterity.kit.errors import AuterityError
from auterity.platform.models.plan import DeploymentPlan
from auterity.platform.usage.event import Attempt
from auterity.providers.contract import ProviderRefusal, UntranslatableRequest
from auterity.providers.refusals import invalid_answer

__all__ = ["Call"]

_ANSWER_LIMIT = 256 * 1024 * 1024
_ERROR_LIMIT = 1024 * 1024
_WRITE_GRACE_S = 5.0


class Call:
    """Sets ``exchange.served``, ``exchange.usage`` and the answer; streams are written to the client as they come."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic_ns

    async def __call__(self, exchange: Exchange) -> None:
        if not exchange.call.stream:
            await self._try_in_turn(exchange)
            return
        limit_s = sum(deployment.timeouts.total for deployment in exchange.candidates) + _WRITE_GRACE_S
        with exchange.reply.watch(limit_s):
            await self._try_in_turn(exchange)

    async def _try_in_turn(self, exchange: Exchange) -> None:
        failure: AuterityError | None = None
        for deployment in exchange.candidates:
            try:
                await self._attempt(exchange, deployment)
            except (TransportError, ProviderRefusal, UntranslatableRequest) as error:
                failure = error
                if exchange.reply.started:
                    exchange.outcome = Outcome.INTERRUPTED
                    break
                exchange.served = exchange.decoder = None
                if not _another_may_serve(error):
                    break
            else:
                return
        raise _for_client(failure, exchange.call.model) from failure

    async def _attempt(self, exchange: Exchange, deployment: DeploymentPlan) -> None:
        request = deployment.wire.request(exchange.call, deployment.target)
        if exchange.trace is not None:
            traceparent = (b"traceparent", exchange.trace.traceparent.encode())
            request = msgspec.structs.replace(request, headers=(*request.headers, traceparent))
        exchange.served = deployment
        begun = self._now()
        ours_before = exchange.ours_ns
        # What stands when neither an answer nor an error came: the client left.
        status, code = 0, "cancelled"
        response: HttpResponse | None = None
        try:
            response = await deployment.transport.send(request, deployment.timeouts)
            status = response.status
            if not 200 <= status < 300:
                raise deployment.wire.refusal(status, response.headers, await response.read(_ERROR_LIMIT))
            if exchange.call.stream:
                await self._stream(exchange, deployment, response, begun)
            else:
                body = await response.read(_ANSWER_LIMIT)
                arrived = self._now()
                answer = deployment.wire.answer(exchange.call, deployment.target, body)
                exchange.answer, exchange.usage = answer.body, answer.usage
                exchange.ours_ns += self._now() - arrived
            code = ""
        except AuterityError as error:
            code = error.code
            raise
        finally:
            if code and response is not None:
                response.abort()
            took = self._now() - begun
            exchange.provider_ns += took - (exchange.ours_ns - ours_before)
            after_us = (begun - exchange.started_ns) // 1000
            exchange.attempts.append(Attempt(deployment.id, deployment.provider, status, took // 1000, code, after_us))

    async def _stream(self, exchange: Exchange, deployment: DeploymentPlan, response: HttpResponse, begun: int) -> None:
        now, reply = self._now, exchange.reply
        decoder = exchange.decoder = deployment.wire.decoder(exchange.call, deployment.target)
        refusal: ProviderRefusal | None = None
        while not decoder.finished and refusal is None:
            data = await response.chunk()
            arrived = now()
            if not data:
                decoder.end()
                break
            try:
                frames = decoder.feed(data)
            except ProviderRefusal as error:
                frames, refusal = decoder.pending, error
            exchange.ours_ns += now() - arrived
            if frames:
                if not reply.started:
                    exchange.first_byte_ns = arrived
                    waited = arrived - begun  # the wait for this attempt is not in the account yet
                    await reply.start(200, stream_headers(exchange, now() - waited))
                await reply.write(frames)
        if refusal is not None:
            raise refusal
        if not decoder.finished:
            if not reply.started and _is_json(response):
                raise invalid_answer(response.status, "it is plain JSON, where a stream was asked for")
            raise TransportError(FailureKind.BROKEN, "The provider ended the stream before it was complete.")
        exchange.upstream = response


def _is_json(response: HttpResponse) -> bool:
    return any(
        name == b"content-type" and value.lower().startswith(b"application/json") for name, value in response.headers
    )


def _another_may_serve(error: AuterityError) -> bool:
    """The fault is this provider's, or this provider's limits; what the client got wrong is wrong everywhere."""
    if isinstance(error, ProviderRefusal):
        status = error.provider_status
        # A success that cannot be read (a proxy's page, half an answer) is the provider's fault too.
        return status < 400 or status in _PROVIDERS_FAULT or status >= 500
    return True


_PROVIDERS_FAULT = frozenset({401, 403, 404, 408, 425, 429})


def _for_client(error: AuterityError | None, model: str) -> AuterityError:
    """What the client is told of the last failure."""
    if isinstance(error, TransportError):
        if error.kind is FailureKind.TIMEOUT:
            return ProviderTimeout(f"The provider of '{model}' did not answer in time.")
        return ProviderUnavailable(
            f"The provider of '{model}' cannot be reached or broke off. Try again.", retry_after=1
        )
    if isinstance(error, ProviderRefusal):
        return _for_refused(error, model)
    return error or ProviderUnavailable(f"Nothing can serve '{model}' now.", retry_after=1)


def _for_refused(refusal: ProviderRefusal, model: str) -> AuterityError:
    status = refusal.provider_status
    if status == 429:
        return RateLimitExceeded(refusal.message, retry_after=refusal.retry_after)
    if status in {401, 403, 404}:
        return ProviderMisconfigured(
            f"The provider of '{model}' refused Auterity's request ({status}); an administrator must check the "
            "provider's credential and the deployment's upstream model."
        )
    if 400 <= status < 500 and status != 408:
        return RefusedByProvider(refusal.message, status=status, code=refusal.provider_code, param=refusal.param)
    if status < 400:
        return ProviderUnavailable(
            f"'{model}' cannot be served now. {refusal.message}", retry_after=refusal.retry_after
        )
    return ProviderUnavailable(
        f"The provider of '{model}' failed ({status}). Try again.", retry_after=refusal.retry_after
    )

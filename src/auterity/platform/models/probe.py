"""One real call to a deployment, to see whether it works. It is paid for at the provider and not metered here."""

import time
from collections.abc import Sequence

import msgspec

from auterity.engines.http.port import HttpResponse, TransportError
from auterity.kit.tokens import TokenUsage
from auterity.platform.models.plan import DeploymentPlan, ModelPlan
from auterity.platform.models.schemas import DeploymentTest, ModelTest, ModelTestRequest
from auterity.providers.contract import Answer, ModelCall, ProviderRefusal, UntranslatableRequest

__all__ = ["probe"]

_MOST_BYTES = 4 * 1024 * 1024


async def probe(model: ModelPlan, request: ModelTestRequest) -> ModelTest:
    """Call each of the model's deployments once, one after the other."""
    results: Sequence[DeploymentTest] = [
        await _try(deployment, _call(model.name, request)) for deployment in model.deployments
    ]
    return ModelTest(
        model=model.name, ok=bool(results) and all(result.ok for result in results), deployments=list(results)
    )


def _call(model: str, request: ModelTestRequest) -> ModelCall:
    fields: dict[str, object] = {"model": model}
    if request.endpoint == "embeddings":
        fields["input"] = request.prompt
    else:  # no limit of tokens: providers disagree on the field's name, and reasoning models stop short of an answer
        fields["messages"] = [{"role": "user", "content": request.prompt}]
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return ModelCall(endpoint=request.endpoint, model=model, fields=raw)


async def _try(deployment: DeploymentPlan, call: ModelCall) -> DeploymentTest:
    begin = time.perf_counter()
    response: HttpResponse | None = None
    try:
        response = await deployment.transport.send(
            deployment.wire.request(call, deployment.target), deployment.timeouts
        )
        body = await response.read(_MOST_BYTES)
        if response.status >= 400:
            refusal = deployment.wire.refusal(response.status, response.headers, body)
            return _failed(deployment, begin, response.status, refusal.provider_code or refusal.code, refusal.message)
        answer = deployment.wire.answer(call, deployment.target, body)
    except (TransportError, ProviderRefusal, UntranslatableRequest) as error:
        return _failed(deployment, begin, response.status if response else 0, error.code, error.message)
    return _succeeded(deployment, begin, response.status, answer)


def _failed(deployment: DeploymentPlan, begin: float, status: int, code: str, message: str) -> DeploymentTest:
    return DeploymentTest(
        deployment_id=deployment.id,
        provider=deployment.provider,
        upstream_model=deployment.target.upstream_model,
        ok=False,
        latency_ms=_milliseconds(begin),
        status=status,
        error_code=code,
        error=message,
    )


def _succeeded(deployment: DeploymentPlan, begin: float, status: int, answer: Answer) -> DeploymentTest:
    usage: TokenUsage | None = answer.usage
    price = deployment.price
    return DeploymentTest(
        deployment_id=deployment.id,
        provider=deployment.provider,
        upstream_model=deployment.target.upstream_model,
        ok=True,
        latency_ms=_milliseconds(begin),
        status=status,
        input_tokens=usage.input if usage else None,
        output_tokens=usage.output if usage else None,
        cost_nano=price.cost(usage) if price and usage else None,
        price_source=price.source if price else None,
        finish_reason=answer.finish_reason,
    )


def _milliseconds(begin: float) -> float:
    return round((time.perf_counter() - begin) * 1000, 3)

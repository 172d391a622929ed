"""The doctor's look at a tenant's providers: each enabled one is reached, and takes its credential."""

import asyncio
from collections.abc import Sequence

from auterity.app.doctor import Check, Finding, State
from auterity.app.node import Node
from auterity.engines.http.port import Timeouts, TransportError
from auterity.platform.models.models import Provider
from auterity.platform.models.repository import CatalogueRepository
from auterity.providers.contract import Target

__all__ = ["check_providers"]

_PAGE = 1000
_MOST_BYTES = 8 << 20
_TIMEOUTS = Timeouts(connect=5, first_byte=10, between_bytes=5, total=15)


def check_providers(node: Node) -> dict[str, Check]:
    """One check that looks at all of them side by side. It lists their models, which costs nothing."""

    async def providers() -> Sequence[Finding]:
        async with node.services.database.tenant(node.tenant_id) as scope:
            repository = CatalogueRepository(scope)
            names = [each.name for each in await repository.providers(after=None, limit=_PAGE) if each.enabled]
            rows = [row for name in names if (row := await repository.provider(name, secrets=True)) is not None]
        if not rows:
            remedy = "Add one with `auterity models add`."
            return [Finding("providers", State.WARN, "there is no enabled provider", remedy)]
        return await asyncio.gather(*(_look(node, row) for row in rows))

    return {"providers": providers}


async def _look(node: Node, provider: Provider) -> Finding:
    name = f"provider {provider.name}"
    services = node.services.models
    wire, transport = services.wires.get(provider.kind), services.transports.get(provider.kind)
    if wire is None or transport is None:
        return Finding(name, State.FAIL, f"this release has no kind {provider.kind}", "Disable it, or upgrade.")
    target = Target(
        base_url=provider.base_url,
        api_key=services.credentials.key(provider),
        upstream_model="",
        public_model="",
        headers=services.credentials.headers(provider),
        query=provider.query,
    )
    request = wire.models_request(target)
    if request is None:
        return Finding(name, State.OK, f"{provider.base_url} (has no free request to try it with)")
    try:
        response = await transport.send(request, _TIMEOUTS)
        body = await response.read(_MOST_BYTES)
    except TransportError as error:
        return Finding(name, State.FAIL, error.message, "Check its base_url, and that this machine may reach it.")
    why = wire.refusal(response.status, response.headers, body).message if response.status in (401, 403) else ""
    return _judge(name, provider.base_url, response.status, why)


def _judge(name: str, base_url: str, status: int, why: str) -> Finding:
    if status in (401, 403):
        remedy = f"Set a valid key: PATCH /api/v1/providers/{name.removeprefix('provider ')} with api_key."
        return Finding(name, State.FAIL, f"does not take the credential ({status}: {why})", remedy)
    if status >= 500 or status == 429:
        return Finding(name, State.WARN, f"answers {status}", "Wait, and see the provider's status page.")
    if status >= 400:
        detail = f"is reached, and does not list its models ({status}); its credential was not tried"
        return Finding(name, State.WARN, detail, "Try a model with `auterity models test NAME`.")
    return Finding(name, State.OK, f"{base_url} takes the credential")

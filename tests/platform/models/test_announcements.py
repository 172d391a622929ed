"""Every change of the catalogue tells the workers whose plans are out of date."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2

from auterity.engines.database.connection import connect
from auterity.engines.database.sessions import APP_ROLE, PLAN_CHANNEL
from auterity.platform.identity.principal import Principal

Client = Callable[[Principal], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeAdmin = Callable[..., Principal]

_OPENAI = {"name": "openai", "kind": "openai_compatible", "base_url": "https://api.openai.com/v1"}


async def _changes(client: httpx2.AsyncClient, announced: "asyncio.Queue[str]", whose: str, *, shared: bool) -> None:
    """Make one change of each sort and await the announcement of each."""

    async def change(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = await client.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        async with asyncio.timeout(10):
            assert await announced.get() == whose, (method, path)
        return answer.json() if answer.content else {}

    await change("POST", "/providers", {**_OPENAI, "shared": shared})
    await change("PATCH", "/providers/openai", {"query": "a=b"})
    await change("POST", "/models", {"name": "m", "shared": shared})
    await change("PATCH", "/models/m", {"description": "d"})
    deployment = await change("POST", "/models/m/deployments", {"provider": "openai", "upstream_model": "gpt-4o"})
    await change("PATCH", f"/models/m/deployments/{deployment['id']}", {"weight": 5})
    await change("DELETE", f"/models/m/deployments/{deployment['id']}")
    overlay = await change("POST", "/prices/overlays", {"discount_percent": "1", "shared": shared})
    await change("PATCH", f"/prices/overlays/{overlay['id']}", {"discount_percent": "2"})
    await change("DELETE", f"/prices/overlays/{overlay['id']}")
    await change("DELETE", "/models/m")
    await change("DELETE", "/providers/openai")


async def test_each_change_is_announced(
    catalogue_client: Client, tenant_id: str, other_tenant_id: str, make_admin: MakeAdmin, database_url: str
) -> None:
    announced: asyncio.Queue[str] = asyncio.Queue()

    def hear(_connection: object, _process: int, _channel: str, payload: object) -> None:
        announced.put_nowait(str(payload))

    async with connect(database_url, role=APP_ROLE) as listening:
        await listening.add_listener(PLAN_CHANNEL, hear)
        async with catalogue_client(make_admin(tenant_id)) as client:
            await _changes(client, announced, tenant_id, shared=False)
        async with catalogue_client(make_admin(other_tenant_id, operator=True)) as client:
            await _changes(client, announced, "*", shared=True)
    assert announced.empty()

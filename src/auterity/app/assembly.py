"""The composition root of a worker: every part is made here, once, and handed to those who need it."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from auterity import __version__
from auterity.app.api import management_api
from auterity.app.asgi import RootApp
from auterity.app.child import Launch
from auterity.app.gauges import Gauges
from auterity.app.health import HealthApp
from auterity.app.home import Home
from auterity.app.services import Services, build_services
from auterity.app.settings import Settings
from auterity.engines.counters.memory import MemoryCounters
from auterity.engines.counters.port import Counters
from auterity.engines.counters.selection import counters_for
from auterity.engines.database.listen import PlanListener
from auterity.engines.database.sessions import Database
from auterity.engines.http.pool import HttpPool
from auterity.engines.spool.writer import SpoolWriter
from auterity.engines.telemetry.metrics import Metrics
from auterity.engines.telemetry.selection import tracer_for
from auterity.gateway.asgi import GatewayApp
from auterity.gateway.loader import DatabasePlanLoader
from auterity.gateway.models import ListModels
from auterity.gateway.observe import Observe
from auterity.gateway.pipeline import Pipeline
from auterity.gateway.plan import PlanCache
from auterity.gateway.respond import Respond
from auterity.gateway.service import GatewayService
from auterity.gateway.stages.admit import Admit
from auterity.gateway.stages.authenticate import Authenticate
from auterity.gateway.stages.call import Call
from auterity.gateway.stages.govern import Govern
from auterity.gateway.stages.recall import Recall
from auterity.gateway.stages.record import Record
from auterity.gateway.stages.remember import Remember
from auterity.gateway.stages.route import Route
from auterity.gateway.stages.settle import Settle
from auterity.kit.clock import Clock, SystemClock
from auterity.platform.identity import endpoints as identity_endpoints
from auterity.platform.keys import endpoints as keys_endpoints
from auterity.platform.keys.last_used import LastUsed
from auterity.platform.keys.secret import hash_secret
from auterity.platform.models.endpoints import catalogue_routes
from auterity.platform.tenancy import endpoints as tenancy_endpoints
from auterity.platform.usage import endpoints as usage_endpoints
from auterity.platform.usage.backlog import Backlog
from auterity.platform.usage.recorder import UsageRecorder
from auterity.platform.usage.recording import SpoolRecorder
from auterity.platform.usage.service import UsageService
from auterity.platform.usage.spending import Spending

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

__all__ = ["assemble"]


_CATCH_UP_S = 10.0
"""How long a starting worker waits for what was in the spool before; calls that need it are refused until then."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def assemble(launch: Launch) -> AsyncGenerator[RootApp]:
    """Build one worker's application and what runs beside it; taken apart in the opposite order."""
    settings = launch.settings
    home = Home(settings.home)
    clock = SystemClock()
    backlog = await asyncio.to_thread(Backlog.take, home.spool)
    async with AsyncExitStack() as stack:
        metrics = Metrics(home.run / "metrics", f"worker-{launch.slot}")
        stack.callback(metrics.close)
        database = Database(launch.database_url)
        stack.push_async_callback(database.close)
        pool = HttpPool()
        stack.push_async_callback(pool.close)
        counters = counters_for(settings.redis_url, settings.workers, home.run)
        stack.push_async_callback(counters.close)
        tracer = tracer_for(settings.otlp_endpoint, version=__version__)
        stack.callback(tracer.close)
        spool = _spool(settings, home)
        stack.callback(spool.close)
        services = build_services(settings, database, pool, clock)
        plans = PlanCache(_loader(services, clock), clock)
        last_used = LastUsed(services.keys)
        stack.push_async_callback(last_used.flush)
        pipeline = _pipeline(
            services,
            plans=plans,
            recorder=SpoolRecorder(spool, strict=settings.durability == "strict"),
            counters=counters,
            # Counters of this process alone know nothing of a predecessor that still finishes its calls.
            settled=partial(backlog.settled if isinstance(counters, MemoryCounters) else backlog.collected, database),
            note_use=last_used.note,
            observe=Observe(metrics, tracer, clock),
            body_limit=settings.body_limit_bytes,
            clock=clock,
        )
        gateway = GatewayApp(ListModels(pipeline.authenticate))
        listener = PlanListener(launch.database_url, on_change=plans.changed, on_gap=partial(plans.changed, "*"))
        gauges = Gauges(metrics, spool=spool, pool=pool, collector=home.spool if launch.slot == 0 else None)
        health = HealthApp(
            vital={"usage_spool": partial(_has_room, spool)},
            helpful={"database": database.ping, "counters": counters.ping},
            metrics=gauges.page,
        )
        usage = UsageService(database, home.events, clock=clock)
        stack.push_async_callback(usage.close)
        api = management_api(_routers(services, usage), services.authenticator)
        for task in (listener.run(), last_used.run(), gauges.run()):
            stack.push_async_callback(_cancel, asyncio.create_task(task))
        if not await backlog.wait(database, seconds=_CATCH_UP_S):
            _log.warning("earlier usage is still being collected; keys with a budget wait for it")
        yield RootApp(
            GatewayService(pipeline, clock), gateway, health, _behind_proxies(api, settings.forwarded_allow_ips)
        )


def _behind_proxies(api: FastAPI, trusted: str) -> ASGIApp:
    """Believe trusted proxies' forwarded headers, on the management API: no call depends on them."""
    # uvicorn and Starlette each write ASGI's types in their own way.
    return cast("ASGIApp", ProxyHeadersMiddleware(cast("ASGI3Application", api), trusted_hosts=trusted))


def _spool(settings: Settings, home: Home) -> SpoolWriter:
    if settings.durability == "strict":
        return SpoolWriter(home.spool, max_bytes=settings.spool_max_bytes, sync_delay_s=0)
    return SpoolWriter(home.spool, max_bytes=settings.spool_max_bytes)


def _loader(services: Services, clock: Clock) -> DatabasePlanLoader:
    models = services.models
    return DatabasePlanLoader(
        services.database,
        keys=services.keys,
        credentials=models.credentials,
        wires=models.wires,
        transports=models.transports,
        clock=clock,
    )


def _pipeline(
    services: Services,
    *,
    plans: PlanCache,
    recorder: UsageRecorder,
    counters: Counters,
    settled: Callable[[], Awaitable[bool]],
    note_use: Callable[[str, int], None],
    observe: Observe,
    body_limit: int,
    clock: Clock,
) -> Pipeline:
    return Pipeline(
        authenticate=Authenticate(plans, partial(hash_secret, services.key_pepper), note_use, clock),
        admit=Admit(
            recorder,
            counters,
            MemoryCounters(clock),
            Spending(services.database, clock, settled=settled),
            body_limit=body_limit,
        ),
        govern=Govern(),
        recall=Recall(),
        route=Route(random.Random()),  # noqa: S311 - spreads load, guards nothing
        call=Call(clock),
        settle=Settle(counters),
        remember=Remember(),
        record=Record(recorder, clock),
        respond=Respond(clock),
        observe=observe,
    )


def _routers(services: Services, usage: UsageService) -> tuple[APIRouter, ...]:
    return (
        identity_endpoints.router(services.identity, services.signing_keys),
        tenancy_endpoints.router(services.tenants),
        keys_endpoints.router(services.keys),
        catalogue_routes(services.models),
        usage_endpoints.router(usage),
    )


async def _has_room(spool: SpoolWriter) -> None:
    """
    Raises:
        SpoolFull: no call could be recorded now.
    """
    spool.admit()
    spool.withdraw()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})

"""Promises of a tenant's compiled models: what the gateway will call, with which key and at which price."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr

from auterity.kit.clock import ManualClock
from auterity.kit.tokens import TokenUsage
from auterity.platform.identity.principal import Principal
from auterity.platform.models.compile import CompiledModels, compile_models
from auterity.platform.models.endpoints import CatalogueServices, actor_scope
from auterity.platform.models.providers import provider_out
from auterity.platform.models.sandbox import SANDBOX_PRICES, seed_sandbox
from auterity.platform.models.schemas import (
    DeploymentCreate,
    DeploymentPatch,
    ModelCreate,
    ModelPatch,
    OverlayCreate,
    ProviderCreate,
    ProviderPatch,
    TimeoutLimits,
)
from auterity.providers.sandbox import SANDBOX_MODELS

MakeAdmin = Callable[..., Principal]

_KEY = "sk-live-0123456789abcdef"
_USAGE = TokenUsage(input=1_000, output=100)


def _openai(*, shared: bool = False) -> ProviderCreate:
    return ProviderCreate(
        name="openai",
        kind="openai_compatible",
        base_url="https://api.openai.com/v1",
        api_key=SecretStr(_KEY),
        headers={"X-Team": "blue"},
        query="api-version=1",
        timeouts=TimeoutLimits(connect=2.5),
        shared=shared,
    )


def _served_by(
    upstream_model: str, *, position: int = 0, weight: int = 1, max_output_tokens: int | None = None
) -> DeploymentCreate:
    return DeploymentCreate(
        provider="openai",
        upstream_model=upstream_model,
        position=position,
        weight=weight,
        max_output_tokens=max_output_tokens,
    )


class _World:
    """A tenant's administrator and the operator of another, with short ways to do things."""

    def __init__(self, services: CatalogueServices, admin: Principal, operator: Principal) -> None:
        self.services = services
        self.admin = admin
        self.operator = operator

    async def provider(self, wanted: ProviderCreate, actor: Principal | None = None) -> None:
        actor = actor or self.admin
        async with actor_scope(self.services.database, actor) as scope:
            await self.services.providers.create(scope, actor, wanted)

    async def model(self, wanted: ModelCreate, actor: Principal | None = None) -> str:
        actor = actor or self.admin
        async with actor_scope(self.services.database, actor) as scope:
            return (await self.services.catalogue.create(scope, actor, wanted)).id

    async def terms(self, wanted: OverlayCreate, actor: Principal | None = None) -> None:
        actor = actor or self.admin
        async with actor_scope(self.services.database, actor) as scope:
            await self.services.terms.create(scope, actor, wanted)

    async def compiled(self, tenant_id: str | None = None) -> CompiledModels:
        async with self.services.database.tenant(tenant_id or self.admin.tenant_id) as scope:
            return await compile_models(
                scope,
                credentials=self.services.credentials,
                wires=self.services.wires,
                transports=self.services.transports,
                at=self.services.clock.now(),
            )


@pytest.fixture
def world(catalogue_services: CatalogueServices, tenant_id: str, other_tenant_id: str, make_admin: MakeAdmin) -> _World:
    return _World(catalogue_services, make_admin(tenant_id), make_admin(other_tenant_id, operator=True))


async def test_a_deployment_comes_with_all_that_a_call_needs(world: _World) -> None:
    await world.provider(_openai())
    await world.model(ModelCreate(name="mini", deployments=[_served_by("gpt-4o-mini", max_output_tokens=999)]))
    model = (await world.compiled())["mini"]
    (deployment,) = model.deployments
    target = deployment.target
    assert (target.base_url, target.api_key, target.query) == ("https://api.openai.com/v1", _KEY, "api-version=1")
    assert (target.upstream_model, target.public_model) == ("gpt-4o-mini", "mini")
    assert target.headers == ((b"x-team", b"blue"),)
    assert target.max_output_tokens == deployment.max_output_tokens == 999
    assert deployment.timeouts.connect == 2.5
    assert deployment.context_window == 128_000
    assert deployment.price is not None
    assert deployment.price.cost(_USAGE) == 1_000 * 150 + 100 * 600
    assert model.endpoints == {"chat.completions", "embeddings"}
    assert model.owned_by == "openai"


async def test_a_server_that_refuses_stream_options_is_known_by_its_provider(world: _World) -> None:
    services, admin = world.services, world.admin
    await world.provider(_openai())
    await world.model(ModelCreate(name="mini", deployments=[_served_by("gpt-4o-mini")]))
    assert (await world.compiled())["mini"].deployments[0].target.accepts_stream_options
    async with actor_scope(services.database, admin) as scope:
        await services.providers.change(scope, admin, "openai", ProviderPatch(stream_options=False))
    assert not (await world.compiled())["mini"].deployments[0].target.accepts_stream_options
    await world.provider(ProviderCreate(name="old", kind="sandbox", stream_options=False))
    async with actor_scope(services.database, admin) as scope:
        assert not provider_out(await services.providers.get(scope, "old")).stream_options


async def test_what_is_disabled_is_left_out(world: _World) -> None:
    services, admin = world.services, world.admin
    await world.provider(_openai())
    await world.model(ModelCreate(name="off", deployments=[_served_by("gpt-4o")]))
    await world.model(ModelCreate(name="half", deployments=[_served_by("gpt-4o"), _served_by("gpt-4.1")]))
    async with actor_scope(services.database, admin) as scope:
        await services.catalogue.change(scope, admin, "off", ModelPatch(enabled=False))
        half = await services.catalogue.get(scope, "half")
        await services.catalogue.change_deployment(
            scope, admin, "half", half.deployments[0].id, DeploymentPatch(enabled=False)
        )
    compiled = await world.compiled()
    assert set(compiled) == {"half"}
    assert [each.target.upstream_model for each in compiled["half"].deployments] == ["gpt-4.1"]
    async with actor_scope(services.database, admin) as scope:
        await services.providers.change(scope, admin, "openai", ProviderPatch(enabled=False))
    assert (await world.compiled())["half"].deployments == ()


async def test_deployments_come_in_order_of_position(world: _World) -> None:
    await world.provider(_openai())
    wanted = [_served_by("c", position=2), _served_by("a", position=0), _served_by("b", position=1, weight=0)]
    await world.model(ModelCreate(name="m", deployments=wanted))
    deployments = (await world.compiled())["m"].deployments
    assert [(each.target.upstream_model, each.weight) for each in deployments] == [("a", 1), ("b", 0), ("c", 1)]


async def test_a_shared_model_is_called_with_the_operators_key_at_the_operators_price(world: _World) -> None:
    await world.provider(_openai(shared=True), world.operator)
    await world.model(ModelCreate(name="mini", shared=True, deployments=[_served_by("gpt-4o-mini")]), world.operator)
    await world.terms(OverlayCreate(discount_percent=Decimal(-10), shared=True), world.operator)
    await world.terms(OverlayCreate(discount_percent=Decimal(100)))
    (deployment,) = (await world.compiled())["mini"].deployments
    assert deployment.target.api_key == _KEY
    assert deployment.price is not None
    assert deployment.price.cost(_USAGE) == (1_000 * 150 + 100 * 600) * 11 // 10


async def test_terms_that_are_not_shared_do_not_reach_other_tenants(world: _World) -> None:
    await world.provider(_openai(shared=True), world.operator)
    await world.model(ModelCreate(name="mini", shared=True, deployments=[_served_by("gpt-4o-mini")]), world.operator)
    await world.terms(OverlayCreate(discount_percent=Decimal(50)), world.operator)
    theirs = (await world.compiled())["mini"].deployments[0].price
    own = (await world.compiled(world.operator.tenant_id))["mini"].deployments[0].price
    assert theirs is not None
    assert own is not None
    assert theirs.cost(_USAGE) == 2 * own.cost(_USAGE)


async def test_a_tenants_own_model_hides_a_shared_one_of_its_name(world: _World) -> None:
    await world.provider(_openai(shared=True), world.operator)
    await world.model(ModelCreate(name="m", shared=True, deployments=[_served_by("gpt-4o")]), world.operator)
    await world.provider(_openai())
    await world.model(ModelCreate(name="m", deployments=[_served_by("gpt-4.1")]))
    assert (await world.compiled())["m"].deployments[0].target.upstream_model == "gpt-4.1"
    elsewhere = await world.compiled(world.operator.tenant_id)
    assert elsewhere["m"].deployments[0].target.upstream_model == "gpt-4o"


async def test_the_plan_says_until_when_its_prices_hold(world: _World, catalogue_clock: ManualClock) -> None:
    await world.provider(_openai())
    await world.model(ModelCreate(name="own", deployments=[_served_by("our-own")]))
    assert (await world.compiled()).valid_until is None
    begin = catalogue_clock.now() + timedelta(days=1)
    prices: dict[str, Decimal] = {"input": Decimal(1), "output": Decimal(2)}
    await world.terms(OverlayCreate.model_validate({"prices": prices, "valid_from": begin}))
    before = await world.compiled()
    assert before.valid_until == begin
    assert before["own"].deployments[0].price is None
    catalogue_clock.advance(timedelta(days=1))
    price = (await world.compiled())["own"].deployments[0].price
    assert price is not None
    assert price.cost(_USAGE) == 1_000 * 1_000 + 100 * 2_000


async def test_the_sandbox_is_seeded_once_and_says_what_it_is(world: _World) -> None:
    services, admin = world.services, world.admin
    async with actor_scope(services.database, admin) as scope:
        made = await seed_sandbox(scope, admin, services.providers, services.catalogue)
    async with actor_scope(services.database, admin) as scope:
        assert await seed_sandbox(scope, admin, services.providers, services.catalogue) == []
    compiled = await world.compiled()
    assert set(made) == set(compiled) == set(SANDBOX_MODELS)
    for name, model in compiled.items():
        assert model.facts["sandbox"] is True
        assert model.endpoints == {SANDBOX_MODELS[name].endpoint}
        price = model.deployments[0].price
        assert price is not None
        assert price.source == "sandbox"
        assert price.cost(_USAGE) > 0


def test_every_sandbox_model_has_a_price() -> None:
    assert set(SANDBOX_PRICES) == set(SANDBOX_MODELS)

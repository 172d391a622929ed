"""Promises of the import from LiteLLM: what can be carried over is, the rest is told with line and reason."""

from collections.abc import Callable
from decimal import Decimal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from auterity.app.importing.apply import ImportOutcome, apply_plan
from auterity.app.importing.document import UnreadableDocument, read_document
from auterity.app.importing.litellm import ImportPlan, plan_litellm
from auterity.kit.tokens import TokenUsage
from auterity.platform.identity.principal import Principal
from auterity.platform.models.compile import CompiledModels, compile_models
from auterity.platform.models.endpoints import CatalogueServices

MakeAdmin = Callable[..., Principal]

_TYPICAL = """\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      rpm: 600
  - model_name: gpt-4o
    litellm_params:
      model: azure/team-gpt-4o
      api_base: https://acme-eu.openai.azure.com/
      api_version: "2024-10-21"
      api_key: os.environ/AZURE_EU_KEY
      rpm: 200
    model_info:
      base_model: azure/gpt-4o
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      api_key: os.environ/ANTHROPIC_API_KEY
      max_retries: 2
  - model_name: house-model
    litellm_params:
      model: hosted_vllm/acme/house-7b
      api_base: http://internal.vllm:8000/v1
      api_key: none
    model_info:
      mode: chat
      input_cost_per_token: 0.00000015
      output_cost_per_token: 6.0e-7
      max_input_tokens: 32768
      max_output_tokens: 4096
      supports_vision: false
  - model_name: search
    litellm_params:
      model: openai/text-embedding-3-small
      api_key: os.environ/OPENAI_API_KEY
    model_info:
      mode: embedding
  - model_name: pictures
    litellm_params:
      model: openai/gpt-image-1
    model_info:
      mode: image_generation
  - model_name: bedrock-claude
    litellm_params:
      model: bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0
      aws_region_name: eu-central-1
  - model_name: "openai/*"
    litellm_params:
      model: "openai/*"

litellm_settings:
  drop_params: true
  num_retries: 3
  success_callback: ["langfuse"]
  fallbacks:
    - gpt-4o: [claude, bedrock-claude]

router_settings:
  routing_strategy: simple-shuffle
  model_group_alias:
    gpt-4: gpt-4o

general_settings:
  master_key: sk-very-secret-master
  database_url: os.environ/DATABASE_URL

finetune_settings:
  - custom_llm_provider: azure
"""
_ENVIRONMENT = {"OPENAI_API_KEY": "sk-openai-0123456789abcd", "ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef"}


@pytest.fixture(scope="module")
def plan() -> ImportPlan:
    return plan_litellm(_TYPICAL, _ENVIRONMENT)


def _where(text: str) -> int:
    """The line of the typical file that holds this text."""
    return 1 + next(number for number, line in enumerate(_TYPICAL.splitlines()) if text in line)


def test_deployments_that_share_address_and_key_share_a_provider(plan: ImportPlan) -> None:
    assert [provider.name for provider in plan.providers] == ["openai", "azure", "anthropic", "hosted-vllm"]
    openai = plan.providers[0]
    assert openai.api_key is not None
    assert openai.api_key.get_secret_value() == _ENVIRONMENT["OPENAI_API_KEY"]


def test_azure_gets_its_address_version_and_header() -> None:
    plan = plan_litellm(_TYPICAL, {**_ENVIRONMENT, "AZURE_EU_KEY": "azure-0123456789"})
    azure = next(provider for provider in plan.providers if provider.name == "azure")
    assert azure.base_url == "https://acme-eu.openai.azure.com/openai/deployments/team-gpt-4o"
    assert azure.query == "api-version=2024-10-21"
    assert azure.headers == {"api-key": "azure-0123456789"}
    assert azure.api_key is None


def test_a_group_becomes_one_model_weighted_by_its_limits_with_its_fallbacks_behind(plan: ImportPlan) -> None:
    gpt = next(model for model in plan.models if model.name == "gpt-4o")
    found = [(each.provider, each.upstream_model, each.weight) for each in gpt.deployments]
    assert found == [
        ("openai", "gpt-4o", 600),
        ("azure", "team-gpt-4o", 200),
        ("anthropic", "claude-sonnet-4-5", 0),
    ]


def test_an_alias_becomes_a_model_with_the_same_deployments(plan: ImportPlan) -> None:
    models = {model.name: model for model in plan.models}
    assert models["gpt-4"].deployments == models["gpt-4o"].deployments


def test_limits_and_prices_are_taken_exactly_as_written(plan: ImportPlan) -> None:
    house = next(model for model in plan.models if model.name == "house-model")
    assert (house.deployments[0].context_window, house.deployments[0].max_output_tokens) == (32_768, 4_096)
    (overlay,) = plan.overlays
    assert (overlay.provider, overlay.upstream_model) == ("hosted-vllm", "acme/house-7b")
    assert overlay.prices == {"input": Decimal("0.15"), "output": Decimal("0.6")}


def test_what_cannot_be_carried_over_is_told_with_its_line_and_the_reason(plan: ImportPlan) -> None:
    lost = {finding.line: finding.message for finding in plan.report.lost}
    assert "image_generation" in lost[_where("model_name: pictures")]
    assert "bedrock" in lost[_where("model_name: bedrock-claude")]
    assert "wildcards" in lost[_where('model_name: "openai/*"')]
    assert "limit the keys" in lost[_where("rpm: 600")]
    assert _where("max_retries: 2") in lost
    assert _where("success_callback") in lost
    assert _where("database_url") in lost
    assert _where("custom_llm_provider: azure") in lost


def test_what_is_left_to_do_is_told(plan: ImportPlan) -> None:
    actions = {finding.line: finding.message for finding in plan.report.actions}
    assert "AZURE_EU_KEY" in actions[_where("AZURE_EU_KEY")]
    assert "auterity keys create" in actions[_where("master_key")]


def test_no_secret_is_in_the_report() -> None:
    text = _TYPICAL.replace("os.environ/OPENAI_API_KEY", "sk-literal-0123456789")
    report = "\n".join(plan_litellm(text, _ENVIRONMENT).report.lines())
    for secret in ("sk-literal-0123456789", "sk-very-secret-master", *_ENVIRONMENT.values()):
        assert secret not in report


_CONSUMED = (
    "model_name",
    ".model",
    ".mode",
    "max_input_tokens",
    "max_output_tokens",
    "max_tokens",
    ".weight",
    ".order",
)


def test_no_value_of_the_file_goes_unmentioned(plan: ImportPlan) -> None:
    """A value is mentioned itself, or is one of those that the remark about its whole entry speaks of."""
    report = plan.report
    mentioned = {finding.path for finding in (*report.carried, *report.lost, *report.actions)}
    dropped = {finding.path for finding in report.lost}
    silent = [
        leaf.path
        for leaf in read_document(_TYPICAL).leaves()
        if leaf.path not in mentioned
        and not leaf.path.endswith(_CONSUMED)
        and not any(leaf.path.startswith(f"{path}.") for path in dropped)
    ]
    assert silent == []


@pytest.mark.parametrize("nothing", ["model_list:", "{}", "general_settings: {}", "model_list: []\nrouter_settings:"])
def test_a_file_without_models_is_an_empty_plan(nothing: str) -> None:
    plan = plan_litellm(nothing, {})
    assert (list(plan.providers), list(plan.models), list(plan.overlays)) == ([], [], [])


@pytest.mark.parametrize("bad", ["", "- a\n- b", "a: [", "a: b: c", "\t", "a: !!python/object:os.system x\nb: {"])
def test_what_is_no_mapping_is_refused(bad: str) -> None:
    with pytest.raises(UnreadableDocument):
        plan_litellm(bad, {})


def test_an_entry_of_the_wrong_shape_is_told_and_the_rest_is_carried_over() -> None:
    plan = plan_litellm(
        "model_list:\n- just text\n- model_name: a\n- model_name: b\n  litellm_params: {model: openai/gpt-4o}\n"
        "- model_name: 'two words'\n  litellm_params: {model: openai/gpt-4o}\n"
        "- model_name: c\n  litellm_params: {model: mystery-7b}\n",
        _ENVIRONMENT,
    )
    assert [model.name for model in plan.models] == ["b"]
    assert [finding.line for finding in plan.report.lost] == [2, 3, 6, 8]


def test_aliases_of_yaml_are_followed_and_bombs_are_refused() -> None:
    shared = "x: &defaults {api_key: os.environ/OPENAI_API_KEY, timeout: 30}\nmodel_list:\n"
    entry = "- model_name: a\n  litellm_params:\n    <<: *defaults\n    model: openai/gpt-4o\n"
    (provider,) = plan_litellm(shared + entry, _ENVIRONMENT).providers
    assert provider.timeouts.total == 30
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    with pytest.raises(UnreadableDocument):
        plan_litellm(bomb, {})


def test_a_usual_key_is_not_sent_to_an_unusual_address() -> None:
    text = (
        "model_list:\n- model_name: a\n  litellm_params: {model: openai/m, api_base: 'https://elsewhere.example/v1'}\n"
    )
    (provider,) = plan_litellm(text, _ENVIRONMENT).providers
    assert (provider.name, provider.api_key) == ("openai-elsewhere.example", None)


def test_a_later_order_serves_only_when_earlier_ones_cannot() -> None:
    text = (
        "model_list:\n"
        "- model_name: a\n  litellm_params: {model: groq/m, api_key: key-one, order: 2}\n"
        "- model_name: a\n  litellm_params: {model: mistral/m, api_key: key-two, order: 1, weight: 3}\n"
    )
    (model,) = plan_litellm(text, {}).models
    assert [(each.provider, each.weight, each.position) for each in model.deployments] == [
        ("groq", 0, 1),
        ("mistral", 3, 0),
    ]


_SCALARS = st.one_of(st.text("ab0/.*-_: {}[]'\n", max_size=12), st.integers(-5, 5), st.none(), st.booleans())
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=5,
)
_PARAMS = st.dictionaries(
    st.sampled_from(
        ["model", "api_key", "api_base", "rpm", "weight", "timeout", "extra_headers", "input_cost_per_token"]
    ),
    st.one_of(_VALUES, st.sampled_from(["openai/gpt-4o", "azure/x", "https://a.example", "os.environ/X"])),
)
_ENTRIES = st.fixed_dictionaries(
    {"model_name": st.one_of(_VALUES, st.just("m"))}, optional={"litellm_params": _PARAMS, "model_info": _PARAMS}
)


@given(
    st.fixed_dictionaries(
        {"model_list": st.one_of(_VALUES, st.lists(_ENTRIES, max_size=3))},
        optional={"router_settings": _VALUES, "litellm_settings": st.fixed_dictionaries({"fallbacks": _VALUES})},
    )
)
def test_any_file_gives_a_plan(document: object) -> None:
    plan_litellm(yaml.safe_dump(document), {})


# Applying


async def _apply(
    services: CatalogueServices, actor: Principal, plan: ImportPlan, *, dry_run: bool = False
) -> ImportOutcome:
    return await apply_plan(
        plan,
        services.database,
        actor,
        providers=services.providers,
        catalogue=services.catalogue,
        terms=services.terms,
        dry_run=dry_run,
    )


async def _compiled(services: CatalogueServices, tenant_id: str) -> CompiledModels:
    async with services.database.tenant(tenant_id) as scope:
        return await compile_models(
            scope,
            credentials=services.credentials,
            wires=services.wires,
            transports=services.transports,
            at=services.clock.now(),
        )


@pytest.fixture
def operator(tenant_id: str, make_admin: MakeAdmin) -> Principal:
    return make_admin(tenant_id, operator=True)


async def test_a_plan_is_applied_once_and_a_second_run_changes_nothing(
    catalogue_services: CatalogueServices, operator: Principal, plan: ImportPlan
) -> None:
    first = await _apply(catalogue_services, operator, plan)
    second = await _apply(catalogue_services, operator, plan)
    assert len(first.created) == len(plan.providers) + len(plan.models) + len(plan.overlays)
    assert (second.created, second.changed, second.refused) == ([], [], [])
    assert len(second.unchanged) == len(first.created)
    compiled = await _compiled(catalogue_services, operator.tenant_id)
    assert set(compiled) == {"gpt-4o", "gpt-4", "claude", "house-model", "search"}
    house = compiled["house-model"].deployments[0].price
    azure = compiled["gpt-4o"].deployments[1].price
    assert azure is not None
    assert azure.source == "genai-prices"
    assert house is not None
    assert house.cost(TokenUsage(input=1_000, output=100)) == 1_000 * 150 + 100 * 600


async def test_a_dry_run_says_the_same_and_leaves_nothing(
    catalogue_services: CatalogueServices, operator: Principal, plan: ImportPlan
) -> None:
    tried = await _apply(catalogue_services, operator, plan, dry_run=True)
    assert dict(await _compiled(catalogue_services, operator.tenant_id)) == {}
    assert await _apply(catalogue_services, operator, plan) == tried


async def test_a_missing_key_is_added_on_a_later_run(
    catalogue_services: CatalogueServices, operator: Principal
) -> None:
    await _apply(catalogue_services, operator, plan_litellm(_TYPICAL, {}))
    later = await _apply(catalogue_services, operator, plan_litellm(_TYPICAL, {**_ENVIRONMENT, "AZURE_EU_KEY": "k-1"}))
    assert len(later.changed) == 3
    compiled = await _compiled(catalogue_services, operator.tenant_id)
    openai, azure, *_ = compiled["gpt-4o"].deployments
    assert openai.target.api_key == _ENVIRONMENT["OPENAI_API_KEY"]
    assert azure.target.headers == ((b"api-key", b"k-1"),)


async def test_what_is_there_already_is_kept(catalogue_services: CatalogueServices, operator: Principal) -> None:
    one = "model_list:\n- model_name: a\n  litellm_params: {model: hosted_vllm/m, api_base: 'https://one.example/v1'}\n"
    await _apply(catalogue_services, operator, plan_litellm(one, {}))
    outcome = await _apply(catalogue_services, operator, plan_litellm(one.replace("one.", "two."), {}))
    assert len(outcome.refused) == 2
    compiled = await _compiled(catalogue_services, operator.tenant_id)
    assert compiled["a"].deployments[0].target.base_url == "https://one.example/v1"


async def test_an_address_that_is_not_allowed_costs_only_what_depends_on_it(
    catalogue_services: CatalogueServices, tenant_id: str, make_admin: MakeAdmin, plan: ImportPlan
) -> None:
    outcome = await _apply(catalogue_services, make_admin(tenant_id), plan)
    assert [line.partition(":")[0] for line in outcome.refused] == [
        "provider hosted-vllm",
        "model house-model",
        "prices of acme/house-7b at provider hosted-vllm",
    ]
    assert "gpt-4o" in await _compiled(catalogue_services, tenant_id)

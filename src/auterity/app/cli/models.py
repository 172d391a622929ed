"""``auterity models``."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from auterity.app.cli.flags import command
from auterity.app.cli.operator import InTenant, checked, on_node
from auterity.app.cli.output import AsJson, note, print_json, print_table
from auterity.app.node import DEFAULT_TENANT, Node
from auterity.app.settings import Settings
from auterity.engines.database.sessions import Scope
from auterity.kit.errors import Conflict, InvalidRequest
from auterity.kit.money import format_dollars
from auterity.platform.models.catalogue import model_out
from auterity.platform.models.endpoints import actor_scope
from auterity.platform.models.errors import ProviderNotFound
from auterity.platform.models.models import Model
from auterity.platform.models.schemas import (
    ModelCreate,
    ModelOut,
    ModelTest,
    ModelTestRequest,
    ProviderCreate,
)

__all__ = ["commands"]

commands = typer.Typer()

_PAGE = 1000


def _list(settings: Settings, *, tenant: InTenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """List the models that the tenant's clients can ask for, and what serves each."""

    async def read(node: Node) -> list[ModelOut]:
        async with node.services.database.tenant(node.tenant_id) as scope:
            return [model_out(model, node.tenant_id) for model in await _all_models(node, scope)]

    found = on_node(settings, tenant, read)
    if as_json:
        print_json([model.model_dump(mode="json") for model in found])
        return
    print_table(
        ("name", "served by", "state", "shared"),
        [(model.name, _served_by(model), _state(model), "yes" if model.shared else "") for model in found],
        empty="There are no models. Add one with `auterity models add NAME`.",
        colours={"enabled": "green", "disabled": "yellow", "unserved": "red"},
    )


def _add(
    settings: Settings,
    *,
    name: Annotated[str, typer.Argument(help="What clients ask for.")],
    provider: Annotated[str, typer.Option("--provider", "-p", help="Name of a provider, or of one to be made.")],
    upstream: Annotated[
        str | None, typer.Option("--upstream", help="The model's name at the provider; the same if left out.")
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", help="What a provider to be made speaks: openai_compatible or anthropic.")
    ] = "openai_compatible",
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Where it is, e.g. https://api.openai.com/v1; makes the provider.")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option("--key-env", help="The variable that holds the provider's key.", metavar="VARIABLE")
    ] = None,
    stream_options: Annotated[
        bool,
        typer.Option(
            "--stream-options/--no-stream-options", help="Whether a provider to be made takes OpenAI's stream_options."
        ),
    ] = True,
    allow_unpriced: Annotated[
        bool, typer.Option("--allow-unpriced", help="Serve it though its price is not known, and flag its calls.")
    ] = False,
    tenant: InTenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Offer a model, served by a provider that is there or made by the way.

    The provider's key is read from a variable, for flags can be seen by others on the machine:
    auterity models add gpt-5-mini -p openai --base-url https://api.openai.com/v1 --key-env OPENAI_API_KEY
    """
    source = checked(
        ProviderCreate,
        {
            "name": provider,
            "kind": kind,
            "base_url": base_url,
            "api_key": _key_from(key_env),
            "stream_options": stream_options,
        },
    )
    deployment = {"provider": provider, "upstream_model": upstream or name}
    wanted = checked(ModelCreate, {"name": name, "allow_unpriced": allow_unpriced, "deployments": [deployment]})

    async def add(node: Node) -> tuple[ModelOut, bool]:
        async with actor_scope(node.services.database, node.actor) as scope:
            made = await _provide(node, scope, source)
            return model_out(
                await node.services.models.catalogue.create(scope, node.actor, wanted), node.tenant_id
            ), made

    model, made = on_node(settings, tenant, add)
    if as_json:
        print_json(model.model_dump(mode="json"))
        return
    if made:
        note(f"Made the provider {provider} ({kind}).")
    typer.echo(f"{model.name} is served by {_served_by(model)}. Try it with `auterity models test {model.name}`.")


def _test(
    settings: Settings,
    *,
    model: Annotated[str, typer.Argument(help="The model's name or id.")],
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Ask for an embedding, not for a chat.")] = False,
    tenant: InTenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Call each of a model's deployments once. It costs what it costs at the provider; usage does not show it."""

    async def test(node: Node) -> ModelTest:
        wanted = ModelTestRequest(endpoint="embeddings" if embeddings else "chat.completions")
        return await node.services.models.test(node.tenant_id, model, wanted)

    result = on_node(settings, tenant, test)
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        print_table(
            ("provider", "upstream model", "result", "ms", "status", "tokens", "cost", "error"),
            [
                (
                    each.provider,
                    each.upstream_model,
                    "ok" if each.ok else "failed",
                    round(each.latency_ms),
                    each.status or None,
                    f"{each.input_tokens} + {each.output_tokens}" if each.input_tokens is not None else None,
                    None if each.cost_nano is None else f"${format_dollars(each.cost_nano)}",
                    each.error,
                )
                for each in result.deployments
            ],
            empty=f"Nothing serves {result.model}: it has no deployment at an enabled provider.",
            colours={"ok": "green", "failed": "red"},
        )
    if not result.ok:
        raise typer.Exit(1)


async def _all_models(node: Node, scope: Scope) -> Sequence[Model]:
    found: list[Model] = []
    while True:
        page = await node.services.models.catalogue.page(scope, after=found[-1].id if found else None, limit=_PAGE)
        found.extend(page)
        if len(page) < _PAGE:
            return found


async def _provide(node: Node, scope: Scope, wanted: ProviderCreate) -> bool:
    """Make the provider if it is asked for and not there; say whether it was made."""
    try:
        await node.services.models.providers.get(scope, wanted.name)
    except ProviderNotFound:
        if wanted.base_url is None and wanted.kind == "openai_compatible":
            raise InvalidRequest(
                f"There is no provider {wanted.name!r}. Give --base-url (and --key-env) to make it, e.g. "
                "--base-url https://api.openai.com/v1 --key-env OPENAI_API_KEY."
            ) from None
        await node.services.models.providers.create(scope, node.actor, wanted)
        return True
    if wanted.base_url is not None or wanted.api_key is not None or not wanted.stream_options:
        raise Conflict(
            f"The provider {wanted.name!r} is there already; leave --base-url, --key-env and --no-stream-options out, "
            "or name another."
        )
    return False


def _key_from(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InvalidRequest(f"The variable {variable} is not set. Set it to the provider's key: export {variable}=…")
    return key


def _served_by(model: ModelOut) -> str:
    if not model.yours:
        return "the operator"
    return ", ".join(f"{each.provider}/{each.upstream_model}" for each in model.deployments)


def _state(model: ModelOut) -> str:
    if not model.enabled:
        return "disabled"
    return "enabled" if model.deployments or not model.yours else "unserved"


command(commands, "list")(_list)
command(commands, "add")(_add)
command(commands, "test")(_test)

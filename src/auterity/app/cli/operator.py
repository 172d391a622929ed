"""What commands share that act in a tenant as its operator."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from auterity.app.node import Node, open_node
from auterity.app.settings import Settings
from auterity.kit.errors import InvalidRequest

__all__ = ["InTenant", "checked", "on_node"]

InTenant = Annotated[
    str, typer.Option("--tenant", help="Act in this tenant, by its slug or id.", rich_help_panel="Settings")
]
"""The option that every such command has."""

Result = TypeVar("Result")
Shape = TypeVar("Shape", bound=BaseModel)


def checked(shape: type[Shape], values: Mapping[str, object]) -> Shape:
    """Make a request of the management API from a command's arguments.

    Raises:
        InvalidRequest: naming each argument that is wrong, and never its value, which may be a secret.
    """
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False)]
        raise InvalidRequest("\n".join(wrong)) from None


def on_node(settings: Settings, tenant: str, work: Callable[[Node], Coroutine[None, None, Result]]) -> Result:
    """Do the work with the node open.

    Raises:
        As :func:`auterity.app.node.open_node`, and whatever the work raises.
    """

    async def run() -> Result:
        async with open_node(settings, tenant) as node:
            return await work(node)

    return asyncio.run(run())

"""What commands share that act in a tenant as its operator."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, TypeVar

import typer

from auterity.app.node import Node, open_node
from auterity.app.settings import Settings

__all__ = ["InTenant", "on_node"]

InTenant = Annotated[
    str, typer.Option("--tenant", help="Act in this tenant, by its slug or id.", rich_help_panel="Settings")
]
"""The option that every such command has."""

Result = TypeVar("Result")


def on_node(settings: Settings, tenant: str, work: Callable[[Node], Coroutine[None, None, Result]]) -> Result:
    """Do the work with the node open.

    Raises:
        As :func:`auterity.app.node.open_node`, and whatever the work raises.
    """

    async def run() -> Result:
        async with open_node(settings, tenant) as node:
            return await work(node)

    return asyncio.run(run())

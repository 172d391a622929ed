"""``auterity doctor``."""

import asyncio

import typer

from auterity.app.cli.flags import command
from auterity.app.cli.operator import InTenant
from auterity.app.cli.output import AsJson, print_json, print_table
from auterity.app.doctor import Finding, State, check_node, run_checks
from auterity.app.doctor_database import check_database
from auterity.app.doctor_providers import check_providers
from auterity.app.home import Home
from auterity.app.node import DEFAULT_TENANT, database_address, open_node
from auterity.app.settings import Settings
from auterity.kit.errors import AuterityError

__all__ = ["commands"]

commands = typer.Typer()

_SETTINGS = ("home", "config", "database_url", "redis_url", "host", "port", "workers", "spool_max_bytes")
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def _doctor(settings: Settings, *, tenant: InTenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """Check everything, and say how to mend what is broken.

    Looks at the home folder, disk, limits, port, database, clock, Redis, collector and providers. Changes nothing. Ends
    with code 1 if something fails.
    """
    findings = asyncio.run(_examine(settings, tenant))
    if as_json:
        print_json(findings)
    else:
        print_table(
            ("check", "state", "finding", "remedy"),
            [(each.check, each.state.value, each.detail, each.remedy) for each in findings],
            empty="",
            colours=_COLOURS,
        )
    if any(each.state is State.FAIL for each in findings):
        raise typer.Exit(1)


async def _examine(settings: Settings, tenant: str) -> list[Finding]:
    findings = await run_checks(check_node(settings))
    if settings.database_url is None and not Home(settings.home).exists:
        return findings
    try:
        async with database_address(settings) as url:
            of_database = await run_checks(check_database(settings, url))
            findings += of_database
            if any(each.state is State.FAIL for each in of_database):
                return findings
            async with open_node(settings, tenant) as node:
                return findings + await run_checks(check_providers(node))
    except AuterityError as error:
        return [*findings, Finding("database", State.FAIL, error.message, "Do as the message says.")]


command(commands, "doctor", _SETTINGS)(_doctor)

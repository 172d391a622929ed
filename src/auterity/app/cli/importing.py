"""``auterity import``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from auterity.app.cli.flags import command
from auterity.app.cli.operator import InTenant, on_node
from auterity.app.cli.output import AsJson, print_json
from auterity.app.importing.apply import ImportOutcome, apply_plan
from auterity.app.importing.litellm import plan_litellm
from auterity.app.importing.report import Finding
from auterity.app.node import DEFAULT_TENANT, Node
from auterity.app.settings import Settings
from auterity.kit.errors import InvalidRequest

__all__ = ["commands"]

commands = typer.Typer()


@commands.callback()
def take_over() -> None:
    """Take over another gateway's configuration."""


def _litellm(
    settings: Settings,
    *,
    file: Annotated[Path, typer.Argument(help="LiteLLM's configuration.", metavar="CONFIG.yaml")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    tenant: InTenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Take over the models, providers and prices of a LiteLLM proxy; a second time changes nothing.

    Keys that the file takes from variables (os.environ/NAME) are read from this shell's. What could not be carried over
    is reported with its line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise InvalidRequest(f"{file} cannot be read ({why}).") from error
    plan = plan_litellm(text, os.environ)

    async def run(node: Node) -> ImportOutcome:
        models = node.services.models
        return await apply_plan(
            plan,
            node.services.database,
            node.actor,
            providers=models.providers,
            catalogue=models.catalogue,
            terms=models.terms,
            dry_run=dry_run,
        )

    outcome = on_node(settings, tenant, run)
    if as_json:
        print_json({"dry_run": dry_run, "outcome": outcome, "lost": plan.report.lost, "actions": plan.report.actions})
    else:
        _tell(outcome, dry_run, f"{file}")
        _remarks("Not carried over", plan.report.lost)
        _remarks("For you to do", plan.report.actions)
    if outcome.refused:
        raise typer.Exit(1)


def _tell(outcome: ImportOutcome, dry_run: bool, file: str) -> None:
    typer.echo(f"{file}: {'nothing was changed; this is what would be done' if dry_run else 'imported'}")
    for title, sentences in (
        ("Created", outcome.created),
        ("Changed", outcome.changed),
        ("As it was", outcome.unchanged),
        ("Refused", outcome.refused),
    ):
        if sentences:
            typer.echo(f"\n{title} ({len(sentences)})")
            for sentence in sentences:
                typer.echo(f"  {sentence}")


def _remarks(title: str, findings: list[Finding]) -> None:
    if findings:
        typer.echo(f"\n{title} ({len(findings)})")
        for finding in findings:
            typer.echo(f"  line {finding.line}, {finding.path}: {finding.message}")


command(commands, "litellm")(_litellm)

"""`aybiza doctor`: what is missing or wrong on this machine, and what to type."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from infra.apps.terminal import print_json, results
from infra.local.checks import Finding, look
from infra.settings import load_settings

_SIGNS = {"well": "[green]✓[/]", "doubtful": "[yellow]?[/]", "wrong": "[red]✗[/]"}


async def doctor(*, json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Look at this machine. The exit code is 1 when something is wrong that stops the product."""
    findings = await look(load_settings())
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        table.add_row(_SIGNS[finding.state], finding.about, finding.words)
    results.print(table)
    for finding in findings:
        if finding.state != "well" and finding.remedy is not None:
            results.print(f"{finding.about}: {finding.remedy}", style="yellow", markup=False, soft_wrap=True)

"""`aybiza doctor`: what is missing or wrong on this machine and with the log's brokers, and what to type."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from commands.ports import LogAway
from infra.adapters.kafka.topics import examine_topics, manifests
from infra.apps.brokers import security_of
from infra.apps.live_checks import examine_live
from infra.apps.standing import addresses_of
from infra.apps.terminal import VerbFailed, print_json, results
from infra.local.checks import Finding, look
from infra.settings import Settings, load_settings

_SIGNS = {"well": "[green]✓[/]", "doubtful": "[yellow]?[/]", "wrong": "[red]✗[/]"}


async def doctor(
    *,
    live: Annotated[bool, typer.Option("--live", help="Ask the real accounts too: keys, webhook address, certificate, models.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at this machine and at the log. The exit code is 1 when something is wrong that stops the product."""
    settings = load_settings()
    findings = [*await look(settings), *await the_log(settings), *(await examine_live(settings) if live else ())]
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


async def the_log(settings: Settings) -> list[Finding]:
    """The topics and brokers, as every start examines them; those that could lose or bend history are wrong."""
    try:
        bootstrap_servers = settings.kafka_bootstrap_servers or (await addresses_of(settings, "kafka")).kafka
        troubles = await examine_topics(
            bootstrap_servers, manifests(), settings.surroundings, writers=settings.log_writers.split(","), security=security_of(settings)
        )
    except (LogAway, VerbFailed) as error:
        return [Finding(about="log", state="doubtful", words=f"it was not examined: {error}", remedy="aybiza up")]
    found = [
        Finding(about="log", state="wrong" if each.grave else "doubtful", words=f"{each.about} {each.words}", remedy=each.remedy)
        for each in troubles
    ]
    return found or [Finding(about="log", state="well", words=f"{len(manifests())} topics at {bootstrap_servers} keep what they are given")]


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        table.add_row(_SIGNS[finding.state], finding.about, finding.words)
    results.print(table)
    for finding in findings:
        if finding.state != "well" and finding.remedy is not None:
            results.print(f"{finding.about}: {finding.remedy}", style="yellow", markup=False, soft_wrap=True)

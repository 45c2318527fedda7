"""`aybiza doctor`: what is missing or wrong on this machine, with the log's brokers and in the database, and what to type."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from commands.ports import LogAway
from infra.adapters.kafka.topics import examine_topics, manifests
from infra.adapters.postgres import hypertables
from infra.adapters.postgres.builds import live_builds
from infra.adapters.postgres.connections import PostgresUnreachable, connected
from infra.adapters.postgres.over_time import is_native
from infra.apps.brokers import security_of
from infra.apps.live_checks import examine_live
from infra.apps.standing import addresses_of
from infra.apps.terminal import VerbFailed, print_json, results
from infra.local.checks import Finding, look
from infra.settings import Settings, load_settings
from projections.ports import StoreUnavailable
from projections.registry import SERIES
from projections.series import Series

_SIGNS = {"well": "[green]✓[/]", "doubtful": "[yellow]?[/]", "wrong": "[red]✗[/]"}


async def doctor(
    *,
    live: Annotated[bool, typer.Option("--live", help="Ask the real accounts too: keys, webhook address, certificate, models.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at this machine, at the log and at the database. The exit code is 1 when something is wrong that stops the product."""
    settings = load_settings()
    findings = [
        *await look(settings),
        *await the_log(settings),
        await the_series(settings),
        *(await examine_live(settings) if live else ()),
    ]
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


async def the_series(settings: Settings) -> Finding:
    """How what is looked at by time is kept, and whether it could be kept better: what was made stays as it was made."""
    try:
        given = settings.database_url
        dsn = given.get_secret_value() if given else (await addresses_of(settings, "postgres")).postgres
        async with connected(dsn, purpose="doctor", most=1) as pool:
            live = await live_builds(pool, [each for each in SERIES if each.over_time is not None])
            async with pool.acquire() as connection:
                if await hypertables.lost(connection):
                    return Finding(about="series", state="wrong", words=hypertables.LOST)
                version = await hypertables.offered(connection)
                ours = [each.name for each in live if isinstance(each, Series) and await is_native(connection, each)]
    except (VerbFailed, PostgresUnreachable, StoreUnavailable) as error:
        return Finding(about="series", state="doubtful", words=f"they were not examined: {error}", remedy="aybiza up")
    if version is None:
        words = "in ranges of days and counts of our own: this database has no TimescaleDB that we can use"
        return Finding(about="series", state="well", words=words)
    if not ours:
        return Finding(about="series", state="well", words=f"in hypertables with continuous aggregates, by TimescaleDB {version}")
    words = f"{', '.join(ours)} in ranges of our own: TimescaleDB {version} was not there, or not allowed, when they were made"
    return Finding(
        about="series", state="doubtful", words=words, remedy=f"aybiza rebuild {ours[0]} --beside --switch --because TimescaleDB"
    )


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        table.add_row(_SIGNS[finding.state], finding.about, finding.words)
    results.print(table)
    for finding in findings:
        if finding.state != "well" and finding.remedy is not None:
            results.print(f"{finding.about}: {finding.remedy}", style="yellow", markup=False, soft_wrap=True)

"""`aybiza journal`: the parts of the journal, how large each is, and packing those that are cold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from infra.adapters.postgres.builds import live_builds
from infra.adapters.postgres.connections import Pool, PostgresUnreachable, connected
from infra.adapters.postgres.packing import CannotPack, Part, pack, parts
from infra.apps.cli import asynchronous
from infra.apps.standing import addresses_of
from infra.apps.terminal import VerbFailed, print_json, results, watched
from infra.settings import load_settings
from projections.journal import JOURNAL, Journal
from projections.ports import StoreUnavailable

_HELP = """The journal: every record of the log, in parts. What is cold is packed by the projections, or here by hand.

No part is ever dropped: all that is asked of the past would otherwise be read from the log, a whole partition for each question. To have
the journal smaller, pack it; to have it anew from the log, type: aybiza rebuild journal
"""
journal = typer.Typer(help=_HELP, no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@journal.command("parts")
@asynchronous
async def list_parts(*, json: Json = False) -> None:
    """What parts there are, from which offset to which, and what each takes."""
    async with _journal() as (pool, live):
        found = await parts(pool, live)
    if json:
        print_json([asdict(each) for each in found])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "from", "before", "MB", "state"):
        table.add_column(heading, justify="right" if heading in ("from", "before", "MB") else "left", overflow="fold")
    for each in found:
        table.add_row(each.name, str(each.first), str(each.end), f"{each.bytes / 1e6:.1f}", _state(each))
    results.print(table)
    if any(each.cold and not each.packed for each in found):
        results.print("Those that are cold take a sixth when they are packed, which the projections do by themselves (AYBIZA_PACK_JOURNAL")
        results.print("says whether, AYBIZA_PACK_JOURNAL_AFTER_HOURS when). At once: aybiza journal pack")


@journal.command("pack")
@asynchronous
async def pack_parts(
    names: Annotated[list[str] | None, typer.Argument(help="Parts, as `parts` names them; all that are cold when none is named.")] = None,
    *,
    json: Json = False,
) -> None:
    """Pack cold parts, the oldest first. What reads the journal reads on; broken off, what is packed stays so."""
    async with _journal() as (pool, live):
        there = await parts(pool, live)
        wanted = names or [each.name for each in there if each.cold and not each.packed]
        before = {each.name: each.bytes for each in there}
        with watched() as progress:
            records = {name: await pack(pool, live, name, progress) for name in wanted}
        after = {each.name: each.bytes for each in await parts(pool, live)}
    if json:
        print_json([{"part": name, "records": records[name], "bytes_before": before[name], "bytes": after[name]} for name in wanted])
        return
    for name in wanted:
        results.print(f"{name}: {records[name]} records, {before[name] / 1e6:.1f} MB before, {after[name] / 1e6:.1f} MB now")
    if not wanted:
        results.print("No part is cold.")


def _state(part: Part) -> str:
    if part.packing is not None:
        return f"being packed, {part.packing} records so far"
    return "packed" if part.packed else "cold" if part.cold else "live"


@asynccontextmanager
async def _journal() -> AsyncIterator[tuple[Pool, Journal]]:
    """The database, and the build of the journal that readers see."""
    addresses = await addresses_of(load_settings(), "postgres")
    try:
        async with connected(addresses.postgres, purpose="command line", durable=False, most=2) as pool:
            yield pool, next(each for each in await live_builds(pool, [JOURNAL]) if isinstance(each, Journal))
    except (PostgresUnreachable, StoreUnavailable, CannotPack) as error:
        raise VerbFailed(str(error)) from error

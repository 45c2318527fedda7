"""`aybiza parked`: facts that a projection could not take, with all that waits behind them, and an operator's ways to deal with them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from infra.adapters.postgres.connections import Pool, PostgresUnreachable, connected, raising
from infra.adapters.postgres.healing import parked_facts, parked_streams
from infra.apps.cli import asynchronous
from infra.apps.standing import addresses_of, ask_api
from infra.apps.terminal import VerbFailed, print_json, results
from infra.settings import load_settings
from projections.ports import base_of

parked = typer.Typer(help="Facts that a projection could not take.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Projection = Annotated[str, typer.Argument(help="A version of a projection, such as calls.v1.")]
Stream = Annotated[str, typer.Argument(help="As `aybiza parked list` shows it.")]
Because = Annotated[str, typer.Option("--because", help="Why; it stays on the log.")]
_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 30.0


@parked.command("list")
@asynchronous
async def list_parked(*, json: Json = False) -> None:
    """Streams of which a projection could not take a fact."""
    async with _read_side() as pool:
        found = [dict(each) for each in await parked_streams(pool)]
    if json:
        print_json(found)
        return
    if not found:
        results.print("Nothing is parked.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("projection", "stream", "facts", "first", "reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("facts", "first") else "left")
    for each in found:
        table.add_row(each["projection"], each["stream"], str(each["facts"]), str(each["first"]), Text(each["reason"]))
    results.print(table)
    results.print("One of them fact by fact: aybiza parked show PROJECTION STREAM")


@parked.command("show")
@asynchronous
async def show(projection: Projection, stream: Stream, *, json: Json = False) -> None:
    """What is parked of one stream, fact by fact, in the order in which it would be folded."""
    facts = await _facts(projection, stream)
    if json:
        print_json(facts)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("topic", "partition", "offset", "version", "kind", "reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("partition", "offset", "version") else "left")
    for each in facts:
        reason = "waits behind" if each["behind"] else each["reason"]
        place = (each["topic"], str(each["partition"]), str(each["offset"]))
        table.add_row(*place, str(each["version"]), each["ce_type"], Text(reason))
    results.print(table)
    results.print("Once what was in the way is mended: aybiza parked redrive PROJECTION STREAM --because …")


@parked.command("redrive")
@asynchronous
async def redrive(projection: Projection, stream: Stream, because: Because, *, json: Json = False) -> None:
    """Have what is parked of a stream folded again, in its order, by the projections that run."""
    await _facts(projection, stream)
    await _order("redrives", {"projection": base_of(projection), "stream": stream, "because": because}, projection, json=json)


@parked.command("discard")
@asynchronous
async def discard(
    projection: Projection,
    stream: Stream,
    offset: Annotated[int, typer.Argument(help="Of the fact that is to be left out, as `show` says.")],
    because: Because,
    *,
    json: Json = False,
) -> None:
    """Leave one parked fact out of one projection for ever. It stays on the log; what waits behind it is folded."""
    fact = next((each for each in await _facts(projection, stream) if each["offset"] == offset), None)
    if fact is None:
        raise VerbFailed(f"Nothing of {stream} is parked at offset {offset}. Type: aybiza parked show {projection} {stream}")
    place = {name: fact[name] for name in ("topic", "partition", "offset")}
    await _order("discards", {"projection": base_of(projection), "stream": stream, "because": because, **place}, projection, json=json)


async def _order(kind: str, order: Mapping[str, Any], build: str, *, json: bool) -> None:
    """Orders are for a version; `build` is the one whose facts are looked at."""
    answer = await asyncio.to_thread(ask_api, "POST", f"/v1/upkeep/{kind}", None, order)
    if answer.status != 202:
        raise VerbFailed(answer.document.get("detail") or f"The API answers {answer.status}.")
    left = await _carried_out(build, order["stream"])
    if json:
        print_json({**answer.document, "still_parked": left})
    elif left is None:
        raise VerbFailed("The order is on the log; the projections have not carried it out yet. Do they run? Type: aybiza status")
    elif left:
        raise VerbFailed(f"{left[0]['reason']}: {len(left)} facts are parked again.")
    else:
        results.print("Nothing of it is parked any more.")


async def _carried_out(projection: str, stream: str) -> list[dict[str, Any]] | None:
    """What is still parked once somebody has tried; None when nobody did in time."""
    async with _read_side() as pool:
        tried = {each["tried_by"] for each in await parked_facts(pool, projection, stream)}
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while True:
                    left = [dict(each) for each in await parked_facts(pool, projection, stream)]
                    if not left or not tried & {each["tried_by"] for each in left}:
                        return left
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            return None


async def _facts(projection: str, stream: str) -> list[dict[str, Any]]:
    async with _read_side() as pool:
        facts = [dict(each) for each in await parked_facts(pool, projection, stream)]
    if not facts:
        raise VerbFailed(f"Nothing of {stream} is parked for {projection}. Type: aybiza parked list")
    return facts


@asynccontextmanager
async def _read_side() -> AsyncIterator[Pool]:
    addresses = await addresses_of(load_settings(), "postgres")
    try:
        async with connected(addresses.postgres, purpose="command line", most=1) as pool:
            with raising(PostgresUnreachable):
                yield pool
    except PostgresUnreachable as error:
        raise VerbFailed(str(error)) from error

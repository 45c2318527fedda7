"""`aybiza events`: the log itself, fact by fact, read as any program reads it."""

import heapq
from collections.abc import AsyncIterator
from contextlib import aclosing
from json import dumps
from typing import Annotated

import typer
from rich.text import Text

from events.headers import Kind
from events.records import RawRecord, recorded
from events.registry import type_of
from events.rooms import ROOMS
from events.streams import topic_of
from infra.adapters.fact_files import entry_of
from infra.apps.cli import asynchronous
from infra.apps.export import export
from infra.apps.fetching import fetch
from infra.apps.standing import LogSide, log_side
from infra.apps.story import in_clear, plain
from infra.apps.terminal import VerbFailed, results

events = typer.Typer(help="Read the log.", no_args_is_help=True)
events.command("export")(export)
events.command("fetch")(fetch)
Json = Annotated[bool, typer.Option("--json", help="For programs: one object a line.")]
Room = Annotated[list[str] | None, typer.Option(help=f"Only of this room: {', '.join(ROOMS)}. May be repeated.")]


class Latest:
    """The last so many records by the time of appending, whatever partitions they come from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, str, int, int, RawRecord]] = []

    def add(self, raw: RawRecord) -> None:
        entry = (raw.timestamp_ms, raw.topic, raw.partition, raw.offset, raw)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif self._heap:
            heapq.heappushpop(self._heap, entry)

    def taken(self) -> list[RawRecord]:
        """All of them in order; none are left."""
        found, self._heap = sorted(self._heap), []
        return [raw for *_, raw in found]


@events.command("tail")
@asynchronous
async def tail(
    room: Room = None,
    last: Annotated[int, typer.Option("-n", min=0, help="How many of the latest to begin with.")] = 20,
    *,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", "-f", help="Go on with what comes, until Ctrl-C.")] = True,
    json: Json = False,
) -> None:
    """The latest facts of the log, and those that come."""
    topics = _topics(room)
    async with log_side() as side:
        # Read from the beginning: whose records count is known only to who has seen every claim.
        ends = await side.reader.end_offsets(topics)
        behind = {place for place, end in ends.items() if end}
        latest = Latest(last)
        async with aclosing(side.reader.batches(topics, {}, stop_at_end=not follow)) as batches:
            async for batch in batches:
                place = (batch.topic, batch.partition)
                for raw in filter(_is_fact, batch.records):
                    if behind or raw.offset < ends[place]:
                        latest.add(raw)
                    else:
                        _tell(side, raw, json=json)
                if batch.next_offset >= ends[place]:
                    behind.discard(place)
                if not behind:
                    for raw in latest.taken():
                        _tell(side, raw, json=json)
        for raw in latest.taken():
            _tell(side, raw, json=json)


@events.command("show")
@asynchronous
async def show(
    name: Annotated[str, typer.Argument(help="A stream (tenant/category/id), the id of a call, agent or organisation, or an event's id.")],
    *,
    json: Json = False,
) -> None:
    """Every fact of one stream, or of all streams with an id, or one fact by its id."""
    told = 0
    async with log_side() as side:
        async for raw in _history(side, _topics(None)):
            if _named(raw, name):
                _tell(side, raw, json=json, whole=True)
                told += 1
    if not told:
        raise VerbFailed(f"The log has nothing of {name}.")


async def _history(side: LogSide, topics: list[str]) -> AsyncIterator[RawRecord]:
    async with aclosing(side.reader.batches(topics, {}, stop_at_end=True)) as batches:
        async for batch in batches:
            for raw in batch.records:
                if _is_fact(raw):
                    yield raw


def _is_fact(raw: RawRecord) -> bool:
    return raw.header is not None and raw.header.kind is Kind.EVENT


def _named(raw: RawRecord, name: str) -> bool:
    key = raw.key.decode("utf-8", "replace")
    if name in (key, key.rpartition("/")[2]):
        return True
    return raw.header is not None and name == f"{raw.header.commit_id.hex()}-{raw.header.index}"


def _topics(rooms: list[str] | None) -> list[str]:
    unknown = sorted(set(rooms or ()) - set(ROOMS))
    if unknown:
        raise VerbFailed(f"There is no room {', '.join(unknown)}. There are: {', '.join(ROOMS)}")
    return [topic_of(room) for room in rooms or ROOMS]


def _tell(side: LogSide, raw: RawRecord, *, json: bool, whole: bool = False) -> None:
    fact = recorded(raw, side.reader.codec)
    data = plain(fact.fact, lambda sealed: in_clear(side.key_ring, sealed))
    if json:
        results.print(dumps(entry_of(fact, data), ensure_ascii=False), markup=False, soft_wrap=True)
        return
    head = f"{fact.appended_at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    place = f"{raw.topic} {raw.partition}/{raw.offset}"
    line = Text.assemble(
        (head, "dim"), f" {fact.stream} v{fact.version} ", (type_of(fact.fact).ce_type, "bold"), f" by {fact.actor} ", (place, "dim")
    )
    results.print(line, soft_wrap=True)
    if whole:
        for name, value in data.items():
            results.print(Text(f"    {name} = {value}"), soft_wrap=True)

"""`aybiza rebuild`: take projections down, build them anew from the log, and compare every byte."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from redis.asyncio import Redis
from rich.table import Table as Shown

from commands.ports import HistoryLost, LogAway
from events.rooms import ROOMS, prepared_codec
from events.streams import topic_of
from infra.adapters.kafka.link import KafkaUnreachable
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres.builds import live_builds
from infra.adapters.postgres.connections import Pool, PostgresUnreachable, connected
from infra.adapters.postgres.rebuilding import Album, Picture, drop, picture, rebuilding
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.redis import RedisStore, RedisUnreachable
from infra.adapters.redis import connected as redis_connected
from infra.apps.allocating import allocate_for_groups
from infra.apps.beside import topics_of
from infra.apps.brokers import security_of
from infra.apps.builds import rebuild_beside
from infra.apps.standing import addresses_of
from infra.apps.terminal import VerbFailed, print_json, results, watched
from infra.local.services import Progress
from infra.settings import load_settings
from projections.live import Live
from projections.ports import Projection, StoreUnavailable, Superseded, TopicOf, named
from projections.registry import LIVE, STORED
from projections.runner import Runner

_SHOW_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """One projection before and after, at the same place of the log. `before` is None where there was nothing to compare."""

    name: str
    rows: int
    before: str | None
    after: str

    @property
    def same(self) -> bool:
        return self.before is None or self.before == self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What came of it. `records` were read from the log."""

    projections: tuple[Rebuilt, ...]
    records: int
    seconds: float

    @property
    def same(self) -> bool:
        """Whether every projection is as it was, byte for byte."""
        return all(each.same for each in self.projections)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadStores:
    """Where the projections are kept. `prefix` begins the names of Redis keys."""

    pool: Pool
    redis: "Redis"
    prefix: str = "aybiza:"


def _unheard(_part: str, _words: str) -> None:
    """Progress that nobody watches."""


async def rebuild_and_compare(
    reader: KafkaLogReader,
    stores: ReadStores,
    projections: Collection[Projection] = STORED,
    lives: Sequence[Live[Any]] = LIVE,
    *,
    topic_of: TopicOf = topic_of,
    progress: Progress = _unheard,
) -> RebuildReport:
    """Delete projections and live rows and fold the whole log again, up to where they were.

    A runner in another process, or in this one, waits meanwhile and then goes on. Raises StoreUnavailable and what the reader raises.
    """
    begun = time.monotonic()
    projections = await live_builds(stores.pool, projections)
    async with rebuilding(stores.pool) as connection:
        progress("before", "looking at every row")
        before = await picture(connection, projections)
        progress("before", f"{sum(each.rows for each in before.pictures.values())} rows")
        await drop(connection, projections)
        runner = Runner(
            reader, PostgresStore(stores.pool, rebuilding=True), projections, topic_of=topic_of, journal_rooms=ROOMS
        )  # fmt: skip
        async with _shown(runner, before, progress):
            await runner.run(stop_at_end=True, stop_at=before.checkpoints)
        progress("after", "looking at every row")
        after = await picture(connection, projections)
        progress("after", f"{sum(each.rows for each in after.pictures.values())} rows")
    await _fold_live_again(reader, stores, lives, topic_of)
    # What a topic was before it grew is no measure: positions are others now.
    outgrown = {
        named(each)
        for each in projections
        if {place.topic for (name, place), seen in before.checkpoints.items() if name == named(each) and seen.next_offset}
        - topics_of(each, topic_of)
    }
    records = sum({place: checkpoint.next_offset for (_, place), checkpoint in after.checkpoints.items()}.values())
    rebuilt = tuple(
        _compared(named(each), None if named(each) in outgrown else before.pictures.get(named(each)), after.pictures[named(each)])
        for each in projections
    )
    return RebuildReport(projections=rebuilt, records=records, seconds=time.monotonic() - begun)


def _compared(name: str, before: Picture | None, after: Picture) -> Rebuilt:
    return Rebuilt(name=name, rows=after.rows, before=None if before is None else before.sha256, after=after.sha256)


async def _fold_live_again(reader: KafkaLogReader, stores: ReadStores, lives: Sequence[Live[Any]], topic_of: TopicOf) -> None:
    if not lives:
        return
    store = RedisStore(stores.redis, lives, prefix=stores.prefix)
    await store.drop()
    try:
        await Runner(reader, store, [live.table for live in lives], topic_of=topic_of).run(stop_at_end=True)
    except Superseded:
        # Their own runner found Redis empty and is quicker.
        return


@asynccontextmanager
async def _shown(runner: Runner, before: Album, progress: Progress) -> AsyncIterator[None]:
    goal = sum(checkpoint.next_offset for checkpoint in before.checkpoints.values())

    async def show() -> None:
        while True:
            done = sum(checkpoint.next_offset for checkpoint in runner.checkpoints.values())
            progress("rebuild", f"{100 * done // goal} %" if goal else f"{done} records")
            await asyncio.sleep(_SHOW_SECONDS)

    showing = asyncio.create_task(show(), name="rebuild: show progress")
    try:
        yield
        progress("rebuild", "done")
    finally:
        showing.cancel()
        await asyncio.wait([showing])


def _chosen(names: Sequence[str]) -> tuple[tuple[Projection, ...], tuple[Live[Any], ...]]:
    known = {each.name for each in (*STORED, *LIVE)}
    unknown = sorted(set(names) - known)
    if unknown:
        raise VerbFailed(f"There is no projection {', '.join(unknown)}. There are: {', '.join(sorted(known))}")
    if not names:
        return STORED, LIVE
    return tuple(each for each in STORED if each.name in names), tuple(each for each in LIVE if each.name in names)


async def rebuild(
    names: Annotated[list[str] | None, typer.Argument(help="Which projections; all of them when none is named.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All of them, which is also what happens when none is named.")] = False,
    beside: Annotated[bool, typer.Option("--beside", help="Build one beside what readers see, and delete nothing.")] = False,
    switch: Annotated[bool, typer.Option("--switch", help="With --beside: let readers see it when it is built.")] = False,
    because: Annotated[str, typer.Option("--because", help="With --beside: why; it stays on the log.")] = "a rebuild",
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Delete projections, build them anew from the log, and show that every byte is the same; or build one --beside."""
    allocate_for_groups()
    if beside:
        if not names or len(names) > 1:
            raise VerbFailed("Name the one projection that is to be built beside.")
        await rebuild_beside(names[0], because, then_switch=switch)
        return
    if everything and names:
        raise VerbFailed("Name projections, or say --all, not both.")
    stored, lives = _chosen(names or ())
    settings = load_settings()
    addresses = await addresses_of(settings)
    try:
        async with AsyncExitStack() as stack:
            security = security_of(settings)
            kafka = await stack.enter_async_context(KafkaLog(addresses.kafka, security=security))
            reader = KafkaLogReader(addresses.kafka, SchemaTopic(kafka, prepared_codec()), security=security)
            pool = await stack.enter_async_context(connected(addresses.postgres, purpose="rebuild", durable=False))
            redis = await stack.enter_async_context(redis_connected(addresses.redis))
            with watched() as progress:
                report = await rebuild_and_compare(reader, ReadStores(pool=pool, redis=redis), stored, lives, progress=progress)
    except (KafkaUnreachable, LogAway, HistoryLost, PostgresUnreachable, RedisUnreachable, StoreUnavailable) as error:
        raise VerbFailed(str(error)) from error
    _show(report, json=json)
    if not report.same:
        raise VerbFailed("Some projections are not what they were: a fold is no function of the log, or somebody wrote to its rows.")


def _show(report: RebuildReport, *, json: bool) -> None:
    if json:
        entries: list[Mapping[str, object]] = [
            {"name": each.name, "rows": each.rows, "before": each.before, "after": each.after, "same": each.same}
            for each in report.projections
        ]
        print_json({"projections": entries, "records": report.records, "seconds": round(report.seconds, 3), "same": report.same})
        return
    results.print(shown(report))


def shown(report: RebuildReport) -> Shown:
    """The report as a table for people."""
    table = Shown(title=f"Rebuilt from {report.records} records in {report.seconds:.1f} s")
    for heading in ("projection", "rows", "SHA-256 before", "SHA-256 after", ""):
        table.add_column(heading, justify="right" if heading == "rows" else "left")
    for each in report.projections:
        verdict = "[green]the same[/]" if each.before == each.after else "new" if each.before is None else "[red]DIFFERENT[/]"
        table.add_row(each.name, str(each.rows), _short(each.before), _short(each.after), verdict)
    return table


def _short(digest: str | None) -> str:
    return "-" if digest is None else f"{digest[:16]}…"

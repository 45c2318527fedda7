"""The read side of a process, wired: projections into PostgreSQL and Redis, the directory in memory, the process managers.

Each part can run alone. With `shared` the processes that run a part share its partitions; without it a process does all of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import structlog

from commands.dispatch import Dispatch
from commands.ports import Place
from commands.rates import RateTable
from commands.routing.ports import Assignments
from events.rooms import ROOMS
from events.streams import topic_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.postgres.builds import show_all
from infra.adapters.postgres.connections import as_it_is, connected, identity_of
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.progress import Progress, following
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.postgres.walls import behind_the_wall
from infra.adapters.redis import RedisLiveRows, RedisStore
from infra.adapters.redis import connected as redis_connected
from infra.adapters.redis_vectors import RedisVectors
from infra.apps.alongside import alongside
from infra.apps.beside import Folded, folded, succeed
from infra.apps.cold_parts import keep_packed
from infra.apps.counting import keep_counted
from infra.apps.rebuild import ReadStores
from infra.apps.sharing import PartOfTheLog, keep, share
from projections.directory import ANSWERING, WITH_ACCESS, Directory, follow
from projections.feed import Feed
from projections.ports import LogReader, Projection, Store, StoreUnavailable, TopicOf, named
from projections.registry import LIVE, STORED
from projections.runner import Runner
from projections.table import Table
from stream_processors.registry import managers
from stream_processors.running import Processors

log = structlog.get_logger()

Shared: TypeAlias = Callable[[str, Collection[str]], Assignments]
"""Makes the membership of this process among those that do some work, by the work's name and the topics to share."""
_CONNECTIONS = 8
_LOOK_SECONDS = 0.5
_CATCH_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadModels:
    """What people on this machine ask, and what the API asks for others: that is guarded, each request sees its organisation's only."""

    rows: PostgresRows
    journal: PostgresJournal
    live: RedisLiveRows
    stores: ReadStores
    progress: Progress
    guarded_rows: PostgresRows
    guarded_journal: PostgresJournal


@asynccontextmanager
async def opened_stores(*, postgres: str, redis: str, prefix: str = "aybiza:") -> AsyncIterator[ReadStores]:
    """What a runner needs, who asks nothing and waits for nobody's writes. Raises PostgresUnreachable or RedisUnreachable."""
    async with AsyncExitStack() as stack:
        # What is written is a fold of the log: a crash of the database may take the last moments, they are folded again.
        pool = await stack.enter_async_context(connected(postgres, purpose="read side", most=_CONNECTIONS, durable=False, tidy=as_it_is))
        client = await stack.enter_async_context(redis_connected(redis))
        yield ReadStores(pool=pool, redis=client, prefix=prefix)


@asynccontextmanager
async def opened_read_models(reader: KafkaLogReader, *, postgres: str, redis: str, prefix: str = "aybiza:") -> AsyncIterator[ReadModels]:
    """Raises PostgresUnreachable or RedisUnreachable."""
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(opened_stores(postgres=postgres, redis=redis, prefix=prefix))
        pool, client = stores.pool, stores.redis
        progress = await stack.enter_async_context(following(pool, STORED))
        wall = await stack.enter_async_context(behind_the_wall(postgres, most=_CONNECTIONS))
        yield ReadModels(
            rows=PostgresRows(pool, STORED, progress),
            journal=PostgresJournal(pool, reader.codec),
            live=RedisLiveRows(client, prefix=prefix),
            stores=stores,
            progress=progress,
            guarded_rows=PostgresRows(pool, STORED, progress, wall),
            guarded_journal=PostgresJournal(wall, reader.codec),
        )


class Projecting:
    """The runners of the projections, over the partitions that this process is given (`places`, where it shares them)."""

    def __init__(self, reader: LogReader, stores: ReadStores, topic_of: TopicOf, packed_after: timedelta | None = None) -> None:
        self._packed_after = packed_after
        self._reader = reader
        self._stores = stores
        self._topic_of = topic_of
        self._runners: dict[str, Runner] = {}
        self._ours: frozenset[str] = frozenset()
        self.places: frozenset[Place] = frozenset()
        self.topics: Sequence[str] = sorted({*self._stored(reader).topics, *self._live(reader).topics})

    def waits_for(self) -> Mapping[str, str]:
        """Part by part what it waits for; empty text where it is well, no part while all partitions are others'."""
        return {name: runner.waits_for for name, runner in self._runners.items()}

    async def run(self, places: Collection[Place] | None = None) -> None:
        """Until cancelled. `places`: those to read, instead of all."""
        reader = self._reader if places is None else PartOfTheLog(self._reader, places)
        self.places = frozenset(places or ())
        self._runners.clear()
        if places is not None and not places:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep(partial(self._run_stored, reader)), name="read side: projections")
            tasks.create_task(keep(partial(self._run_live, reader)), name="read side: live")
            tasks.create_task(self._run_beside(reader), name="read side: beside")
            tasks.create_task(keep_counted(self._stores.pool), name="read side: counts")
            if self._packed_after is not None:
                tasks.create_task(keep_packed(self._stores.pool, self._packed_after), name="read side: cold parts")

    async def _run_stored(self, reader: LogReader) -> None:
        runner = self._runners["projections"] = self._stored(reader)
        await self._succeed(reader)
        found = await self._folded(runner)
        while not found.live:
            runner.waits_for = "; ".join(f"{name}: {reason}" for name, reason in found.left)
            await asyncio.sleep(_LOOK_SECONDS)
            found = await self._folded(runner)
        for name, reason in found.left:
            log.error("projection-not-folded", projection=name, reason=reason, mends="aybiza rebuild NAME --beside")
        self._ours = frozenset(map(named, found.live))
        runner = self._runners["projections"] = self._runner(reader, PostgresStore(self._stores.pool), found.live)
        await runner.run()

    async def _succeed(self, reader: LogReader) -> None:
        try:
            seen = await succeed(reader, self._stores.pool, self._topic_of)
        except StoreUnavailable:
            # What readers see stays as it is; the next start tries again.
            return
        if seen:
            log.info("projections-succeeded", builds=seen)

    async def _folded(self, runner: Runner) -> Folded:
        """Waits while the store is away."""
        while True:
            try:
                # Also what this program reads in other columns than there were before.
                await show_all(self._stores.pool, STORED)
                return await folded(self._stores.pool, self._topic_of)
            except StoreUnavailable as cause:
                runner.waits_for = str(cause)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _run_beside(self, reader: LogReader) -> None:
        """Fold what is kept warm, by a read of its own, so that what readers see never waits for it."""
        under_way: asyncio.Task[None] | None = None
        names: frozenset[str] = frozenset()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                try:
                    found = await folded(self._stores.pool, self._topic_of)
                except StoreUnavailable:
                    continue
                wanted = [each for each in (*found.live, *found.warm) if self._ours and named(each) not in self._ours]
                if names == frozenset(map(named, wanted)):
                    continue
                names = frozenset(map(named, wanted))
                if under_way is not None:
                    under_way.cancel()
                    await asyncio.wait([under_way])
                log.info("projections-beside", builds=sorted(names))
                self._runners.pop("beside", None)
                under_way = tasks.create_task(keep(partial(self._run_warm, reader, wanted)), name="beside") if wanted else None

    async def _run_warm(self, reader: LogReader, projections: Sequence[Projection]) -> None:
        runner = self._runners["beside"] = self._runner(reader, PostgresStore(self._stores.pool), projections)
        await runner.run()

    async def _run_live(self, reader: LogReader) -> None:
        runner = self._runners["live"] = self._live(reader)
        await runner.run()

    def _stored(self, reader: LogReader) -> Runner:
        return self._runner(reader, PostgresStore(self._stores.pool), STORED)

    def _live(self, reader: LogReader) -> Runner:
        return self._runner(reader, RedisStore(self._stores.redis, LIVE, prefix=self._stores.prefix), [live.table for live in LIVE])

    def _runner(self, reader: LogReader, store: Store, projections: Sequence[Projection]) -> Runner:
        return Runner(reader, store, projections, topic_of=self._topic_of, journal_rooms=ROOMS)


@asynccontextmanager
async def running_projections(
    reader: LogReader,
    stores: ReadStores,
    *,
    topic_of: TopicOf = topic_of,
    shared: Shared | None = None,
    packed_after: timedelta | None = None,
) -> AsyncIterator[Projecting]:
    """Raises PostgresUnreachable. A bug of a part ends the whole. `packed_after`: how old the journal's parts are packed; None: never."""
    projecting = Projecting(reader, stores, topic_of, packed_after)
    members = None if shared is None else shared(f"projections.{await identity_of(stores.pool)}", projecting.topics)
    async with alongside({"read side: projections": partial(share, members, projecting.run)}):
        yield projecting


class Managing:
    """The process managers, which run in one process at a time: in each of them would do no harm, and no good."""

    def __init__(self, processors: Processors) -> None:
        self.processors = processors
        self.ours = False

    def waits_for(self) -> Mapping[str, str]:
        """As `Projecting` says."""
        if not self.ours:
            return {}
        return {"processors": "" if self.processors.caught_up.is_set() else "the end of the log"}

    async def run(self, places: Collection[Place] | None = None) -> None:
        """Until cancelled. `places`: whoever is given a first partition runs them; None: we do."""
        self.ours = places is None or any(place.partition == 0 for place in places)
        if not self.ours:
            await asyncio.Event().wait()
        await keep(self.processors.run)


@asynccontextmanager
async def running_processors(
    reader: LogReader, dispatch: Dispatch, rates: Sequence[RateTable], *, topic_of: TopicOf = topic_of, shared: Shared | None = None
) -> AsyncIterator[Managing]:
    """A bug of a part ends the whole."""
    managing = Managing(Processors(reader, dispatch, managers(rates), lambda: datetime.now(UTC), topic_of=topic_of))
    members = None if shared is None else shared("processors", [topic_of("calls")])
    async with alongside({"read side: processors": partial(share, members, managing.run)}):
        yield managing


@asynccontextmanager
async def running_directory(
    reader: LogReader, *, topic_of: TopicOf = topic_of, followed: tuple[Table[Any], ...] = ANSWERING
) -> AsyncIterator[Directory]:
    """Each process has its own, of what it is asked about. It is ready to be asked once `caught_up` is set."""
    directory = Directory(topic_of=topic_of, followed=followed)
    async with alongside({"read side: directory": lambda: keep(lambda: follow(reader, directory))}):
        yield directory


@asynccontextmanager
async def running_feed(reader: KafkaLogReader, models: ReadModels, *, topic_of: TopicOf = topic_of) -> AsyncIterator[Feed]:
    """What programs listen to. It begins where the tables stand, when the first one listens; close it before the web server stops."""
    vectors = RedisVectors(models.stores.redis, prefix=models.stores.prefix)
    feed = Feed(reader, [topic_of(room) for room in ROOMS], models.rows.progress, vectors)
    async with alongside({"read side: feed": lambda: keep(feed.run)}):
        yield feed


async def caught_up(directory: Directory) -> None:
    """Returns once it can be asked. Raises TimeoutError, an OSError, when the log is too far away for that."""
    async with asyncio.timeout(_CATCH_UP_SECONDS):
        await directory.caught_up.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSide:
    """All of it in one process. `stores` are what a rebuild needs."""

    models: ReadModels
    directory: Directory
    projecting: Projecting
    managing: Managing

    @property
    def rows(self) -> PostgresRows:
        return self.models.rows

    @property
    def journal(self) -> PostgresJournal:
        return self.models.journal

    @property
    def live(self) -> RedisLiveRows:
        return self.models.live

    @property
    def stores(self) -> ReadStores:
        return self.models.stores

    @property
    def processors(self) -> Processors:
        return self.managing.processors


@asynccontextmanager
async def running_read_side(
    reader: KafkaLogReader,
    dispatch: Dispatch,
    *,
    postgres: str,
    redis: str,
    rates: Sequence[RateTable],
    topic_of: TopicOf = topic_of,
    prefix: str = "aybiza:",
) -> AsyncIterator[ReadSide]:
    """All of it runs within, shared with nobody. Raises PostgresUnreachable or RedisUnreachable; a bug of a part ends the whole."""
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(opened_read_models(reader, postgres=postgres, redis=redis, prefix=prefix))
        yield ReadSide(
            models=models,
            projecting=await stack.enter_async_context(running_projections(reader, models.stores, topic_of=topic_of)),
            directory=await stack.enter_async_context(running_directory(reader, topic_of=topic_of, followed=WITH_ACCESS)),
            managing=await stack.enter_async_context(running_processors(reader, dispatch, rates, topic_of=topic_of)),
        )

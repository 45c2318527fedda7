"""The read side of a process, wired: projections into PostgreSQL and Redis, the directory in memory, the process managers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from commands.dispatch import Dispatch
from commands.ports import LogAway
from commands.rates import RateTable
from events.rooms import ROOMS
from events.streams import topic_of
from infra.adapters.kafka.link import KafkaUnreachable
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.progress import following
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.redis import RedisLiveRows, RedisStore
from infra.adapters.redis import connected as redis_connected
from infra.apps.alongside import alongside
from infra.apps.rebuild import ReadStores
from projections.directory import Directory, follow
from projections.ports import Projection, Store, Superseded, TopicOf
from projections.registry import LIVE, STORED
from projections.runner import Runner, apart, was_cancelled
from stream_processors.registry import managers
from stream_processors.running import Processors

log = structlog.get_logger()

_CONNECTIONS = 8
# Who was superseded leaves the field for a while: to a rebuild, or to another process.
_AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
_WELL_SECONDS = 60.0


@dataclass(slots=True)
class Kept:
    """A runner that is started again when it was superseded or the log was away."""

    make: Callable[[], Runner]
    runner: Runner = field(init=False)

    def __post_init__(self) -> None:
        self.runner = self.make()

    async def run(self) -> None:
        await keep(self._run, self._renew)

    async def _run(self) -> None:
        await self.runner.run()

    def _renew(self) -> None:
        self.runner = self.make()


async def keep(run: Callable[[], Coroutine[Any, Any, None]], renew: Callable[[], None]) -> None:
    """Run for ever, again after each time that another took over or the log was away."""
    failures = 0
    while True:
        begun = time.monotonic()
        try:
            await apart(run())
        except* (Superseded, LogAway, KafkaUnreachable) as causes:
            failures = 0 if time.monotonic() - begun > _WELL_SECONDS else failures + 1
            log.warning("read-side-started-again", reason=str(causes.exceptions))
        if was_cancelled():
            raise asyncio.CancelledError
        await asyncio.sleep(_AGAIN_SECONDS[min(max(failures, 1), len(_AGAIN_SECONDS)) - 1])
        renew()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSide:
    """What the other parts of a process ask. `stores` are what a rebuild needs."""

    rows: PostgresRows
    journal: PostgresJournal
    live: RedisLiveRows
    directory: Directory
    processors: Processors
    stores: ReadStores
    kept: Mapping[str, Kept]

    def waits_for(self) -> Mapping[str, str]:
        """Part by part what it waits for; empty text where it is well."""
        standing = {name: kept.runner.waits_for for name, kept in self.kept.items()}
        standing["directory"] = "" if self.directory.caught_up.is_set() else "the end of the log"
        standing["processors"] = "" if self.processors.caught_up.is_set() else "the end of the log"
        return standing


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
    """Everything runs within. Raises PostgresUnreachable or RedisUnreachable at the beginning; a bug of a part ends the whole."""
    async with AsyncExitStack() as stack:
        # What is written is a fold of the log: a crash of the database may take the last moments, they are folded again.
        pool = await stack.enter_async_context(connected(postgres, purpose="read side", most=_CONNECTIONS, durable=False))
        client = await stack.enter_async_context(redis_connected(redis))
        progress = await stack.enter_async_context(following(pool, STORED))

        def runner(store: Store, projections: Sequence[Projection]) -> Callable[[], Runner]:
            return lambda: Runner(reader, store, projections, topic_of=topic_of, journal_rooms=ROOMS)

        kept = {
            "projections": Kept(runner(PostgresStore(pool), STORED)),
            "live": Kept(runner(RedisStore(client, LIVE, prefix=prefix), [live.table for live in LIVE])),
        }
        directory = Directory(topic_of=topic_of)
        processors = Processors(reader, dispatch, managers(rates), lambda: datetime.now(UTC), topic_of=topic_of)
        work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            **{name: each.run for name, each in kept.items()},
            "directory": lambda: keep(lambda: follow(reader, directory), _nothing),
            "processors": lambda: keep(processors.run, _nothing),
        }
        await stack.enter_async_context(alongside({f"read side: {name}": each for name, each in work.items()}))
        yield ReadSide(
            rows=PostgresRows(pool, STORED, progress),
            journal=PostgresJournal(pool, reader.codec),
            live=RedisLiveRows(client, prefix=prefix),
            directory=directory,
            processors=processors,
            stores=ReadStores(pool=pool, redis=client, prefix=prefix),
            kept=kept,
        )


def _nothing() -> None:
    """What goes on where it was needs no renewal."""

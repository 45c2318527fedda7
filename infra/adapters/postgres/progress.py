"""How far the projections are, and waiting until they have seen a write."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import structlog

from events.admission import Fence
from events.positions import Position
from infra.adapters.postgres.connections import AWAY, Connection, Pool, raising
from infra.adapters.postgres.shapes import READ_SIDE
from infra.adapters.postgres.stepping import CHANNEL
from projections.ports import Projection
from projections.queries import RowsUnavailable
from projections.runner import was_cancelled

log = structlog.get_logger()

_REACHED = f"""
SELECT DISTINCT ON (topic, partition) topic, partition, next_offset, term, claim_id FROM {READ_SIDE}.checkpoints
WHERE projection IN (SELECT projection FROM {READ_SIDE}.builds WHERE state = 'live' AND name = ANY($1))
{{}}ORDER BY topic, partition, next_offset
"""
_EVERYWHERE = _REACHED.format("")
_AT = _REACHED.format("AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::integer[])) ")
# A connection can die without a word; who waits asks again this often in any case.
_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
# Also for giving a connection back: whose statement was broken off is waited for until the database says so, which may be silent.
_PLACE_SECONDS = 2.0
# A position may name any number; Kafka has no partition beyond this one.
_LAST_PARTITION = 2**31 - 1


class Progress:
    """Where the slowest of some projections is, partition by partition, woken by every commit of a runner.

    Use `following` to make it. One query serves all who wait in the process.
    """

    def __init__(self, pool: Pool, projections: Collection[Projection]) -> None:
        self._pool = pool
        self._names = [projection.name for projection in projections]
        self._reached: dict[tuple[str, int], tuple[int, Fence]] = {}
        self._moved = asyncio.Event()
        self._looked = asyncio.Condition()
        self._waited_for: Counter[tuple[str, int]] = Counter()
        self._away = ""

    async def read(self) -> Mapping[tuple[str, int], tuple[int, Fence]]:
        """Next offset and fence by (topic, partition). Raises RowsUnavailable."""
        return await self._read(_EVERYWHERE)

    async def _read(self, sql: str, *places: Sequence[object]) -> Mapping[tuple[str, int], tuple[int, Fence]]:
        with raising(RowsUnavailable):
            try:
                async with self._pool.acquire(timeout=_PLACE_SECONDS) as connection:
                    records = await connection.fetch(sql, self._names, *places)
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
                return {}
        return {(each["topic"], each["partition"]): (each["next_offset"], Fence(each["term"], each["claim_id"])) for each in records}

    async def wait_for(self, positions: Sequence[Position], timeout_seconds: float) -> bool:
        """As `Rows.wait_for`."""
        if self._has_seen(positions):
            return True
        if self._away:
            raise RowsUnavailable(self._away)
        places = [(each.topic, each.partition) for each in positions]
        self._waited_for.update(places)
        # What was committed before we began to listen is known by looking once.
        self._moved.set()
        try:
            async with asyncio.timeout(timeout_seconds), self._looked:
                await self._looked.wait_for(lambda: bool(self._away) or self._has_seen(positions))
        except TimeoutError:
            return False
        finally:
            self._waited_for.subtract(places)
            # A count of zero is not waited for.
            self._waited_for = +self._waited_for
        if not self._has_seen(positions):
            raise RowsUnavailable(self._away)
        return True

    def _has_seen(self, positions: Sequence[Position]) -> bool:
        nowhere = (0, None)
        return all(self._reached.get((each.topic, each.partition), nowhere)[0] > each.offset for each in positions)

    async def follow(self) -> None:
        """Look whenever a runner has committed and somebody waits. Runs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="read side: listen")
            tasks.create_task(self._look(), name="read side: look")

    async def _listen(self) -> None:
        away = False
        while True:
            try:
                async with self._pool.acquire(timeout=_PLACE_SECONDS) as connection:
                    away = False
                    await self._listen_on(connection)
            except (*AWAY, asyncpg.PostgresError) as cause:
                if not away:
                    log.warning("read-side-not-listening", reason=f"{type(cause).__name__}: {cause}")
                away = True
            if was_cancelled():
                raise asyncio.CancelledError
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _listen_on(self, connection: Connection) -> None:
        """Returns when the connection has ended."""
        ended = asyncio.Event()

        def end(*_: Any) -> None:
            ended.set()

        connection.add_termination_listener(end)
        try:
            await connection.add_listener(CHANNEL, self._heard)
            self._moved.set()
            await ended.wait()
        finally:
            connection.remove_termination_listener(end)
            async with asyncio.timeout(_PLACE_SECONDS):
                await connection.remove_listener(CHANNEL, self._heard)

    def _heard(self, *_: Any) -> None:
        # Who begins to wait looks for himself.
        if self._waited_for or self._away:
            self._moved.set()

    async def _look(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._moved.wait()
            self._moved.clear()
            if not self._waited_for and not self._away:
                continue
            try:
                with raising(RowsUnavailable):
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        await self._look_at([place for place in self._waited_for if place[1] <= _LAST_PARTITION])
            except RowsUnavailable as cause:
                # A connection that cannot be given back says so instead of that we were told to stop.
                if was_cancelled():
                    raise asyncio.CancelledError from cause
                # Nobody waits for what cannot come soon: it is said at once, until it answers again.
                self._away = str(cause)
                await self._say()
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self._away = ""
                await self._say()

    async def _look_at(self, places: Sequence[tuple[str, int]]) -> None:
        """There are hundreds of checkpoints, and a few are asked for."""
        found = await self._read(_AT, [topic for topic, _ in places], [partition for _, partition in places])
        self._reached = {place: reached for place, reached in self._reached.items() if place not in places} | dict(found)

    async def _say(self) -> None:
        async with self._looked:
            self._looked.notify_all()


@asynccontextmanager
async def following(pool: Pool, projections: Collection[Projection]) -> AsyncIterator[Progress]:
    """A Progress that looks for as long as the context lasts. It takes one connection of the pool for itself."""
    progress = Progress(pool, projections)
    task = asyncio.create_task(progress.follow(), name="read side: progress")
    try:
        yield progress
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

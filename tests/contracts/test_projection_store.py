"""What every store of rows and checkpoints keeps to: the database, Redis, and the one in memory."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.admission import Fence
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.redis import RedisStore
from infra.adapters.redis import connected as redis_connected
from projections.directory import Directory
from projections.flags import FLAGS, Flag
from projections.live import Live
from projections.ports import Advance, Checkpoint, Folded, Mark, Opened, Place, Store, Superseded, Writes, named
from tests.projections.told import AYB, DAY

PLACE = Place("aybiza.flags.v1", 0)
MARK: Mark = (named(FLAGS), PLACE)
KEY = (AYB, "greeting")
ROW = Flag(tenant=AYB, id="greeting", version=1, enabled=True, variant="short", description="", set_at=DAY)
FENCE = Fence(3, b"f" * 16)


@pytest.fixture(params=["postgres", "redis"])
async def stores(request: pytest.FixtureRequest, database: str, redis_url: str, redis_prefix: str) -> AsyncIterator[Callable[[], Store]]:
    """Makes stores over the same rows, as two processes would have."""
    if request.param == "postgres":
        async with connected(database, purpose="test") as pool:
            yield lambda: PostgresStore(pool)
    else:
        async with redis_connected(redis_url) as client:
            live = Live(table=FLAGS, lifetime_seconds=10**9)
            yield lambda: RedisStore(client, [live], prefix=redis_prefix)


def writes(opened: Opened, row: Flag | None, *, seen: int, reached: int) -> Writes:
    fences = {0: Fence()}
    step = Advance(
        projection=MARK[0], place=PLACE, epoch=opened.epochs[MARK], seen=Checkpoint(seen, fences.get(seen, FENCE)),
        reached=Checkpoint(reached, FENCE),
    )  # fmt: skip
    return Writes(advances=[step], rows={FLAGS: {KEY: Folded(row, datetime.now(UTC))}})


async def opened_by(store: Store, held: Mapping[Mark, int] | None = None) -> Opened:
    return await store.open([(FLAGS, PLACE)], held)


class TestStore:
    async def test_begins_at_the_beginning(self, stores: Callable[[], Store]) -> None:
        opened = await opened_by(stores())
        assert opened.checkpoints == {MARK: Checkpoint()}
        assert not opened.parked.get(MARK[0])

    async def test_keeps_rows_and_checkpoint_together(self, stores: Callable[[], Store]) -> None:
        store = stores()
        await store.write(writes(await opened_by(store), ROW, seen=0, reached=7))
        assert await stores().rows(FLAGS, [KEY, (AYB, "other")]) == {KEY: ROW}
        assert (await opened_by(stores())).checkpoints == {MARK: Checkpoint(7, FENCE)}

    async def test_forgets_a_row_that_is_gone(self, stores: Callable[[], Store]) -> None:
        store = stores()
        opened = await opened_by(store)
        await store.write(writes(opened, ROW, seen=0, reached=7))
        await store.write(writes(opened, None, seen=7, reached=8))
        assert await store.rows(FLAGS, [KEY]) == {}

    async def test_takes_a_batch_once(self, stores: Callable[[], Store]) -> None:
        store = stores()
        opened = await opened_by(store)
        await store.write(writes(opened, ROW, seen=0, reached=7))
        with pytest.raises(Superseded):
            await store.write(writes(opened, None, seen=0, reached=7))
        assert await store.rows(FLAGS, [KEY]) == {KEY: ROW}

    async def test_takes_nothing_from_a_runner_that_was_superseded(self, stores: Callable[[], Store]) -> None:
        zombie, successor = stores(), stores()
        before = await opened_by(zombie)
        await opened_by(successor)
        with pytest.raises(Superseded):
            await zombie.write(writes(before, ROW, seen=0, reached=7))
        assert await successor.rows(FLAGS, [KEY]) == {}

    async def test_does_not_let_a_superseded_runner_open_again_unnoticed(self, stores: Callable[[], Store]) -> None:
        zombie, successor = stores(), stores()
        before = await opened_by(zombie)
        again = await opened_by(zombie, before.epochs)
        await opened_by(successor)
        with pytest.raises(Superseded):
            await opened_by(zombie, again.epochs)

    async def test_asks_for_the_fence_as_well_as_the_offset(self, stores: Callable[[], Store]) -> None:
        store = stores()
        opened = await opened_by(store)
        await store.write(writes(opened, ROW, seen=0, reached=7))
        seen, reached = Checkpoint(7, Fence(3, b"g" * 16)), Checkpoint(8, FENCE)
        stranger = Advance(projection=MARK[0], place=PLACE, epoch=opened.epochs[MARK], seen=seen, reached=reached)
        with pytest.raises(Superseded):
            await store.write(Writes(advances=[stranger]))


class TestDirectory:
    """The store in memory has one runner in one process, so that nobody can supersede it; for the rest it is a store."""

    async def test_keeps_rows_and_checkpoint(self) -> None:
        directory = Directory()
        await directory.write(writes(await opened_by(directory), ROW, seen=0, reached=7))
        assert await directory.rows(FLAGS, [KEY]) == {KEY: ROW}
        assert (await opened_by(directory)).checkpoints == {MARK: Checkpoint(7, FENCE)}
        assert directory.flags(AYB) == {"greeting": "short"}


class TestRedisStore:
    async def test_begins_anew_when_redis_came_back_empty(self, redis_url: str, redis_prefix: str) -> None:
        async with redis_connected(redis_url) as client:
            store = RedisStore(client, [Live(table=FLAGS, lifetime_seconds=10**9)], prefix=redis_prefix)
            opened = await opened_by(store)
            await store.write(writes(opened, ROW, seen=0, reached=7))
            await store.drop()
            with pytest.raises(Exception, match="came back empty"):
                await store.write(writes(opened, ROW, seen=7, reached=8))
            assert (await opened_by(store, opened.epochs)).checkpoints == {MARK: Checkpoint()}

    async def test_keeps_nothing_beyond_its_lifetime(self, redis_url: str, redis_prefix: str) -> None:
        async with redis_connected(redis_url) as client:
            store = RedisStore(client, [Live(table=FLAGS, lifetime_seconds=60)], prefix=redis_prefix)
            opened = await opened_by(store)
            late = writes(opened, ROW, seen=0, reached=7)
            old: dict[Any, Any] = {FLAGS: {KEY: Folded(ROW, datetime.now(UTC) - timedelta(seconds=61))}}
            await store.write(Writes(advances=late.advances, rows=old))
            assert await store.rows(FLAGS, [KEY]) == {}

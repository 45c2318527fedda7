"""What is added to partial rows is added once, whoever writes it again."""

import pytest

from infra.adapters.postgres import stepping
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.rows import digest_of
from infra.adapters.postgres.store import PostgresStore
from projections.ports import Superseded, Writes
from projections.runner import Runner
from projections.summaries import CALL_SUMMARIES
from tests.faults.crashing_runner import unguarded
from tests.projections.histories import history
from tests.projections.paper import PaperReader


class Remembering(PostgresStore):
    """Keeps the last write, as somebody would who was frozen in the middle of it."""

    last: Writes | None = None

    async def write(self, writes: Writes) -> None:
        await super().write(writes)
        self.last = writes if writes.added else self.last


async def digest(pool: Pool) -> str:
    async with pool.acquire() as connection:
        return await digest_of(connection, CALL_SUMMARIES)


class TestWhatIsAdded:
    async def test_is_added_once_and_twice_without_the_checkpoints_predicate(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        reader = PaperReader(seed=21, largest_batch=9)
        for stream, facts in history(21, commits=40):
            reader.append(stream, *facts)
        async with connected(database, purpose="test", durable=False) as pool:
            store = Remembering(pool)
            await Runner(reader, store, [CALL_SUMMARIES]).run(stop_at_end=True)
            once = await digest(pool)
            assert store.last is not None
            with pytest.raises(Superseded):
                await store.write(store.last)
            assert await digest(pool) == once
            monkeypatch.setattr(stepping, "STEP", unguarded(stepping.STEP))
            await store.write(store.last)
            assert await digest(pool) != once

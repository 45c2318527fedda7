"""The runner, on the real log and the real database."""

from events.rooms import ROOMS
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.progress import following
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.postgres.store import PostgresStore
from projections.calls import CALL_TIMELINE, CALLS
from projections.registry import STORED
from projections.runner import Runner
from tests.projections.facts import CALL, whole_call
from tests.projections.log import open_log
from tests.projections.told import AYB

EVERYTHING = STORED


class TestRunner:
    async def test_writes_what_the_folds_give(self, kafka: str, database: str, unique: str) -> None:
        async with open_log(kafka, unique) as log, connected(database, purpose="test") as pool:
            for fact in whole_call():
                await log.append(CALL, fact)
            runner = Runner(log.reader, PostgresStore(pool), EVERYTHING, topic_of=log.topic_of, journal_rooms=ROOMS)
            await runner.run(stop_at_end=True)
            async with following(pool, EVERYTHING) as progress:
                rows = PostgresRows(pool, EVERYTHING, progress)
                print(await rows.get(CALLS, AYB, CALL.id))
                print(len(await rows.entries(CALL_TIMELINE, AYB, CALL.id)))
                print(await rows.digest())
                print(await rows.progress())

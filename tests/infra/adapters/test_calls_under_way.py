"""The look-out finds the calls that have not ended, however many have."""

from dataclasses import replace

from events.calls.ending import CallEnded
from events.rooms import ROOMS
from infra.adapters.postgres import calls_under_way
from infra.adapters.postgres.calls_under_way import PostgresCallsUnderWay
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.store import PostgresStore
from projections.registry import STORED
from projections.runner import Runner
from tests.projections.facts import CALL, received, whole_call
from tests.projections.paper import PaperReader


class TestCallsUnderWay:
    async def test_are_found_by_an_index_of_their_own(self, database: str) -> None:
        log, other = PaperReader(), replace(CALL, id="call_2")
        log.append(CALL, *whole_call())
        log.append(other, received())
        assert any(isinstance(fact, CallEnded) for fact in whole_call())
        async with connected(database, purpose="test", durable=False) as pool:
            await Runner(log, PostgresStore(pool), STORED, journal_rooms=ROOMS).run(stop_at_end=True)
            found = await PostgresCallsUnderWay(pool)()
            async with pool.acquire() as connection, connection.transaction():
                # Two rows are quicker read than looked up: what is asked is whether the index fits the question.
                await connection.execute("SET LOCAL enable_seqscan = off")
                plan = await connection.fetch(f"EXPLAIN {calls_under_way._SELECT}")  # noqa: SLF001
        assert [each.stream for each in found] == [other]
        assert "calls_not_done" in " ".join(line[0] for line in plan)

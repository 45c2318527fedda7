"""How far the tables are behind the log."""

import asyncio
from typing import cast

import pytest

from events.flags import FlagSet
from events.rooms import ROOMS
from events.streams import StreamId
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.store import PostgresStore
from infra.apps import lag
from infra.apps.health import of_lag
from infra.apps.lag import Lag, LagUnknown, SeenLag, lag_of
from projections.journal import JOURNAL
from projections.registry import STORED
from projections.runner import Runner
from tests.projections.log import open_log
from tests.projections.told import AYB

FLAG = StreamId(AYB, "flags", "greeting")
SET = FlagSet(enabled=True, variant="v")


class TestLag:
    async def test_counts_what_is_not_written_yet(self, kafka: str, database: str, unique: str) -> None:
        async with open_log(kafka, unique) as log, connected(database, purpose="test") as pool:
            await log.append(FLAG, SET)
            before = await lag_of(log.reader, pool, log.topic_of)
            assert before.journal == before.slowest > 0
            for projections in (STORED, [JOURNAL]):
                await log.append(FLAG, SET)
                runner = Runner(log.reader, PostgresStore(pool), projections, topic_of=log.topic_of, journal_rooms=ROOMS)
                await runner.run(stop_at_end=True)
            # The journal went on alone.
            assert await lag_of(log.reader, pool, log.topic_of) == Lag(journal=0, slowest=1)

    async def test_is_not_known_while_the_tables_are_away(self, kafka: str, database: str, unique: str) -> None:
        async with open_log(kafka, unique) as log, connected(database, purpose="test") as pool:
            pool.terminate()
            with pytest.raises(LagUnknown, match="PostgreSQL is away"):
                await lag_of(log.reader, pool, log.topic_of)

    async def test_is_not_known_any_more_while_a_look_does_not_come_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def silent(*_: object) -> Lag:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(lag, "lag_of", silent)
        monkeypatch.setattr(lag, "_LONG_SECONDS", 0.01)
        seen = SeenLag()
        seen.last = Lag(journal=0, slowest=0)
        following = asyncio.create_task(seen.follow(cast(KafkaLogReader, None), cast(Pool, None)))
        async with asyncio.timeout(120):
            while seen.why != "the tables are silent":
                await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.wait([following])
        (check,) = await of_lag(seen)()
        assert (check.ready, check.why) == (False, "not known: the tables are silent")

    async def test_is_said_in_health(self) -> None:
        seen = SeenLag()
        (check,) = await of_lag(seen)()
        assert (check.ready, check.needed) == (False, False)
        seen.last = Lag(journal=3, slowest=40)
        (check,) = await of_lag(seen)()
        assert (check.ready, check.why) == (True, "journal 3, slowest projection 40 records behind the log")

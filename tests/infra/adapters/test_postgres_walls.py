"""The wall between organisations in the database: each sees its own rows of every projection, and nobody who names none sees any."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from events.flags import FlagSet
from events.organisations import OrganisationCreated
from events.rooms import ROOMS
from events.streams import PLATFORM, StreamId
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.packed import HOT, packed_of, streams_of, unpacked_of
from infra.adapters.postgres.shapes import relation_of, view_of
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.postgres.walls import Asked, Wall, behind_the_wall
from projections.journal import JOURNAL
from projections.ports import Projection, named
from projections.queries import EVERYBODY, asked_for
from projections.registry import STORED
from projections.runner import Runner
from projections.series import Series
from tests.projections.histories import history
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

OTHER = "AYB-2222-2222-2222"


@asynccontextmanager
async def filled(database: str) -> AsyncIterator[tuple[Pool, Wall]]:
    """Rows of two organisations in every projection that a history can fill."""
    reader = PaperReader(seed=5)
    for stream, facts in history(5):
        reader.append(stream, *facts)
    for tenant in (AYB, OTHER):
        reader.append(StreamId(tenant, "organisations", tenant), OrganisationCreated(name=tenant, region="us"))
        reader.append(StreamId(tenant, "flags", "wall"), FlagSet(enabled=True, variant="on"))
    async with connected(database, purpose="test") as pool, behind_the_wall(database, most=2) as wall:
        await Runner(reader, PostgresStore(pool), STORED, journal_rooms=ROOMS).run(stop_at_end=True)
        yield pool, wall


async def owners_of_rows(asked: Asked, projection: Projection) -> set[str]:
    """Whose rows can be seen, by any statement."""
    column = "split_part(stream, '/', 1)" if projection is JOURNAL else "*"
    records = await asked.fetch(f"SELECT {column} FROM {view_of(projection)}")
    return {str(each.get("organisation_id") or each.get("tenant") or each[0]) for each in records}


class TestTheWall:
    async def test_shows_each_organisation_its_own_rows_of_every_projection(self, database: str) -> None:
        async with filled(database) as (pool, wall):
            for projection in STORED:
                all_owners = await owners_of_rows(pool, projection)
                for organisation in (AYB, OTHER):
                    asked_for.set(organisation)
                    shown = await owners_of_rows(wall, projection) - ({PLATFORM} if projection is JOURNAL else set())
                    assert shown == all_owners & {organisation}, named(projection)
                asked_for.set(EVERYBODY)
                assert await owners_of_rows(wall, projection) == all_owners
            # Without the wall there was more to be seen, or this has shown nothing.
            assert {AYB, OTHER} <= await owners_of_rows(pool, JOURNAL)

    async def test_shows_nothing_to_who_asks_for_nobody(self, database: str) -> None:
        asked_for.set("")
        async with filled(database) as (_, wall):
            assert [each for each in STORED if await owners_of_rows(wall, each)] == []

    async def test_lets_nobody_write_who_asks(self, database: str) -> None:
        asked_for.set(EVERYBODY)
        async with filled(database) as (_, wall):
            for projection in STORED:
                for name in (view_of(projection), relation_of(projection)):
                    # What is of two relations nobody can write to.
                    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError)):
                        await wall.fetch(f"DELETE FROM {name}")
            for name in (HOT, packed_of(JOURNAL), streams_of(JOURNAL), unpacked_of(JOURNAL)):
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError)):
                    await wall.fetch(f"DELETE FROM {name}")

    async def test_stands_in_a_database_that_was_filled_before_there_was_one(self, database: str) -> None:
        async with filled(database) as (pool, wall):
            for projection in STORED:
                name = relation_of(projection)
                if isinstance(projection, Series) and projection.over_time is not None:
                    continue
                await pool.execute(f"DROP POLICY of_one_organisation ON {name}; ALTER TABLE {name} DISABLE ROW LEVEL SECURITY")
            await Runner(PaperReader(), PostgresStore(pool), STORED, journal_rooms=ROOMS).run(stop_at_end=True)
            asked_for.set(OTHER)
            assert [each for each in STORED if await owners_of_rows(wall, each) - {OTHER, PLATFORM}] == []

    async def test_leaves_a_stream_of_the_journal_to_be_found_by_its_index(self, database: str) -> None:
        async with filled(database) as (_, wall):
            asked_for.set(AYB)
            statement = f"SELECT * FROM {relation_of(JOURNAL)} WHERE stream = $1 AND version > 0 AND kind = 0 ORDER BY version"
            plan = await wall.fetch(f"EXPLAIN {statement.replace('$1', chr(39) + 'x' + chr(39))}")
            assert "stream_version_idx" in "\n".join(each[0] for each in plan)

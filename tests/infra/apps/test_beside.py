"""Projections built beside what readers see: compared, switched in one moment, gone back from, and nobody notices."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from events.flags import FlagSet
from events.recorded import Recorded
from events.rooms import ROOMS
from events.streams import StreamId, topic_of
from infra.adapters.postgres import builds
from infra.adapters.postgres.builds import Build, BuildState, CannotSwitch, build_of
from infra.adapters.postgres.comparing import Differing, compare
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.progress import following
from infra.adapters.postgres.rows import PostgresRows, digest_of
from infra.adapters.postgres.stepping import CHANNEL
from infra.adapters.postgres.store import PostgresStore
from infra.apps.beside import build_beside, folded, next_build, succeed, words_of
from projections.calls import CALLS
from projections.flags import FLAGS, Flag
from projections.journal import JOURNAL
from projections.ports import Place, Projection, named
from projections.registry import STORED
from projections.runner import Runner
from projections.table import Table
from tests.projections.paper import PaperReader
from tests.projections.test_healing import BROKEN, discard, poisoned, run_until_tried
from tests.projections.told import AYB

FLAG = StreamId(AYB, "flags", "greeting")
READ: Sequence[Projection] = (JOURNAL, FLAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class LouderFlag:
    """A flag as another version of this program has it."""

    tenant: str
    id: str
    version: int
    enabled: bool
    variant: str
    description: str
    set_at: datetime
    shouted: str = "it's unheard"
    changes: int = 0


def louder(row: LouderFlag | None, recorded: Recorded[Any]) -> LouderFlag:
    fact, stream = recorded.fact, recorded.stream
    return LouderFlag(
        tenant=stream.tenant, id=stream.id, version=recorded.version, enabled=fact.enabled,
        variant="changed" if fact.variant == "variant 3" else fact.variant, description=fact.description, set_at=recorded.occurred_at,
        shouted=fact.variant.upper(), changes=1 if row is None else row.changes + 1,
    )  # fmt: skip


LOUDER: Table[LouderFlag] = Table(name="flags", version=2, room="flags", category="flags", row=LouderFlag, evolve=louder)
SECOND = build_of(FLAGS, 2)


def history(count: int = 40) -> PaperReader:
    reader = PaperReader(seed=3, largest_batch=4)
    for number in range(count):
        reader.append(StreamId(AYB, "flags", f"flag-{number % 10}"), FlagSet(enabled=True, variant=f"variant {number}"))
    return reader


async def fold(reader: PaperReader, pool: Pool, projections: Sequence[Projection] = READ) -> None:
    await Runner(reader, PostgresStore(pool), projections, journal_rooms=ROOMS).run(stop_at_end=True)


async def the(pool: Pool, projection: Projection) -> Build:
    (found,) = [each for each in await builds.standing(pool, projection.name) if each.projection == named(projection)]
    return found


async def states(pool: Pool, name: str = "flags") -> dict[str, str]:
    return {each.projection: each.state.value for each in await builds.standing(pool, name)}


async def digest(pool: Pool, projection: Projection) -> str:
    async with pool.acquire() as connection:
        return await digest_of(connection, projection)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with connected(database, purpose="test", durable=False) as pool:
        yield pool


@pytest.fixture
async def rows(pool: Pool) -> AsyncIterator[PostgresRows]:
    async with following(pool, READ) as progress:
        yield PostgresRows(pool, READ, progress)


class TestBuilding:
    async def test_from_nothing_gives_the_same_bytes_and_wakes_nobody(self, pool: Pool, database: str) -> None:
        reader, heard = history(), asyncio.Event()
        listener = await asyncpg.connect(database)
        await listener.add_listener(CHANNEL, lambda *_: heard.set())
        await fold(reader, pool)
        await asyncio.wait_for(heard.wait(), 120)
        heard.clear()
        for projection in (SECOND, build_of(JOURNAL, 2)):
            assert await build_beside(reader, pool, projection) is BuildState.WARM
            assert await digest(pool, projection) == await digest(pool, build_of(projection, 1))
        await listener.fetchval("SELECT 1")
        assert not heard.is_set()
        assert await states(pool) == {"flags.v1": "live", "flags.v1.b2": "warm"}
        await listener.close()

    async def test_is_not_waited_for_by_those_who_read_their_writes(self, pool: Pool, rows: PostgresRows) -> None:
        reader = history()
        await fold(reader, pool)
        places = [Place(*each) for each in await reader.end_offsets([topic_of("flags")])]
        await PostgresStore(pool, building=True).open([(SECOND, place) for place in places])
        last = reader.append(FLAG, FlagSet(enabled=True, variant="on"))
        await fold(reader, pool)
        reached = await rows.progress()
        assert reached[last.topic, last.partition][0] == last.offset + 1

    async def test_goes_on_where_it_was_broken_off_or_paused(self, pool: Pool) -> None:
        reader = history(200)
        await fold(reader, pool)
        for ends in ("killed", "paused"):
            building = asyncio.create_task(build_beside(reader, pool, SECOND))
            await reaches(pool, SECOND, 1 if ends == "killed" else 40)
            if ends == "killed":
                building.cancel()
                await asyncio.wait([building])
                assert (await the(pool, SECOND)).state is BuildState.BUILDING
            else:
                await builds.mark(pool, named(SECOND), BuildState.PAUSED)
                assert await building in (BuildState.PAUSED, BuildState.WARM)
            assert next_build(FLAGS, await builds.standing(pool, "flags")) in (SECOND, build_of(FLAGS, 3))
        assert await build_beside(reader, pool, SECOND) is BuildState.WARM
        assert await digest(pool, SECOND) == await digest(pool, FLAGS)

    async def test_honours_what_an_operator_had_left_out(self, pool: Pool) -> None:
        reader, second = poisoned(), build_of(BROKEN[1], 2)
        await fold(reader, pool, BROKEN)
        discard(reader)
        await run_until_tried(reader, pool, BROKEN, "flags.v1/1")
        assert await build_beside(reader, pool, second) is BuildState.WARM
        assert await pool.fetchval("SELECT count(*) FROM read_side.parked WHERE projection = 'flags.v1.b2'") == 2
        await run_until_tried(reader, pool, [second], "flags.v1/1")
        assert await pool.fetchval("SELECT count(*) FROM read_side.parked") == 0
        assert await digest(pool, second) == await digest(pool, BROKEN[1])

    def test_says_when_it_will_be_done(self) -> None:
        assert words_of(250, 1000, 50.0) == "25 % of 1000 records, 50 a second, 15 s left"
        assert words_of(0, 10**9, 20_000.0).endswith("13.9 h left")


class TestComparing:
    async def test_finds_nothing_where_both_are_folds_of_one_log(self, pool: Pool) -> None:
        reader = history()
        await fold(reader, pool)
        await build_beside(reader, pool, SECOND)
        report = await compare(pool, FLAGS, SECOND)
        assert (report.same, report.rows) == (True, (10, 10))
        assert report.digests is not None
        assert report.digests[0] == report.digests[1]

    async def test_names_key_and_column_of_what_differs_and_tells_of_no_more_than_it_should(self, pool: Pool) -> None:
        reader = history()
        await fold(reader, pool)
        await build_beside(reader, pool, SECOND)
        await pool.execute("UPDATE p_flags_v1_b2.flags SET variant = 'w' WHERE id = 'flag-3'")
        await pool.execute("DELETE FROM p_flags_v1.flags WHERE id = 'flag-4'")
        await pool.execute("DELETE FROM p_flags_v1_b2.flags WHERE id = 'flag-5'")
        report = await compare(pool, FLAGS, SECOND)
        assert sorted(report.differing, key=lambda each: each.key) == [
            Differing(key=(AYB, "flag-3"), where="both", columns=("variant",)),
            Differing(key=(AYB, "flag-4"), where="new", columns=()),
            Differing(key=(AYB, "flag-5"), where="old", columns=()),
        ]
        assert not report.same
        cut = await compare(pool, FLAGS, SECOND, most=2)
        assert (len(cut.differing), cut.cut) == (2, True)

    async def test_leaves_out_what_only_one_of_them_has_seen_yet(self, pool: Pool) -> None:
        reader = history()
        await fold(reader, pool)
        await build_beside(reader, pool, SECOND)
        reader.append(StreamId(AYB, "flags", "flag-1"), FlagSet(enabled=False, variant="late"))
        await fold(reader, pool)
        looking = asyncio.create_task(compare(pool, FLAGS, SECOND))
        await fold(reader, pool, [SECOND])
        report = await looking
        assert report.differing == ()


class TestSwitching:
    async def test_shows_the_other_build_to_readers_and_goes_back(self, pool: Pool, rows: PostgresRows) -> None:
        reader = history(12)
        await fold(reader, pool)
        await build_beside(reader, pool, SECOND)
        await pool.execute("UPDATE p_flags_v1_b2.flags SET variant = 'of the second build'")

        async def shown() -> str:
            row = await rows.get(FLAGS, AYB, "flag-1")
            assert row is not None
            return row.variant

        assert await shown() == "variant 11"
        before = await builds.switch(pool, await the(pool, SECOND), [FLAGS])
        assert before is not None
        assert (before.projection, await shown()) == ("flags.v1", "of the second build")
        assert await states(pool) == {"flags.v1": "warm", "flags.v1.b2": "live"}
        await builds.switch(pool, await the(pool, FLAGS), [FLAGS])
        assert await shown() == "variant 11"
        await builds.forget(pool, await the(pool, SECOND))
        assert await states(pool) == {"flags.v1": "live"}
        assert await pool.fetchval("SELECT to_regclass('p_flags_v1_b2.flags')") is None

    async def test_is_refused_while_the_other_build_is_behind_or_not_warm(self, pool: Pool) -> None:
        reader = history(12)
        await fold(reader, pool)
        await build_beside(reader, pool, SECOND)
        reader.append(FLAG, FlagSet(enabled=True, variant="on"))
        await fold(reader, pool)
        with pytest.raises(CannotSwitch, match="1 records behind"):
            await builds.switch(pool, await the(pool, SECOND), [FLAGS], within_seconds=0.2)
        assert await states(pool) == {"flags.v1": "live", "flags.v1.b2": "warm"}
        await builds.mark(pool, named(SECOND), BuildState.PAUSED)
        with pytest.raises(CannotSwitch, match="is paused"):
            await builds.switch(pool, await the(pool, SECOND), [FLAGS])
        with pytest.raises(CannotSwitch, match="readers would have nothing"):
            await builds.forget(pool, await the(pool, FLAGS))

    async def test_to_another_version_gives_each_program_the_columns_it_knows(self, pool: Pool, rows: PostgresRows) -> None:
        reader = history(12)
        await fold(reader, pool)
        # A program that knows both versions reads the old one's rows as its own, until there are others.
        await builds.show_all(pool, [LOUDER])
        row = await rows.get(LOUDER, AYB, "flag-3")
        assert row is not None
        assert (row.variant, row.shouted, row.changes) == ("variant 3", "it's unheard", 0)
        known = (FLAGS, LOUDER)
        assert await build_beside(reader, pool, LOUDER) is BuildState.WARM
        report = await compare(pool, FLAGS, LOUDER)
        assert report.columns_of_one == ("changes", "shouted")
        assert report.differing == (Differing(key=(AYB, "flag-3"), where="both", columns=("variant",)),)
        await builds.switch(pool, await the(pool, LOUDER), known)
        new, old = await rows.get(LOUDER, AYB, "flag-3"), await rows.get(FLAGS, AYB, "flag-3")
        assert new is not None
        assert (new.variant, new.shouted, new.changes) == ("changed", "VARIANT 3", 1)
        assert old == Flag(tenant=AYB, id="flag-3", version=1, enabled=True, variant="changed", description="", set_at=new.set_at)
        # And that program goes on folding both.
        now = await folded(pool, topic_of, [JOURNAL, LOUDER], (*known, JOURNAL))
        assert ([named(each) for each in now.live], [named(each) for each in now.warm]) == (["flags.v2", "journal.v1"], ["flags.v1"])

    async def test_is_made_by_itself_where_the_old_fold_is_gone_and_history_is_short(self, pool: Pool, rows: PostgresRows) -> None:
        reader = history(12)
        await fold(reader, pool)
        assert await succeed(reader, pool, topic_of, READ, READ) == ()
        now: Sequence[Projection] = [JOURNAL, LOUDER]
        assert await succeed(reader, pool, topic_of, now, now) == ["flags.v2"]
        row = await rows.get(LOUDER, AYB, "flag-3")
        assert row is not None
        assert row.shouted == "VARIANT 3"
        assert await states(pool) == {"flags.v1": "warm", "flags.v2": "live"}
        await pool.execute("UPDATE read_side.checkpoints SET next_offset = 1000000 WHERE projection = 'journal.v1'")
        assert await succeed(reader, pool, topic_of, READ, READ) == ()

    async def test_leaves_out_of_the_read_what_this_program_cannot_fold_or_what_has_a_long_way_to_go(self, pool: Pool) -> None:
        await fold(history(4), pool)
        without = await folded(pool, topic_of, [JOURNAL, LOUDER], [JOURNAL, LOUDER])
        assert ([named(each) for each in without.live], [name for name, _ in without.left]) == (["journal.v1"], ["flags.v1"])
        await pool.execute("UPDATE read_side.checkpoints SET next_offset = 1000000 WHERE projection = 'journal.v1'")
        later = await folded(pool, topic_of, STORED, STORED)
        assert named(CALLS) in [name for name, _ in later.left]
        grown = await folded(pool, lambda room: f"{topic_of(room)}.next", READ, READ)
        assert not grown.live
        assert "has a successor" in dict(grown.left)["flags.v1"]


async def reaches(pool: Pool, projection: Projection, records: int) -> None:
    async with asyncio.timeout(120):
        while (await builds.extents(pool)).get(named(projection), builds.Extent()).records < records:
            await asyncio.sleep(0)

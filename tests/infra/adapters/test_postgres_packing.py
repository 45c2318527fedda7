"""The journal's cold parts, packed: whoever reads across the border reads what was there, and sees no more than before."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from commands.ports import Place, Since
from events.flags import FlagSet
from events.leaves import leaf_hash
from events.positions import Position
from events.records import RawRecord
from events.rooms import ROOMS
from events.streams import StreamId, partition_of, topic_of
from infra.adapters.postgres import packing, parts
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.history import PostgresHistories
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.packing import CannotPack, pack
from infra.adapters.postgres.rows import digest_of
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.postgres.walls import behind_the_wall
from projections.journal import JOURNAL
from projections.queries import EVERYBODY, asked_for
from projections.runner import Runner
from tests.projections.paper import FENCE, PaperReader
from tests.projections.told import AYB

TOPIC = topic_of("flags")
OTHER = "AYB-2222-2222-2222"
_ANY = [StreamId(tenant, "flags", f"flag-{number}") for number in range(40) for tenant in (AYB, OTHER)]
_LAID = [[each for each in _ANY if partition_of(each.key, 2) == number][:8] for number in range(2)]
# Both partitions in turn, both organisations in each.
FLAGS = [each for pair in zip(*_LAID, strict=True) for each in pair]
FIRST, SECOND = f"{TOPIC}/0", f"{TOPIC}/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A journal of three parts, of which two are cold."""

    pool: Pool
    log: PaperReader
    journal: PostgresJournal

    async def packed(self, *names: str) -> None:
        for name in names:
            await pack(self.pool, JOURNAL, name, lambda _part, _words: None)

    async def answers(self) -> list[Any]:
        """What readers and owners are told, of everything."""
        journal, histories = self.journal, PostgresHistories(self.pool)
        told: list[Any] = [await journal.latest(limit=30), await journal.latest(limit=500)]
        for stream in FLAGS:
            told += [await journal.stream_events(stream), await journal.stream_events(stream, after_version=5, limit=9)]
            place = Place(TOPIC, partition_of(stream.key, 2))
            told += [await histories.load(place, {stream.key: Since()}), await histories.load(place, {stream.key: Since(40, 7)})]
            told += [await histories.answered(place, stream.key, each.command_id) for each in told[-4][::6]]
        for partition in range(2):
            told.append(await histories.reached(Place(TOPIC, partition)))
            told += [await histories.begun(Place(TOPIC, partition), start, 150, 70) for start in (0, 50, 100, 150)]
            for offset in range(-1, 170, 13):
                told.append(await journal.events_after(TOPIC, partition, offset, limit=40))
                told.append(await journal.records(TOPIC, partition, from_offset=max(offset, 0), limit=70))
                told.append(await journal.appended_at(Position(TOPIC, partition, max(offset, 0), FENCE)))
        for newest_first in (True, False):
            told.append(await journal.streams(AYB, "flags", limit=5, newest_first=newest_first))
            told.append(await journal.streams(None, "flags", after="flag-3", limit=50, newest_first=newest_first))
        together = await journal.events_of([*FLAGS, StreamId(AYB, "flags", "never-there")], JOURNAL.name)
        assert together == {stream: await journal.stream_events(stream) for stream in FLAGS}
        return told

    async def digest(self) -> str:
        async with self.pool.acquire() as connection:
            return await digest_of(connection, JOURNAL)


@pytest.fixture
async def desk(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(parts, "OFFSETS", 64)
    monkeypatch.setattr(packing, "RECORDS_OF_A_PIECE", 16)
    log = PaperReader(seed=2, largest_batch=40)
    for number in range(320):
        stream = FLAGS[number * 7 % len(FLAGS)] if number < 300 else FLAGS[number % 3]
        log.append(stream, FlagSet(enabled=True, variant=f"variant {number}"))
    async with connected(database, purpose="test", durable=False) as pool:
        await Runner(log, PostgresStore(pool), [JOURNAL], journal_rooms=ROOMS).run(stop_at_end=True)
        yield Desk(pool=pool, log=log, journal=PostgresJournal(pool, log.codec))


class TestPacking:
    async def test_changes_nothing_that_anybody_is_told(self, desk: Desk) -> None:
        before, digest = await desk.answers(), await desk.digest()
        for name in (FIRST, SECOND):
            await desk.packed(name)
            assert await desk.pool.fetchval(f"SELECT to_regclass('p_journal_v1.\"{name}\"')") is None
            assert await desk.answers() == before
            assert await desk.digest() == digest
        there = await packing.parts(desk.pool, JOURNAL)
        assert [(each.name, each.packed) for each in there if each.topic == TOPIC] == [
            (FIRST, True), (SECOND, True), (f"{TOPIC}/2", False)
        ]  # fmt: skip

    async def test_keeps_every_leaf_hash_as_it_was_noted(self, desk: Desk) -> None:
        await desk.packed(FIRST)
        expected = [raw for raw in desk.log.all_records() if raw.partition == 0 and raw.offset < 64]
        found = await desk.journal.records(TOPIC, 0, limit=len(expected))
        assert [each.leaf for each in found] == [leaf_of(raw) for raw in expected]

    async def test_leaves_the_journal_as_it_is_for_who_writes_it(self, desk: Desk) -> None:
        await desk.packed(FIRST)
        desk.log.append(FLAGS[0], FlagSet(enabled=False, variant="late"))
        await Runner(desk.log, PostgresStore(desk.pool), [JOURNAL], journal_rooms=ROOMS).run(stop_at_end=True)
        (last,) = (await desk.journal.stream_events(FLAGS[0]))[-1:]
        assert last.fact == FlagSet(enabled=False, variant="late")

    async def test_is_seen_by_an_organisation_as_far_as_it_is_its_own(self, desk: Desk, database: str) -> None:
        await desk.packed(FIRST, SECOND)
        async with behind_the_wall(database, most=1) as wall:
            seen = {}
            for who in (AYB, OTHER, EVERYBODY, ""):
                asked_for.set(who)
                journal = PostgresJournal(wall, desk.log.codec)
                for view in ("journal", "packed_streams"):
                    found = await wall.fetch(f"SELECT DISTINCT split_part(stream, '/', 1) FROM v_journal_v1.{view}")
                    seen[who, view] = {each[0] for each in found}
                read = await journal.records(TOPIC, 0, limit=1_000)
                assert {each.stream.split("/")[0] for each in read} == seen[who, "journal"]
                assert bool(await journal.stream_events(FLAGS[0])) is (who in (AYB, EVERYBODY))
            expected = {AYB: {AYB}, OTHER: {OTHER}, EVERYBODY: {AYB, OTHER}, "": set()}
            assert {who: seen[who, "journal"] for who in expected} == expected
            assert {who: seen[who, "packed_streams"] for who in expected} == expected

    async def test_is_refused_where_a_part_is_not_cold_or_not_the_oldest(self, desk: Desk) -> None:
        for name, reason in ((SECOND, "the oldest is packed first"), (f"{TOPIC}/2", "is not cold"), ("nothing/0", "has no part")):
            with pytest.raises(CannotPack, match=reason):
                await desk.packed(name)
        assert await desk.pool.fetchval("SELECT count(*) FROM p_journal_v1.packed") == 0

    async def test_leaves_all_as_it_was_where_other_records_would_be_read(self, desk: Desk) -> None:
        before = await desk.answers()
        # The negative control of the comparison: a view that loses a byte of one record.
        listed = await desk.pool.fetchval("SELECT pg_get_viewdef('p_journal_v1.unpacked'::regclass)")
        await desk.pool.execute(
            "CREATE OR REPLACE VIEW p_journal_v1.unpacked AS "
            + listed.rstrip(";").replace(" leaf,", " CASE WHEN version = 3 THEN '\\x00'::bytea ELSE leaf END AS leaf,", 1)
        )
        with pytest.raises(CannotPack, match="other records would be read"):
            await desk.packed(FIRST)
        assert await desk.answers() == before

    async def test_that_is_broken_off_leaves_all_as_it_was(self, desk: Desk) -> None:
        before = await desk.answers()
        async with desk.pool.acquire() as reader, reader.transaction():
            # A long answer: the exchange waits for it.
            await reader.fetch("SELECT FROM p_journal_v1.journal LIMIT 1")
            packing_it = asyncio.create_task(desk.packed(FIRST))
            while not await reader.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"):
                await asyncio.sleep(0)
            packing_it.cancel()
            await asyncio.wait([packing_it])
        assert await desk.answers() == before
        await desk.packed(FIRST)
        assert await desk.answers() == before


def leaf_of(raw: RawRecord) -> bytes:
    assert raw.packed is not None
    return leaf_hash(key=raw.key, timestamp_ms=raw.timestamp_ms, ce_type=raw.ce_type, packed_header=raw.packed, value=raw.value)


OF_BEFORE = """
DROP SCHEMA v_journal_v1 CASCADE;
DROP TABLE p_journal_v1.packed, p_journal_v1.packed_streams CASCADE;
CREATE SCHEMA v_journal_v1;
CREATE VIEW v_journal_v1.journal WITH (security_invoker = true) AS SELECT * FROM p_journal_v1.journal;
GRANT USAGE ON SCHEMA v_journal_v1 TO aybiza_reader;
GRANT SELECT ON v_journal_v1.journal TO aybiza_reader
"""


class TestAJournalOfBefore:
    async def test_is_packed_too_once_it_was_opened(self, desk: Desk) -> None:
        before = await desk.answers()
        await desk.pool.execute(OF_BEFORE)
        await Runner(desk.log, PostgresStore(desk.pool), [JOURNAL], journal_rooms=ROOMS).run(stop_at_end=True)
        await desk.packed(FIRST, SECOND)
        assert await desk.answers() == before

    async def test_goes_on_in_ranges_as_wide_as_it_was_begun(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts, "OFFSETS", 16)
        for number in range(60):
            desk.log.append(FLAGS[number % 16], FlagSet(enabled=True, variant="later"))
        await Runner(desk.log, PostgresStore(desk.pool), [JOURNAL], journal_rooms=ROOMS).run(stop_at_end=True)
        there = [each for each in await packing.parts(desk.pool, JOURNAL) if each.topic == TOPIC]
        assert {each.end - each.first for each in there} == {64}
        assert await desk.pool.fetchval("SELECT count(*) FROM v_journal_v1.journal") == len(desk.log.all_records())

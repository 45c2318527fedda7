"""Events by their ids, however the journal came to be: as it was written, packed, rebuilt, or of before there were runs."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from commands.ownership.groups import commit_id_of
from events.admission import Fence
from events.flags import FlagSet
from events.headers import Kind
from events.recorded import EventId
from events.records import RawRecord
from events.rooms import ROOMS
from events.streams import StreamId, topic_of
from infra.adapters.postgres import packing, parts
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.event_ids import Runs
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.packing import pack
from infra.adapters.postgres.rebuilding import drop
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.postgres.walls import behind_the_wall
from projections.journal import JOURNAL
from projections.queries import EVERYBODY, asked_for
from projections.runner import Runner
from tests.projections.paper import FENCE, PaperReader
from tests.projections.told import AYB

TOPIC = topic_of("flags")
OTHER = "AYB-2222-2222-2222"
FLAGS = [StreamId(tenant, "flags", f"flag-{number}") for number in range(6) for tenant in (AYB, OTHER)]
CLAIMS = [FENCE, Fence(2, b"d" * 16), Fence(3, b"a" * 16)]
_RUNS = "SELECT topic, partition, first_offset, encode(beginning, 'hex') FROM p_journal_v1.commit_runs ORDER BY 1, 2, 3"


def written(log: PaperReader, claims: Sequence[Fence] = CLAIMS) -> PaperReader:
    """Commits of one to three facts, under one claim after another."""
    for claim in claims:
        log.claim = claim
        for number in range(60):
            facts = [FlagSet(enabled=True, variant=f"{claim.term} {number} {index}") for index in range(1 + number % 3)]
            log.append(FLAGS[number * 5 % len(FLAGS)], *facts)
    return log


async def ran(log: PaperReader, pool: Pool) -> None:
    await Runner(log, PostgresStore(pool), [JOURNAL], journal_rooms=ROOMS).run(stop_at_end=True)


def id_of(raw: RawRecord) -> EventId:
    assert raw.header is not None
    return EventId(raw.header.commit_id, raw.header.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    pool: Pool
    log: PaperReader
    journal: PostgresJournal

    async def finds_all(self, tenant: str | None = None) -> bool:
        """Whether each event of the log is found by its id, and is the one that lies there."""
        for raw in self.log.all_records():
            found = await self.journal.event(tenant, id_of(raw))
            if found is None or (found.position[:3], str(found.stream).encode()) != (raw[:3], raw.key):
                return False
        return True

    async def runs(self) -> list[tuple[object, ...]]:
        return [tuple(each) for each in await self.pool.fetch(_RUNS)]


@pytest.fixture
async def desk(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(parts, "OFFSETS", 64)
    monkeypatch.setattr(packing, "RECORDS_OF_A_PIECE", 16)
    log = written(PaperReader(seed=3, largest_batch=30))
    async with connected(database, purpose="test", durable=False) as pool:
        await ran(log, pool)
        yield Desk(pool=pool, log=log, journal=PostgresJournal(pool, log.codec))


class TestEvent:
    async def test_is_found_by_its_id_and_nothing_by_another(self, desk: Desk) -> None:
        assert await desk.finds_all()
        assert len(await desk.runs()) == 2 * len(CLAIMS)
        of_its_own = [commit_id_of(claim, count) for claim in CLAIMS for count in (0, 61, 400, 2**48 - 1)]
        strange = [bytes(16), b"\xff" * 16, commit_id_of(Fence(9, b"z" * 16), 1)]
        last = desk.log.all_records()[-1]
        for commit_id in (*of_its_own[1:2], *of_its_own[3:], *strange):
            found = await desk.journal.event(None, EventId(commit_id, 0))
            assert found is None or found.event_id.commit_id == commit_id
        assert await desk.journal.event(None, EventId(id_of(last).commit_id, 3)) is None
        assert await desk.journal.event(None, EventId(id_of(last).commit_id, 65_535)) is None

    async def test_is_found_while_parts_are_packed_and_afterwards(self, desk: Desk) -> None:
        names = [each.name for each in await packing.parts(desk.pool, JOURNAL) if each.topic == TOPIC and each.cold]
        assert len(names) > 1
        for name in names:
            async with desk.pool.acquire() as connection:
                packing_step = await packing.step(connection, JOURNAL, name, lock_ms=1_000)
            assert not packing_step.done
            assert await desk.finds_all()
            await pack(desk.pool, JOURNAL, name, lambda _part, _words: None)
            assert await desk.finds_all()
        assert await desk.pool.fetchval("SELECT count(*) FROM p_journal_v1.packed") > 8

    async def test_is_no_receipt(self, desk: Desk) -> None:
        last = desk.log.all_records()[-1]
        assert last.header is not None
        await desk.pool.execute(
            f'UPDATE p_journal_v1.journal SET kind = {int(Kind.RECEIPT)} WHERE topic = $1 AND partition = $2 AND "offset" = $3', *last[:3]
        )
        assert await desk.journal.event(None, id_of(last)) is None

    async def test_is_found_by_who_may_see_it(self, desk: Desk, database: str) -> None:
        events = {raw.key.decode().split("/")[0]: id_of(raw) for raw in desk.log.all_records()}
        assert await desk.journal.event(AYB, events[OTHER]) is None
        async with behind_the_wall(database, most=1) as wall:
            journal = PostgresJournal(wall, desk.log.codec)
            for who, sees in ((AYB, {AYB}), (OTHER, {OTHER}), (EVERYBODY, {AYB, OTHER}), ("", set())):
                asked_for.set(who)
                assert {tenant for tenant, event in events.items() if await journal.event(None, event) is not None} == sees


class TestRuns:
    async def test_are_a_function_of_the_log(self, desk: Desk) -> None:
        runs = await desk.runs()
        for seed, largest in ((1, 1), (2, 500)):
            async with desk.pool.acquire() as connection:
                await drop(connection, [JOURNAL])
            again = written(PaperReader(seed=seed, largest_batch=largest))
            await ran(again, desk.pool)
            assert await desk.runs() == runs
            assert await desk.finds_all()

    async def test_go_on_where_a_program_went_on_that_knew_of_none(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        runs = await desk.runs()
        # As it was before there were any, and packed in part.
        (name, *_) = [each.name for each in await packing.parts(desk.pool, JOURNAL) if each.topic == TOPIC]
        await pack(desk.pool, JOURNAL, name, lambda _part, _words: None)
        await desk.pool.execute("DROP TABLE p_journal_v1.commit_runs CASCADE")
        await ran(desk.log, desk.pool)
        assert await desk.runs() == runs
        assert await desk.finds_all()
        # It comes once more, while processes are replaced one by one; this is also the control: without runs nothing is found.
        with monkeypatch.context() as earlier:
            earlier.setattr(Runs, "begun", lambda _self, _records: ())
            written(desk.log, [Fence(4, b"e" * 16), Fence(5, b"b" * 16)])
            await ran(desk.log, desk.pool)
            assert await desk.runs() == runs
            assert not await desk.finds_all()
        await ran(desk.log, desk.pool)
        assert len(await desk.runs()) == len(runs) + 4
        assert await desk.finds_all()

    async def test_may_begin_alike_more_than_once(self, desk: Desk) -> None:
        # As in a topic that was carried over in two pieces: commits keep their ids, and a word of the carrier's lies between.
        written(desk.log, [Fence(4, b"w" * 16)])
        for claim in (Fence(5, b"x" * 16), desk.log.claim):
            written(desk.log, [claim])
        await ran(desk.log, desk.pool)
        assert len(await desk.runs()) == 2 * (len(CLAIMS) + 3)
        assert await desk.finds_all()

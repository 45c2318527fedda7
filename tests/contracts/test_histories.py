"""What owners may expect of a journal: the database's, and the one on paper."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from commands.ports import Begun, Histories, HistoryAway, HistoryDamaged, Reached, Since
from events.admission import Fence
from events.records import RawRecord
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.history import PostgresHistories
from infra.adapters.postgres.store import PostgresStore
from projections.journal import JOURNAL
from projections.ports import Advance, Checkpoint, Writes, named
from projections.ports import Place as ProjectedPlace
from tests.commands.ownership.desk import OFF, ON, PLACE, Desk, command_id, stream
from tests.paper_journal import PaperJournal
from tests.paper_log import PaperKafka, PaperLog

ONE, TWO = stream("one").key, stream("two").key


@pytest.fixture
def kafka() -> PaperKafka:
    """Two streams, a command that changed nothing, and what a superseded owner left."""
    kafka = PaperKafka()
    log = kafka.partition(PLACE)
    desk, zombie = Desk(log, "a"), Desk(log, "z")
    zombie.claim()
    desk.claim()
    desk.ask("first", ON, stream("one"))
    desk.ask("other", ON, stream("two"))
    desk.ask("nothing", ON, stream("one"))
    desk.work()
    zombie.ask("late", OFF, stream("one"))
    log.append(zombie.group().records)
    desk.ask("second", OFF, stream("one"))
    desk.work()
    return kafka


async def journalled(pool: Pool, log: PaperLog, upto: int) -> None:
    """What the runner of the journal writes of a log."""
    store, place = PostgresStore(pool), ProjectedPlace(*log.place)
    mark = (named(JOURNAL), place)
    opened = await store.open([(JOURNAL, place)])
    records = [raw for raw in log.admitted() if raw.offset < upto]
    step = Advance(
        projection=mark[0], place=place, epoch=opened.epochs[mark], seen=opened.checkpoints[mark],
        reached=Checkpoint(upto, last_fence(log)),
    )  # fmt: skip
    await store.write(Writes(advances=[step], journal=records))


def last_fence(log: PaperLog) -> Fence:
    header = log.admitted()[-1].header
    assert header is not None
    return Fence(header.term, header.claim_id)


Journalling = Callable[[int], Awaitable[Histories]]


@pytest.fixture(params=["postgres", "paper"])
async def journal(request: pytest.FixtureRequest, kafka: PaperKafka, database: str) -> AsyncIterator[Journalling]:
    """A journal that has come to an offset."""
    if request.param == "paper":

        async def on_paper(upto: int) -> Histories:
            paper = PaperJournal(kafka)
            paper.stops_at = upto
            return paper

        yield on_paper
        return
    async with connected(database, purpose="test") as pool:

        async def in_the_database(upto: int) -> Histories:
            await journalled(pool, kafka.partition(PLACE), upto)
            return PostgresHistories(pool)

        yield in_the_database


def versions(records: object) -> list[tuple[int, int]]:
    assert isinstance(records, list)
    return [(raw.offset, raw.header.version) for raw in records]


class TestHistories:
    async def test_say_how_far_they_are(self, journal: Journalling, kafka: PaperKafka) -> None:
        log = kafka.partition(PLACE)
        histories = await journal(len(log.records))
        assert await histories.reached(PLACE) == Reached(len(log.records), last_fence(log), log.records[-1].timestamp_ms)

    async def test_give_a_streams_events_and_receipts_in_order(self, journal: Journalling, kafka: PaperKafka) -> None:
        log = kafka.partition(PLACE)
        history = await (await journal(len(log.records))).load(PLACE, {ONE: Since(), TWO: Since(), stream("none").key: Since()})
        assert history.reached[:2] == (len(log.records), last_fence(log))
        assert versions(history.records[ONE]) == [(2, 1), (4, 1), (6, 2)]
        assert versions(history.records[TWO]) == [(3, 1)]
        assert not history.records.get(stream("none").key)
        assert history.records[ONE][0] == log.records[2]

    async def test_give_only_what_came_since(self, journal: Journalling) -> None:
        history = await (await journal(7)).load(PLACE, {ONE: Since(2, 1)})
        assert versions(history.records[ONE]) == [(4, 1), (6, 2)]

    async def test_give_nothing_beyond_what_they_say(self, journal: Journalling) -> None:
        history = await (await journal(5)).load(PLACE, {ONE: Since()})
        assert (history.reached.offset, versions(history.records[ONE])) == (5, [(2, 1), (4, 1)])

    async def test_know_what_became_of_a_command(self, journal: Journalling, kafka: PaperKafka) -> None:
        histories = await journal(7)
        found = await histories.answered(PLACE, ONE, command_id("nothing"))
        assert (found.reached.offset, found.record) == (7, kafka.partition(PLACE).records[4])
        assert (await histories.answered(PLACE, TWO, command_id("nothing"))).record is None
        assert (await histories.answered(PLACE, ONE, command_id("late"))).record is None

    async def test_tell_which_streams_begin_where(self, journal: Journalling, kafka: PaperKafka) -> None:
        end = len(kafka.partition(PLACE).records)
        histories = await journal(end)
        assert await histories.begun(PLACE, 0, end, 100) == Begun([ONE, TWO], end)
        assert await histories.begun(PLACE, 0, 3, 100) == Begun([ONE], 3)
        assert await histories.begun(PLACE, 3, end, 100) == Begun([TWO], end)
        told = 0
        keys: list[bytes] = []
        while told < end:
            # A record that begins nothing may be all of a piece.
            piece = await histories.begun(PLACE, told, end, 1)
            keys, told = [*keys, *piece.keys], piece.told
        assert keys == [ONE, TWO]

    async def test_tell_no_more_of_beginnings_than_they_have(self, journal: Journalling) -> None:
        assert await (await journal(3)).begun(PLACE, 0, 7, 100) == Begun([ONE], 3)


class TestPostgres:
    @pytest.fixture
    async def pool(self, database: str) -> AsyncIterator[Pool]:
        async with connected(database, purpose="test") as pool:
            yield pool

    async def test_says_that_there_is_no_journal_yet(self, pool: Pool) -> None:
        with pytest.raises(HistoryAway, match="no journal"):
            await PostgresHistories(pool).reached(PLACE)

    async def test_says_that_it_does_not_know_a_partition(self, pool: Pool, kafka: PaperKafka) -> None:
        await journalled(pool, kafka.partition(PLACE), 7)
        with pytest.raises(HistoryAway, match=r"flags\.v1/7"):
            await PostgresHistories(pool).load(PLACE._replace(partition=7), {ONE: Since()})

    async def test_says_that_it_is_away(self, pool: Pool) -> None:
        pool.terminate()
        with pytest.raises(HistoryAway, match="away"):
            await PostgresHistories(pool).reached(PLACE)

    async def test_says_so_when_the_database_has_something_against_it(self, pool: Pool, kafka: PaperKafka) -> None:
        await journalled(pool, kafka.partition(PLACE), 7)
        await pool.execute("ALTER VIEW v_journal_v1.hot RENAME COLUMN leaf TO leaves")
        with pytest.raises(HistoryAway, match="leaf"):
            await PostgresHistories(pool).load(PLACE, {ONE: Since()})

    async def test_does_not_hand_out_what_somebody_changed(self, pool: Pool, kafka: PaperKafka) -> None:
        await journalled(pool, kafka.partition(PLACE), 7)
        changed: RawRecord = kafka.partition(PLACE).records[2]
        await pool.execute('UPDATE p_journal_v1.journal SET value = value || $1 WHERE "offset" = $2', b"!", changed.offset)
        with pytest.raises(HistoryDamaged, match="/2 is not"):
            await PostgresHistories(pool).load(PLACE, {ONE: Since()})

    async def test_finds_a_stream_by_an_index_also_in_a_journal_made_before_there_was_one(self, pool: Pool, kafka: PaperKafka) -> None:
        await journalled(pool, kafka.partition(PLACE), 7)
        await pool.execute("DROP INDEX p_journal_v1.journal_by_stream")
        await PostgresStore(pool).open([(JOURNAL, ProjectedPlace(*PLACE))])
        found = await pool.fetchval("SELECT count(*) FROM pg_indexes WHERE schemaname = 'p_journal_v1' AND indexname = 'journal_by_stream'")
        assert found == 1

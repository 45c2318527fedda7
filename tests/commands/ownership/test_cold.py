"""Streams that are not in memory: where they come from, what waits for them, and what does not."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from commands.decider import Decider
from commands.dispatch import CommandIdReused, Committed, LogUnavailable
from commands.flags import SetFlag
from commands.ownership.appending import Ticket, World
from commands.ownership.groups import Submission
from commands.ownership.loading import LoadingPatience
from commands.ownership.memory import DEFAULT_BOUNDS, Bounds, Room
from commands.ownership.owner import Owner
from commands.ownership.partition import OwnedPartition, Patience
from commands.ownership.remembering import WINDOW
from commands.ownership.streams import Streams
from commands.ports import Claim, LogAway, Place
from events.headers import Kind
from events.records import RawRecord
from tests.commands.ownership.desk import CODEC, DECIDERS, ON, PLACE, Desk, order, stream
from tests.commands.ownership.test_partition import Register
from tests.paper_journal import PaperJournal
from tests.paper_log import PaperKafka

LOADING = LoadingPatience(journal_seconds=0.1, again_seconds=0.005, refresh_seconds=0.01, schema_seconds=0.05, whole_records=0)


class ReadKafka(PaperKafka):
    """Notes from where it was read, and stumbles where a test wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.scans_fail = False
        self.scan_gate = asyncio.Event()
        self.scan_gate.set()

    async def read(self, place: Place, start: int, stop: int) -> AsyncGenerator[Sequence[RawRecord], None]:
        self.reads.append(start)
        if start == 0:
            await self.scan_gate.wait()
            if self.scans_fail:
                raise LogAway("paper cannot be read")
        async for part in super().read(place, start, stop):
            yield part


@pytest.fixture
def kafka() -> ReadKafka:
    return ReadKafka()


@pytest.fixture
def journal(kafka: ReadKafka) -> PaperJournal:
    return PaperJournal(kafka)


def variant(name: str) -> SetFlag:
    return SetFlag(enabled=True, variant=name)


def write(kafka: PaperKafka, *names: str) -> None:
    """Somebody wrote a fact on each of these streams, and is gone."""
    begun = len(kafka.partition(PLACE).records)
    desk = Desk(kafka.partition(PLACE), f"w{begun}")
    desk.claim()
    for number, name in enumerate(names, begun):
        desk.ask(f"w{number}", variant(str(number)), stream(name))
        desk.work()


def claim_at(offset: int) -> Claim:
    """The claim that will be written next, as others hear of it."""
    return Claim(2, f"w{offset}1".encode().ljust(16, b"."), "w.test", offset)


class Office:
    """One partition at work."""

    def __init__(self, partition: OwnedPartition, flags: Decider[Any, Any, Any]) -> None:
        self.partition = partition
        self.streams = partition.owner.streams
        self._flags = flags

    def ask(self, name: str, at: str = "one", command: object = ON, body: str = "") -> asyncio.Future[Committed]:
        answer: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        ticket = Ticket(answer, asyncio.get_running_loop().time() + 5)
        self.partition.submit(Submission(self._flags, stream(at), command, order(name, body), None, ticket))
        return answer


@asynccontextmanager
async def office(
    kafka: PaperKafka,
    journal: PaperJournal | None,
    bounds: Bounds = DEFAULT_BOUNDS,
    loading: LoadingPatience = LOADING,
    known: Claim | None = None,
    deciders: Mapping[str, Decider[Any, Any, Any]] = DECIDERS,
) -> AsyncIterator[Office]:
    ids = count(1)
    world = World(
        log=kafka,
        schemas=Register(kafka),
        now_ms=lambda: 1_000,
        draw=lambda length: next(ids).to_bytes(2, "big").rjust(length, b"x")[-length:],
        histories=journal,
    )
    owner = Owner(PLACE, Streams(deciders, CODEC, Room(bounds)), "here")
    partition = OwnedPartition(owner, world, Patience(loading=loading), lambda _: None, known=lambda _: known)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(partition.run())
        partition.assign()
        await partition.started
        yield Office(partition, deciders["flags"])
        partition.stop()


def events(kafka: PaperKafka, name: str) -> int:
    admitted = kafka.partition(PLACE).admitted()
    return sum(raw.key == stream(name).key and raw.header is not None and raw.header.kind is Kind.EVENT for raw in admitted)


class TestClaim:
    async def test_reads_only_what_the_journal_does_not_have(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two", "one")
        journal.stops_at = 2
        async with office(kafka, journal) as at_work:
            assert kafka.reads[0] == 2
            assert at_work.partition.owner.fence.term == 2
            assert (await at_work.ask("next", "one", variant("next"))).version == 3

    async def test_reads_everything_where_little_was_written(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two")
        async with office(kafka, journal, loading=replace(LOADING, whole_records=100)) as at_work:
            assert kafka.reads[0] == 0
            assert (await at_work.ask("next", "one", variant("next"))).version == 2
        assert journal.loads == []

    async def test_reads_everything_where_the_journal_is_away(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two")
        journal.away = True
        async with office(kafka, journal) as at_work:
            assert kafka.reads[0] == 0
            assert (await at_work.ask("next", "one", variant("next"))).version == 2

    @pytest.mark.parametrize("journal_at", [None, 1])
    async def test_begins_at_the_last_claim_where_the_journal_is_away_or_far_behind(
        self, kafka: ReadKafka, journal: PaperJournal, journal_at: int | None
    ) -> None:
        write(kafka, *["one"] * 10)
        claim = claim_at(len(kafka.partition(PLACE).records))
        write(kafka, "two")
        journal.away, journal.stops_at = journal_at is None, journal_at
        async with office(kafka, journal, loading=replace(LOADING, far_records=5), known=claim) as at_work:
            assert kafka.reads == [claim.offset, claim.offset + 1]
            assert at_work.partition.owner.fence.term == 3
            assert (await at_work.ask("next", "one", variant("next"))).version == 11
            assert (await at_work.ask("next", "two", variant("next"))).version == 2

    @pytest.mark.parametrize("wrong", ["offset", "claim", "kind", "beyond"])
    async def test_believes_no_claim_that_does_not_lie_where_it_should(self, kafka: ReadKafka, journal: PaperJournal, wrong: str) -> None:
        write(kafka, *["one"] * 10)
        claim = claim_at(len(kafka.partition(PLACE).records))
        write(kafka, "two")
        match wrong:
            case "offset" | "kind":
                claim = claim._replace(offset=claim.offset + (1 if wrong == "kind" else -1))
            case "claim":
                claim = claim._replace(claim_id=b"x" * 16)
            case "beyond":
                claim = claim._replace(offset=99)
        journal.away = True
        async with office(kafka, journal, loading=replace(LOADING, far_records=5, start_seconds=0.01), known=claim) as at_work:
            assert (at_work.partition.owner.fence.term, at_work.streams.horizon) == (3, 0)

    async def test_keeps_time_from_running_backwards(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        log = kafka.partition(PLACE)
        desk = Desk(log, "w")
        desk.now_ms = 5_000
        desk.claim()
        desk.ask("first", ON, stream("one"))
        desk.work()
        async with office(kafka, journal) as at_work:
            await at_work.ask("next", "one", variant("next"))
        assert [raw.timestamp_ms for raw in log.records] == sorted(raw.timestamp_ms for raw in log.records)


class TestLoad:
    async def test_serves_all_who_wait_with_one_query(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, *[f"s{number}" for number in range(20)])
        async with office(kafka, journal) as at_work:
            answers = [at_work.ask(f"c{number}", f"s{number}", variant("new")) for number in range(20)]
            assert {(await answer).version for answer in answers} == {2}
        assert [len(load) for load in journal.loads] == [20]
        assert at_work.streams.loads == {"journal": 20}

    async def test_keeps_the_order_of_a_streams_commands(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one")
        async with office(kafka, journal) as at_work:
            answers = [at_work.ask(f"c{number}", "one", variant(f"v{number}")) for number in range(5)]
            await asyncio.sleep(0)
            answers += [at_work.ask(f"c{number}", "one", variant(f"v{number}")) for number in range(5, 8)]
            assert [(await answer).version for answer in answers] == list(range(2, 10))

    async def test_delays_no_stream_that_is_here(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one")
        async with office(kafka, journal, loading=replace(LOADING, journal_seconds=30)) as at_work:
            at_work.streams.minted(stream("here").key)
            journal.stops_at = 0
            cold = at_work.ask("cold", "one", variant("new"))
            assert (await at_work.ask("hot", "here")).version == 1
            assert not cold.done()
            journal.stops_at = None
            assert (await cold).version == 2

    async def test_of_a_stream_that_nobody_wrote_finds_it_empty(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one")
        async with office(kafka, journal) as at_work:
            assert (await at_work.ask("first", "new")).version == 1

    async def test_waits_for_a_journal_that_is_a_little_behind(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two", "one")
        async with office(kafka, journal) as at_work:
            journal.stops_at = 2
            cold = at_work.ask("next", "one", variant("new"))
            while not journal.loads:
                await asyncio.sleep(0)
            journal.stops_at = None
            assert (await cold).version == 3
        assert at_work.streams.loads == {"journal": 1}

    async def test_reads_the_partition_once_for_all_when_the_journal_is_away(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two", "one")
        async with office(kafka, journal) as at_work:
            journal.away = True
            answers = [at_work.ask(name, name, variant("new")) for name in ("one", "two", "three")]
            assert [(await answer).version for answer in answers] == [3, 2, 1]
        assert kafka.reads.count(0) == 1
        assert at_work.streams.loads == {"partition": 3}

    async def test_reads_the_partition_when_the_journal_is_far_behind_or_damaged(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two", "one")
        async with office(kafka, journal) as at_work:
            journal.stops_at = 1
            assert (await at_work.ask("a", "one", variant("new"))).version == 3
            journal.stops_at, journal.damaged = None, True
            assert (await at_work.ask("b", "two", variant("new"))).version == 2
        assert at_work.streams.loads == {"partition": 2}

    async def test_does_not_drop_what_others_wrote_while_it_was_read(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two")
        async with office(kafka, journal) as at_work:
            journal.away = True
            kafka.scan_gate.clear()
            cold = at_work.ask("next", "one", variant("new"))
            while 0 not in kafka.reads:
                await asyncio.sleep(0)
            write(kafka, "one")
            # The owner finds out with its next commit, and claims the partition again.
            at_work.streams.minted(stream("here").key)
            with pytest.raises(LogUnavailable):
                await at_work.ask("lost", "here")
            at_work.partition.at_peace()
            at_work.partition.assign()
            again = at_work.ask("again", "one", variant("newest"))
            kafka.scan_gate.set()
            with pytest.raises(LogUnavailable):
                await cold
            assert (await again).version == 3

    async def test_that_cannot_be_had_is_said(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one")
        async with office(kafka, journal) as at_work:
            journal.away = kafka.scans_fail = True
            with pytest.raises(LogUnavailable, match="cannot be read"):
                await at_work.ask("next", "one", variant("new"))
            journal.away = False
            assert (await at_work.ask("next", "one", variant("new"))).version == 2

    async def test_that_takes_too_long_is_said_and_comes_all_the_same(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one")
        async with office(kafka, journal, loading=replace(LOADING, journal_seconds=30)) as at_work:
            journal.stops_at = 0
            cold = at_work.ask("next", "one", variant("new"))
            while not journal.loads:
                await asyncio.sleep(0)
            at_work.partition.sweep(asyncio.get_running_loop().time() + 6)
            with pytest.raises(LogUnavailable, match="in time"):
                await cold
            journal.stops_at = None
            assert (await at_work.ask("next", "one", variant("new"))).version == 2
        assert events(kafka, "one") == 2

    async def test_that_meets_an_unknown_kind_of_fact_refuses_that_stream_alone(
        self, kafka: ReadKafka, journal: PaperJournal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(kafka, "one", "two")
        log = kafka.partition(PLACE)
        place = next(offset for offset, raw in enumerate(log.records) if raw.key == stream("one").key)
        log.records[place] = log.records[place]._replace(value=b"\xc3\x01newer...body")
        monkeypatch.setattr(Register, "learn", never)
        async with office(kafka, journal) as at_work:
            with pytest.raises(LogUnavailable, match="cannot decide about the stream") as refused:
                await at_work.ask("a", "one", variant("new"))
            assert refused.value.retry_after_ms == 5_000
            assert (await at_work.ask("b", "two", variant("new"))).version == 2


async def never(_self: Register, _marks: object) -> None:
    await asyncio.Event().wait()


class TestMemory:
    async def test_stays_within_its_bounds_and_loses_nothing(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        bounds = Bounds(streams=10, commands=100, tail=10)
        async with office(kafka, journal, bounds) as at_work:
            for round_ in range(3):
                for number in range(60):
                    answer = await at_work.ask(f"c{round_}-{number}", f"s{number}", variant(str(round_)))
                    assert answer.version == round_ + 1
                    assert len(at_work.streams) <= 12
            assert (await at_work.ask("c0-7", "s7", variant("0"))).version == 1
            with pytest.raises(CommandIdReused):
                await at_work.ask("c0-7", "s7", variant("0"), body="another")

    async def test_stays_within_its_bounds_without_a_journal(self, kafka: ReadKafka) -> None:
        async with office(kafka, None, Bounds(streams=10, commands=100, tail=10)) as at_work:
            for round_ in range(2):
                for number in range(20):
                    assert (await at_work.ask(f"c{round_}-{number}", f"s{number}", variant(str(round_)))).version == round_ + 1
            assert len(at_work.streams) <= 12


class TestHorizon:
    async def test_is_what_keeps_an_owner_from_deciding_on_half_a_history(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        """The control: an owner who takes any journal for complete writes version 2 a second time."""
        write(kafka, "one", "two", "one")
        async with office(kafka, journal) as at_work:
            at_work.streams.horizon = 1
            journal.stops_at = 2
            assert (await at_work.ask("next", "one", variant("new"))).version == 2
        versions = [raw.header.version for raw in kafka.partition(PLACE).admitted() if raw.key == stream("one").key and raw.header]
        assert versions == [1, 2, 2]


class TestOldCommand:
    @pytest.mark.parametrize("known_by", ["journal", "partition"])
    async def test_gets_its_first_answer(self, kafka: ReadKafka, journal: PaperJournal, known_by: str) -> None:
        async with office(kafka, journal if known_by == "journal" else None) as at_work:
            at_work.streams.minted(stream("one").key)
            first = await at_work.ask("c0", "one", variant("0"))
            for number in range(1, 2 * WINDOW):
                await at_work.ask(f"c{number}", "one", variant(str(number)))
            # One that is new waits behind it, so that the order is kept.
            again, new = at_work.ask("c0", "one", variant("0")), at_work.ask("new", "one", variant("new"))
            assert await again == first._replace(facts=(), repeated=True)
            assert (await new).version == 2 * WINDOW + 1
            with pytest.raises(CommandIdReused):
                await at_work.ask("c1", "one", variant("1"), body="another")
        assert events(kafka, "one") == 2 * WINDOW + 1

    async def test_is_not_believed_absent_by_a_journal_that_is_behind(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        async with office(kafka, journal) as at_work:
            at_work.streams.minted(stream("one").key)
            first = await at_work.ask("c0", "one", variant("0"))
            for number in range(1, 2 * WINDOW):
                await at_work.ask(f"c{number}", "one", variant(str(number)))
            journal.stops_at = 1
            assert (await at_work.ask("c0", "one", variant("0"))).position == first.position
        assert journal.asked

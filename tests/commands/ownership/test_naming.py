"""A stream that never was is known to be new: its first command waits for no journal and no reading of the log, whoever is away."""

import asyncio
from collections.abc import Callable

import pytest

from commands.dispatch import LogUnavailable
from commands.ownership import naming
from commands.ownership.memory import DEFAULT_BOUNDS, Bounds, Room
from commands.ownership.naming import Names
from commands.ownership.retiring import KEPT
from events.headers import Kind
from tests.commands.ownership.desk import OFF, PLACE, stream
from tests.commands.ownership.test_cold import LOADING, Office, ReadKafka, office, variant, write
from tests.commands.ownership.test_retiring import DECIDERS
from tests.paper_journal import PaperJournal
from tests.paper_log import PaperKafka

MANY = 4 * KEPT


@pytest.fixture
def kafka() -> ReadKafka:
    return ReadKafka()


@pytest.fixture
def journal(kafka: ReadKafka) -> PaperJournal:
    return PaperJournal(kafka)


async def until(come: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not come():
            await asyncio.sleep(0.001)


async def ended(at_work: Office, count: int = MANY) -> None:
    """As many streams end as it takes for the first to leave memory."""
    for number in range(count):
        await at_work.ask(f"off{number}", f"ended{number}", OFF)
    await until(lambda: at_work.streams.get(stream("ended0").key) is None)


def versions(kafka: PaperKafka, name: str) -> list[int]:
    admitted = [raw for raw in kafka.partition(PLACE).admitted() if raw.key == stream(name).key]
    return [raw.header.version for raw in admitted if raw.header is not None and raw.header.kind is Kind.EVENT]


class TestNames:
    def test_has_whatever_was_added_and_little_else(self) -> None:
        room = Room()
        names = Names(room)
        keys = [stream(f"one-{number}").key for number in range(20_000)]
        for key in (*keys, *keys[::7]):
            names.add(key)
        assert all(key in names for key in keys)
        assert not any(stream(f"other-{number}").key in names for number in range(5_000))
        assert (names.count, room.names) == (len(keys), len(keys))
        assert names.size_bytes < 10 * len(keys)

    def test_that_are_too_many_are_no_longer_counted_on(self) -> None:
        room = Room(Bounds(names=10))
        here, there = Names(room), Names(room)
        there.add(b"there")
        for number in range(20):
            here.add(stream(str(number)).key)
        assert (here.whole, there.whole, room.names) == (False, True, 1)


class TestNewStream:
    @pytest.mark.parametrize("remembered", [True, False])
    async def test_is_decided_without_any_reading_after_others_were_put_out(
        self, kafka: ReadKafka, journal: PaperJournal, *, remembered: bool
    ) -> None:
        """The control: who remembers no names has to look, and nobody is there to ask."""
        bounds = DEFAULT_BOUNDS if remembered else Bounds(names=1)
        async with office(kafka, journal, bounds, deciders=DECIDERS) as at_work:
            await ended(at_work)
            assert at_work.streams.horizon > 0
            journal.away = kafka.scans_fail = True
            loads, reads = len(journal.loads), len(kafka.reads)
            if not remembered:
                with pytest.raises(LogUnavailable, match="cannot be read"):
                    await at_work.ask("first", "new")
                return
            assert (await at_work.ask("first", "new")).version == 1
            assert (await at_work.ask("second", "new", variant("second"))).version == 2
            assert (len(journal.loads), len(kafka.reads)) == (loads, reads)
            assert at_work.streams.loads.keys() == {"new"}

    @pytest.mark.parametrize("away", [False, True])
    async def test_is_none_that_ended_and_is_asked_for_late(self, kafka: ReadKafka, journal: PaperJournal, *, away: bool) -> None:
        async with office(kafka, journal, deciders=DECIDERS) as at_work:
            await ended(at_work)
            journal.away = away
            assert (await at_work.ask("late", "ended0", variant("late"))).version == 2
            assert (await at_work.ask("off0", "ended0", OFF)).version == 1
            assert at_work.streams.loads["partition" if away else "journal"] == 1

    async def test_would_be_taken_for_one_that_ended_but_for_its_name(
        self, kafka: ReadKafka, journal: PaperJournal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control: an owner that notes no names begins the stream a second time."""
        monkeypatch.setattr(Names, "add", lambda _self, _key: None)
        async with office(kafka, journal, deciders=DECIDERS) as at_work:
            await ended(at_work)
            assert (await at_work.ask("late", "ended0", variant("late"))).version == 1
        assert versions(kafka, "ended0") == [1, 1]


class TestOwnerThatBeganInTheMiddle:
    async def test_has_the_journal_tell_what_was_before(
        self, kafka: ReadKafka, journal: PaperJournal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(naming, "_PAGE", 3)
        write(kafka, *[f"s{number % 20}" for number in range(40)])
        async with office(kafka, journal) as at_work:
            assert at_work.streams.horizon > 0
            await until(lambda: at_work.streams.names.whole)
            assert len(journal.told_from) > 10
            assert at_work.streams.names.count == 20
            journal.away = kafka.scans_fail = True
            reads = len(kafka.reads)
            assert (await at_work.ask("first", "new")).version == 1
            assert len(kafka.reads) == reads
            journal.away = False
            assert (await at_work.ask("next", "s7", variant("next"))).version == 3

    async def test_goes_on_once_the_journal_has_come_as_far(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two", "three")
        async with office(kafka, journal) as at_work:
            journal.away, journal.stops_at = False, 2
            streams = at_work.streams
            streams.names = Names(streams.room, 4)
            await until(lambda: streams.names.told == 2)
            assert not streams.is_new(stream("new").key)
            journal.stops_at = None
            await until(lambda: streams.is_new(stream("new").key))
            assert not streams.is_new(stream("three").key)

    async def test_reads_the_partition_once_where_the_journal_is_away(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one", "two", "one")
        async with office(kafka, journal) as at_work:
            journal.away = True
            at_work.streams.names = Names(at_work.streams.room, at_work.streams.horizon)
            assert (await at_work.ask("first", "new")).version == 1
            assert kafka.reads.count(0) == 1
            for number in range(5):
                assert (await at_work.ask(f"first{number}", f"new{number}")).version == 1
            assert kafka.reads.count(0) == 1
            assert (await at_work.ask("next", "two", variant("next"))).version == 2

    async def test_keeps_the_order_of_a_streams_commands_while_it_learns(self, kafka: ReadKafka, journal: PaperJournal) -> None:
        write(kafka, "one")
        async with office(kafka, journal, loading=LOADING) as at_work:
            streams = at_work.streams
            streams.names = Names(streams.room, 1 << 40)
            kafka.scan_gate.clear()
            journal.away = True
            first = at_work.ask("first", "new", variant("first"))
            await until(lambda: 0 in kafka.reads)
            # Now it is known that there is nothing to wait for.
            streams.names = Names(streams.room)
            second, other = at_work.ask("second", "new", variant("second")), at_work.ask("other", "other")
            assert (await other).version == 1
            assert not second.done()
            kafka.scan_gate.set()
            assert [(await first).version, (await second).version] == [1, 2]

"""Owners at work on a real broker: taking over, being taken over, and answering the same to a repeat."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from commands.decider import NotFound
from commands.dispatch import CommandIdReused, Committed, CommitTooLarge, ExpectedVersionMismatch, LogUnavailable, UnknownCategory
from commands.flags import FLAGS, RemoveFlag, SetFlag
from commands.ownership.partition import Patience
from commands.routing.owners import Owners
from events.admission import Verdict
from events.flags import FlagSet
from events.headers import Kind
from events.recorded import Recorded
from events.records import RawRecord, recorded
from events.registry import Fact
from events.streams import StreamId
from infra.adapters.kafka.writer import KafkaLog
from tests.kafka_corner import Corner, admitted, corner, everything, order, stream, streams_on

ON = SetFlag(enabled=True, variant="on")
OFF = SetFlag(enabled=False, variant="off")
# A superseded owner that claims again at once: its tests shall not wait.
EAGER = Patience(superseded_seconds=0.05, superseded_most_seconds=0.1)


@pytest.fixture
async def here(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


@pytest.fixture
async def log(here: Corner) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(here.bootstrap) as log:
        yield log


@pytest.fixture
async def owners(here: Corner, log: KafkaLog) -> AsyncIterator[Owners]:
    async with here.owners(log) as owners:
        yield owners


async def insist(owners: Owners, name: str, command: object, at: StreamId | None = None) -> Committed:
    """Send a command as callers do: again while the answer is "try again"."""
    while True:
        try:
            return await owners(FLAGS, at or stream(), command, order(name))
        except LogUnavailable as away:
            await asyncio.sleep(away.retry_after_ms / 1000)


class TestCommand:
    async def test_is_on_the_log_when_it_is_answered(self, owners: Owners, here: Corner, log: KafkaLog) -> None:
        committed = await owners(FLAGS, stream(), ON, order("first"))
        reader = here.reader(log)
        (raw,) = [raw for raw in await admitted(reader, here.flags) if raw.header is not None and raw.header.kind is Kind.EVENT]
        assert (recorded(raw, reader.codec),) == committed.facts
        assert committed.facts[0].fact == FlagSet(enabled=True, variant="on")
        assert committed.position.offset == raw.offset

    async def test_meets_the_stream_as_the_ones_before_it_left_it(self, owners: Owners) -> None:
        assert (await owners(FLAGS, stream(), ON, order("first"), expected_version=0)).version == 1
        assert (await owners(FLAGS, stream(), OFF, order("second"), expected_version=1)).version == 2
        with pytest.raises(ExpectedVersionMismatch) as conflict:
            await owners(FLAGS, stream(), ON, order("third"), expected_version=1)
        assert (conflict.value.expected, conflict.value.found) == (1, 2)

    async def test_that_is_refused_says_why_and_leaves_no_fact(self, owners: Owners, here: Corner, log: KafkaLog) -> None:
        with pytest.raises(NotFound):
            await owners(FLAGS, stream(), RemoveFlag(), order("first"))
        kinds = [raw.header.kind for raw in await admitted(here.reader(log), here.flags) if raw.header is not None]
        assert kinds == [Kind.BARRIER]

    async def test_that_is_too_large_is_refused_before_it_is_sent(self, owners: Owners, here: Corner, log: KafkaLog) -> None:
        with pytest.raises(CommitTooLarge):
            await owners(FLAGS, stream(), SetFlag(enabled=True, variant="on", description="x" * 2_000_000), order("first"))
        assert await admitted(here.reader(log), here.flags) == []

    async def test_of_a_stream_that_nobody_decides_about_is_refused(self, owners: Owners) -> None:
        with pytest.raises(UnknownCategory):
            await owners(FLAGS, StreamId("AYB-TEST-TEST-TEST", "clouds", "one"), ON, order("first"))

    async def test_is_one_of_many_at_once(self, owners: Owners, here: Corner, log: KafkaLog) -> None:
        async def caller(number: int) -> list[Committed]:
            at = stream(f"s{number % 20}")
            return [await owners(FLAGS, at, (ON, OFF)[turn % 2], order(f"c{number}t{turn}")) for turn in range(10)]

        async with asyncio.TaskGroup() as tasks:
            callers = [tasks.create_task(caller(number)) for number in range(60)]
        positions = {str(committed.position) for caller in callers for committed in caller.result()}
        assert len(positions) == 600
        assert len(await admitted(here.reader(log), here.flags)) == 600


class TestRepeat:
    async def test_gets_the_first_answer_after_a_restart(self, here: Corner, log: KafkaLog) -> None:
        async with here.owners(log) as owners:
            first = await owners(FLAGS, stream(), ON, order("first"))
        async with here.owners(log) as owners:
            again = await owners(FLAGS, stream(), ON, order("first"))
            assert (again.position, again.version, again.repeated) == (first.position, first.version, True)
            with pytest.raises(CommandIdReused):
                await owners(FLAGS, stream(), ON, order("first", body="another"))

    async def test_of_a_command_that_changed_nothing_still_changes_nothing_after_a_take_over(self, here: Corner, log: KafkaLog) -> None:
        async with here.owners(log) as owners:
            await owners(FLAGS, stream(), ON, order("first"))
            receipt = await owners(FLAGS, stream(), ON, order("second"))
            await owners(FLAGS, stream(), OFF, order("third"))
        async with here.owners(log) as owners:
            again = await owners(FLAGS, stream(), ON, order("second"))
            assert (again.position, again.version) == (receipt.position, 1)
            assert (await owners(FLAGS, stream(), OFF, order("fourth"))).version == 2

    async def test_at_the_same_moment_is_one_command(self, owners: Owners, here: Corner, log: KafkaLog) -> None:
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(owners(FLAGS, stream(), ON, order("first"))) for _ in range(2)]
        assert len({str(each.result().position) for each in both}) == 1
        assert len(await admitted(here.reader(log), here.flags)) == 1


class TestRival:
    async def test_supersedes_and_is_superseded_and_nothing_is_lost(self, here: Corner, log: KafkaLog) -> None:
        async with KafkaLog(here.bootstrap) as other, here.owners(log, EAGER, "a") as a, here.owners(other, EAGER, "b") as b:
            answers = [await insist((a, b)[turn % 2], f"turn{turn}", (ON, OFF)[turn % 2]) for turn in range(6)]
            assert [committed.version for committed in answers] == [1, 2, 3, 4, 5, 6]
            terms = [committed.position.fence.term for committed in answers]
            assert terms == sorted(set(terms))

    async def test_finds_the_superseded_owners_late_commit_dropped_by_every_reader(self, here: Corner, log: KafkaLog) -> None:
        async with KafkaLog(here.bootstrap) as other, here.owners(log, name="a") as a, here.owners(other, name="b") as b:
            # Owner a does not know yet that b has claimed after it.
            with pytest.raises(LogUnavailable, match="another owner"):
                await a(FLAGS, stream(), ON, order("zombie"))
            await b(FLAGS, stream(), OFF, order("true"))
            reader = here.reader(log)
            facts = [recorded(raw, reader.codec).fact for raw in await admitted(reader, here.flags)]
            assert facts == [FlagSet(enabled=False, variant="off")]
            # Without the fence it would count: the record is there.
            place = here.place(stream())
            events = [raw for raw in await everything(log, place) if is_event(raw)]
            assert recorded(events[0], reader.codec).fact == FlagSet(enabled=True, variant="on")
            assert reader.counts[place][Verdict.SUPERSEDED] == 1
            (lost,) = [each for each in a.ownerships() if each.place == place]
            assert (lost.owned, lost.superseded_at) == (False, 1)

    async def test_shares_the_work_under_load_without_a_commit_lost_or_doubled(self, here: Corner, log: KafkaLog) -> None:
        streams = streams_on(2, 5)

        async def caller(owners: Owners, name: str) -> list[tuple[StreamId, Committed]]:
            return [(at, await insist(owners, f"{name}{turn}{at.id}", (ON, OFF)[turn % 2], at)) for turn in range(4) for at in streams]

        async with (
            KafkaLog(here.bootstrap) as other,
            here.owners(log, EAGER, "a") as a,
            here.owners(other, EAGER, "b") as b,
            asyncio.TaskGroup() as tasks,
        ):
            callers = [tasks.create_task(caller((a, b)[number % 2], f"c{number}")) for number in range(6)]
        taken = {(raw.key, raw.offset): raw for raw in await admitted(here.reader(log), here.flags)}
        for each in callers:
            for at, committed in each.result():
                raw = taken[at.key, committed.position.offset]
                assert raw.header is not None
                assert raw.header.version == committed.version
        for at in streams:
            versions = [raw.header.version for raw in taken.values() if raw.key == at.key and raw.header is not None and is_event(raw)]
            assert versions == list(range(1, len(versions) + 1))


def is_event(raw: RawRecord) -> bool:
    return raw.header is not None and raw.header.kind is Kind.EVENT


class TestWatch:
    async def test_is_told_of_every_fact_in_order(self, owners: Owners) -> None:
        told: list[Recorded[Fact]] = []
        end = owners.watch(stream(), told.append)
        committed = [await owners(FLAGS, stream(), (ON, OFF)[turn % 2], order(f"turn{turn}")) for turn in range(4)]
        await owners(FLAGS, stream("another"), ON, order("another"))
        end()
        await owners(FLAGS, stream(), RemoveFlag(), order("unheard"))
        assert told == [fact for each in committed for fact in each.facts]

    async def test_is_told_of_what_another_owner_did_meanwhile(self, here: Corner, log: KafkaLog) -> None:
        async with KafkaLog(here.bootstrap) as other, here.owners(log, EAGER, "a") as a:
            told: list[Recorded[Fact]] = []
            a.watch(stream(), told.append)
            async with here.owners(other, EAGER, "b") as b:
                first = await b(FLAGS, stream(), ON, order("first"))
            second = await insist(a, "second", OFF)
            assert told == [*first.facts, *second.facts]


class TestStop:
    async def test_releases_every_partition(self, here: Corner, log: KafkaLog) -> None:
        async with here.owners(log):
            pass
        for partition in range(here.partitions):
            last = (await everything(log, here.place(streams_on(partition, 1)[0])))[-1]
            assert last.header is not None
            assert last.header.kind is Kind.RELEASE

    async def test_answers_what_was_asked_before_it(self, here: Corner, log: KafkaLog) -> None:
        async with here.owners(log) as owners:
            asked = [asyncio.ensure_future(owners(FLAGS, stream(), ON, order(f"c{number}"))) for number in range(5)]
            await asyncio.sleep(0)
        assert [committed.version for committed in await asyncio.gather(*asked)] == [1] * 5
        with pytest.raises(LogUnavailable, match="stopping"):
            await owners(FLAGS, stream(), ON, order("late"))

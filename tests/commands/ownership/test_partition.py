"""The owner's loop: what callers are told while the log misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count

import pytest

from commands.decider import NotFound
from commands.dispatch import CommitInDoubt, Committed, LogUnavailable
from commands.flags import FLAGS, RemoveFlag, SetFlag
from commands.ownership.appending import World
from commands.ownership.partition import Patience
from commands.ownership.streams import CannotOwn
from commands.ports import Place
from commands.routing.owners import Owners
from events.codec import Codec
from events.headers import Kind
from events.recorded import Recorded
from events.registry import EventType, Fact
from events.rooms import prepared_codec
from events.streams import StreamId
from tests.commands.ownership.desk import DECIDERS, OFF, ON, PLACE, Desk, order, stream
from tests.paper_log import Mishap, PaperKafka

PATIENCE = Patience(answer_seconds=60.0, away_seconds=0.01, superseded_seconds=0.01, queue_commands=3)


class Register:
    """Notes what was registered, and how long the log was then."""

    def __init__(self, kafka: PaperKafka) -> None:
        self.registered: dict[str, int] = {}
        self._kafka = kafka

    async def register(self, kinds: Iterable[EventType]) -> None:
        for kind in kinds:
            self.registered.setdefault(kind.ce_type, len(self._kafka.partition(PLACE).records))

    async def learn(self, marks: Iterable[bytes]) -> None:
        raise AssertionError(f"every schema is known: {list(marks)}")


@pytest.fixture
def kafka() -> PaperKafka:
    return PaperKafka()


@asynccontextmanager
async def owning(
    kafka: PaperKafka, codec: Codec | None = None, register: Register | None = None, patience: Patience = PATIENCE
) -> AsyncIterator[Owners]:
    ids = count(1)
    world = World(
        log=kafka,
        schemas=register or Register(kafka),
        now_ms=lambda: 1_000,
        draw=lambda length: next(ids).to_bytes(2, "big").rjust(length, b"x")[-length:],
    )
    topics = {"flags": (PLACE.topic, 1)}
    async with Owners(topics, DECIDERS, codec or prepared_codec(), world, address="here", patience=patience) as owners:
        yield owners


def ask(owners: Owners, name: str, command: object = ON, at: StreamId | None = None) -> asyncio.Task[Committed]:
    """Hand a command in; it waits for its answer."""
    return asyncio.create_task(owners(FLAGS, at or stream(), command, order(name)))


async def asked(owners: Owners, name: str, command: object = ON) -> asyncio.Task[Committed]:
    """Hand a command in, and return when it is on its way or waits behind one that is."""
    task = ask(owners, name, command)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not true():
            await asyncio.sleep(0)


def kinds(kafka: PaperKafka) -> list[Kind]:
    return [raw.header.kind for raw in kafka.partition(PLACE).records if raw.header is not None]


class TestCommand:
    async def test_goes_out_with_all_that_were_asked_meanwhile(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            kafka.open.clear()
            tasks = [await asked(owners, "first"), ask(owners, "second", OFF), ask(owners, "third", ON)]
            await asyncio.sleep(0)
            kafka.open.set()
            versions = [(await task).version for task in tasks]
        assert versions == [1, 2, 3]
        assert kinds(kafka) == [Kind.CLAIM, Kind.EVENT, Kind.EVENT, Kind.EVENT, Kind.RELEASE]

    async def test_comes_after_its_schema(self, kafka: PaperKafka) -> None:
        register = Register(kafka)
        async with owning(kafka, register=register) as owners:
            await ask(owners, "first")
        assert register.registered == {"partition-claimed.v1": 0, "partition-released.v1": 0, "flag-set.v1": 1}

    async def test_is_turned_away_when_too_many_wait(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            kafka.open.clear()
            sent = await asked(owners, "sent")
            waiting = [await asked(owners, f"waiting{number}") for number in range(3)]
            with pytest.raises(LogUnavailable, match="too many") as full:
                await ask(owners, "refused")
            assert full.value.retry_after_ms == PATIENCE.full_retry_ms
            kafka.open.set()
            assert {(await task).version for task in (sent, *waiting)} == {1}

    async def test_is_answered_in_time_whatever_the_log_does(self, kafka: PaperKafka) -> None:
        async with owning(kafka, patience=replace(PATIENCE, answer_seconds=0.3)) as owners:
            kafka.open.clear()
            begun = kafka.begun
            sent = ask(owners, "sent")
            await until(lambda: kafka.begun > begun)
            waiting = await asked(owners, "waiting")
            with pytest.raises(CommitInDoubt):
                await sent
            with pytest.raises(LogUnavailable, match="in time"):
                await waiting
            kafka.open.set()
            assert (await until_accepted(owners, "sent")).repeated
            assert kinds(kafka).count(Kind.EVENT) == 1

    async def test_whose_caller_left_takes_no_other_with_it(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            kafka.open.clear()
            left, stayed = await asked(owners, "left"), await asked(owners, "stayed", OFF)
            left.cancel()
            with suppress(asyncio.CancelledError):
                await left
            kafka.open.set()
            assert (await stayed).version == 2

    async def test_that_fails_in_its_decider_fails_its_caller_only(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            broken, sound = ask(owners, "broken", SetFlag(enabled=True, variant=7)), ask(owners, "sound")  # type: ignore[arg-type]
            with pytest.raises(AttributeError):
                await broken
            assert (await sound).version == 1


class TestDoubt:
    async def test_is_settled_before_the_caller_hears_of_it(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            kafka.mishaps.append(Mishap.LANDS_UNANSWERED)
            first = await ask(owners, "first")
            second = await ask(owners, "second", OFF)
        assert (first.version, first.position.offset, first.position.fence.term) == (1, 1, 1)
        assert (second.version, second.position.fence.term) == (2, 2)
        assert kafka.severed == [PLACE]

    async def test_ends_in_a_second_attempt_when_nothing_landed(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            kafka.mishaps.append(Mishap.LOST)
            assert (await ask(owners, "first")).position.fence.term == 2
        assert kinds(kafka) == [Kind.CLAIM, Kind.CLAIM, Kind.EVENT, Kind.RELEASE]

    async def test_is_what_an_acknowledgement_without_offset_means(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            kafka.mishaps.append(Mishap.LANDS_WITHOUT_OFFSET)
            assert (await ask(owners, "first")).position.offset == 1
        assert kinds(kafka).count(Kind.EVENT) == 1

    async def test_about_a_claim_is_settled_by_the_next_one(self, kafka: PaperKafka) -> None:
        kafka.mishaps.extend([Mishap.LANDS_UNANSWERED, Mishap.LOST, Mishap.LANDS_WITHOUT_OFFSET])
        async with owning(kafka) as owners:
            assert (await ask(owners, "first")).version == 1

    async def test_covers_refusals_that_rode_on_the_batch(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            kafka.mishaps.append(Mishap.LOST)
            with pytest.raises(NotFound):
                await ask(owners, "remove", RemoveFlag())
        assert kinds(kafka) == [Kind.CLAIM, Kind.CLAIM, Kind.BARRIER, Kind.RELEASE]


class TestLogThatIsAway:
    async def test_is_said_at_once_and_forgiven_when_it_returns(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            kafka.mishaps.append(Mishap.NOT_SENT)
            with pytest.raises(LogUnavailable, match="paper is away") as away:
                await ask(owners, "first")
            assert away.value.retry_after_ms == 10
            assert (await until_accepted(owners, "second")).version == 1
        assert kinds(kafka) == [Kind.CLAIM, Kind.EVENT, Kind.RELEASE]


async def until_accepted(owners: Owners, name: str, command: object = ON) -> Committed:
    """Send a command again while the answer is "try again"."""
    while True:
        try:
            return await ask(owners, name, command)
        except CommitInDoubt:
            continue
        except LogUnavailable as away:
            await asyncio.sleep(away.retry_after_ms / 1000)


class TestRival:
    async def test_takes_over_and_is_taken_over_when_somebody_needs_it(self, kafka: PaperKafka) -> None:
        rival = Desk(kafka.partition(PLACE), "b")
        async with owning(kafka) as owners:
            told: list[Recorded[Fact]] = []
            owners.watch(stream(), told.append)
            await ask(owners, "first", ON)
            rival.claim()
            rival.ask("second", OFF)
            rival.work()
            # Refused until the loss is noticed; then the partition is claimed again.
            assert (await until_accepted(owners, "third", ON)).version == 3
            assert [fact.version for fact in told] == [1, 2, 3]
            (standing,) = owners.ownerships()
            assert (standing.owned, standing.term, standing.superseded_at) == (True, 3, 2)


class TestStart:
    async def test_reads_what_is_there_before_it_returns(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            first = await ask(owners, "first")
        async with owning(kafka) as owners:
            assert (await ask(owners, "first")).position == first.position

    async def test_fails_where_a_history_is_not_understood(self, kafka: PaperKafka) -> None:
        stranger = Desk(kafka.partition(PLACE), "b")
        stranger.claim()
        stranger.ask("first")
        stranger.waiting[-1].key = b"AYB-TEST-TEST-TEST/clouds/one"
        group = stranger.group()
        kafka.partition(PLACE).append(group.records)
        with pytest.raises(CannotOwn, match="clouds"):
            async with owning(kafka):
                pytest.fail("nothing may be decided on half a history")


class TestHistory:
    async def test_that_became_shorter_closes_the_partition_and_leaves_nobody_waiting(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            await ask(owners, "first")
            kafka.partition(PLACE).records.clear()
            with pytest.raises(CommitInDoubt):
                await ask(owners, "second", OFF)
            with pytest.raises(LogUnavailable, match="was expected"):
                await ask(owners, "third")


class TestStop:
    async def test_releases_and_takes_no_more(self, kafka: PaperKafka) -> None:
        async with owning(kafka) as owners:
            pass
        assert kinds(kafka) == [Kind.CLAIM, Kind.RELEASE]
        with pytest.raises(LogUnavailable, match="stopping"):
            await ask(owners, "late")

    async def test_by_cancellation_answers_everyone(self, kafka: PaperKafka) -> None:
        waiting: list[asyncio.Task[Committed]] = []
        begun = asyncio.Event()

        async def work() -> None:
            async with owning(kafka) as owners:
                kafka.open.clear()
                waiting.extend([await asked(owners, "sent"), await asked(owners, "waiting")])
                begun.set()
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        await begun.wait()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        sent, queued = waiting
        with pytest.raises(CommitInDoubt):
            await sent
        with pytest.raises(LogUnavailable):
            await queued

    async def test_of_a_caller_that_failed_leaves_its_own_error(self, kafka: PaperKafka) -> None:
        with pytest.raises(ZeroDivisionError):
            async with owning(kafka):
                raise ZeroDivisionError
        assert kinds(kafka) == [Kind.CLAIM, Kind.RELEASE]


async def test_a_place_is_a_topic_and_a_partition() -> None:
    assert str(Place("aybiza.flags.v1", 3)) == "aybiza.flags.v1/3"

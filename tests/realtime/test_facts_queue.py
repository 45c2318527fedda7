"""What a call tells the log: in order, once, and never in the way of the talk."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from commands.calls.deciding import CALLS
from commands.calls.orders import AnswerCall, EndCall, ReceiveCall, Witness
from commands.consents import GrantConsent, RevokeConsent
from commands.decider import Decider
from commands.dispatch import Committed, Dispatch, Order
from commands.rooms import DECIDERS
from commands.spool.drain import Drain
from commands.spool.spool import Spool, SpoolLimits
from commands.wire import CommandWire
from events.calls.ending import CallEnded, EndedBy, EngineFailure, FactsLost, Stage
from events.calls.late import LateFact
from events.calls.ringing import CallAnswered
from events.consents import ConsentGranted, ConsentRevoked, Purpose
from events.streams import StreamId
from realtime.loop.facts_queue import Accepted, Away, Declined, FactsQueue, Outcome, QueueLimits, Sender
from tests.commands.spool.disk import MemoryDisk
from tests.realtime.scene import sealed
from tests.realtime.world import MemoryLog

WIRE = CommandWire(DECIDERS)
CALL = StreamId("AYB-1", "calls", "call_1")
CONSENTS = StreamId("AYB-1", "consents", "ref")
ANSWER = AnswerCall(stream_sid="MZ1", worker="w", recogniser="r", model_provider="m", voice="v", embedded=True)
GRANT = GrantConsent(subject=sealed("+1"), purpose=Purpose.RECORDING, evidence="x")
END = EndCall(
    reason="goodbye", ended_by=EndedBy.AGENT, stage=Stage.CONVERSATION, billable=True, duration_ms=1, recognition_ms=1
)  # fmt: skip


def failure(n: int) -> Witness:
    return Witness(fact=EngineFailure(turn=n, engine="x", reason="y", at_ms=n))


@pytest.fixture
async def log() -> MemoryLog:
    log = MemoryLog()
    receive = ReceiveCall(
        call_sid="CA1", caller=sealed("+1"), caller_ref="ref", number=sealed("+2"), number_ref="n", agent_id="a", agent_version="1",
        agent_version_hash="h",
    )  # fmt: skip
    order = Order(command_id=b"0" * 16, digest=b"0" * 16, actor="t", occurred_at=datetime.now(UTC))
    await log(CALLS, CALL, receive, order)
    return log


SENDER = Sender(call=CALL, consents=CONSENTS, incarnation="MZ1", actor="worker/w", now=lambda: datetime.now(UTC))


@asynccontextmanager
async def queue(log: MemoryLog, *, capacity: int = 400, decline_after_seconds: float = 0.2) -> AsyncIterator[FactsQueue]:
    facts = FactsQueue(log, SENDER, Counter(), limits=QueueLimits(capacity=capacity, decline_after_seconds=decline_after_seconds))
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(facts.run())
        yield facts
        sending.cancel()


async def outcome(facts: FactsQueue, command: AnswerCall | GrantConsent | RevokeConsent, *, declinable: bool = True) -> Outcome:
    told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    facts.commit(command, told.set_result, declinable=declinable)
    return await told


class TestFactsQueue:
    async def test_sends_in_order_to_the_stream_each_belongs_to(self, log: MemoryLog) -> None:
        async with queue(log) as facts:
            facts.note(ANSWER, essential=True)
            facts.note(failure(1), essential=False)
            facts.note(GRANT, essential=True)
            facts.note(END, essential=True)
            await facts.drained()
        assert [type(fact) for fact in log.facts("calls")[1:]] == [CallAnswered, EngineFailure, CallEnded]
        assert [type(fact) for fact in log.facts("consents")] == [ConsentGranted]

    async def test_says_how_a_command_went(self, log: MemoryLog) -> None:
        async with queue(log) as facts:
            assert await outcome(facts, ANSWER) == Accepted(version=2)
            assert await outcome(facts, RevokeConsent(purpose=Purpose.RECORDING, evidence="x")) == Declined(code="consent-not-held")

    async def test_declines_what_the_talk_waits_for_while_the_log_is_away(self, log: MemoryLog) -> None:
        async with queue(log) as facts:
            log.away = True
            assert await outcome(facts, GRANT) == Away()
            log.away = False
            await facts.drained()
        assert log.facts("consents") == []

    async def test_keeps_the_rest_until_the_log_is_back(self, log: MemoryLog) -> None:
        async with queue(log) as facts:
            log.away = True
            facts.note(ANSWER, essential=True)
            facts.note(failure(1), essential=False)
            assert await outcome(facts, GRANT) == Away()
            log.away = False
            await facts.drained()
        assert [type(fact) for fact in log.facts("calls")[1:]] == [CallAnswered, EngineFailure]

    async def test_takes_commands_again_once_the_log_is_back(self, log: MemoryLog) -> None:
        async with queue(log) as facts:
            log.away = True
            assert await outcome(facts, GRANT) == Away()
            log.away = False
            assert await outcome(facts, GRANT) == Accepted(version=1)

    async def test_sends_what_is_in_doubt_again_under_the_same_id(self, log: MemoryLog) -> None:
        async with queue(log) as facts:
            log.doubtful = 2
            facts.note(ANSWER, essential=True)
            facts.note(END, essential=True)
            await facts.drained()
        assert [type(fact) for fact in log.facts("calls")[1:]] == [CallAnswered, CallEnded]

    async def test_declines_what_is_in_doubt_and_sees_it_through(self, log: MemoryLog) -> None:
        async with queue(log) as facts:
            log.doubtful = 1
            assert await outcome(facts, GRANT) == Away()
            await facts.drained()
        assert [type(fact) for fact in log.facts("consents")] == [ConsentGranted]

    async def test_drops_the_oldest_that_is_least_needed_and_says_how_many(self, log: MemoryLog) -> None:
        async with queue(log, capacity=4) as facts:
            log.away = True
            facts.note(ANSWER, essential=True)
            await asyncio.sleep(0.05)
            for n in range(10):
                facts.note(failure(n), essential=n == 0)
            facts.note(END, essential=True)
            log.away = False
            await facts.drained()
        kept = log.facts("calls")[1:]
        assert kept[1] == FactsLost(count=7)
        assert [fact.turn for fact in kept if isinstance(fact, EngineFailure)] == [0, 8, 9]
        assert isinstance(kept[-1], CallEnded)

    async def test_never_drops_a_withdrawal(self, log: MemoryLog) -> None:
        async with queue(log, capacity=3) as facts:
            await outcome(facts, GRANT)
            log.away = True
            facts.note(RevokeConsent(purpose=Purpose.RECORDING, evidence="x"), essential=True)
            for n in range(20):
                facts.note(failure(n), essential=True)
            log.away = False
            await facts.drained()
        assert isinstance(log.facts("consents")[-1], ConsentRevoked)


@asynccontextmanager
async def spooling(log: Dispatch, disk: MemoryDisk, *, room: int = 1 << 20, capacity: int = 40) -> AsyncIterator[tuple[FactsQueue, Spool]]:
    spool = Spool(disk, WIRE, "1764-ab", Counter(), limits=SpoolLimits(total_bytes=room))
    limits = QueueLimits(capacity=capacity, spool_after_seconds=0.01, spool_above=20)
    facts = FactsQueue(log, SENDER, Counter(), spool=spool, limits=limits)
    async with asyncio.TaskGroup() as tasks:
        writing, sending = tasks.create_task(spool.run()), tasks.create_task(facts.run())
        yield facts, spool
        sending.cancel()
        await asyncio.wait([sending])
        await spool.settled()
        writing.cancel()


@dataclass(slots=True)
class SlowLog(MemoryLog):
    """Answers when it is told to."""

    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        await self.answers.wait()
        return await MemoryLog.__call__(self, decider, stream, command, order, expected_version=expected_version)


async def brought_home(log: MemoryLog, disk: MemoryDisk) -> None:
    """What the next process does with what a crash left."""
    assert await Drain(log, DECIDERS, WIRE, Counter()).bring_home("1764-ab", disk.crashed())


def kinds(log: MemoryLog) -> list[type]:
    return [type(fact) for fact in log.facts("calls")[1:]]


class TestFactsQueueWithASpool:
    async def test_writes_nothing_down_while_the_log_is_quick(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        async with spooling(log, disk) as (facts, _):
            facts.note(ANSWER, essential=True)
            facts.note(failure(1), essential=True)
            await facts.drained()
        assert disk.syncs == 0

    async def test_keeps_all_of_a_long_outage_and_forgets_it_once_it_is_on_the_log(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        async with spooling(log, disk) as (facts, spool):
            log.away = True
            facts.note(ANSWER, essential=True)
            for n in range(100):
                facts.note(failure(n), essential=False)
            await asyncio.sleep(0.01)
            facts.note(END, essential=True)
            await spool.settled()
            assert sum(map(len, disk.files.values())) > 100 * 150
            log.away = False
            await facts.drained()
        assert kinds(log) == [CallAnswered, *[EngineFailure] * 100, CallEnded]
        assert disk.files == {}

    async def test_loses_nothing_when_the_process_dies_while_the_log_is_away(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        async with spooling(log, disk) as (facts, spool):
            facts.note(ANSWER, essential=True)
            await facts.drained()
            log.away = True
            for n in range(30):
                facts.note(failure(n), essential=False)
            facts.note(END, essential=True)
            await asyncio.sleep(0.01)
            await spool.settled()
            crashed = disk.crashed()
        log.away = False
        await brought_home(log, crashed)
        assert kinds(log) == [CallAnswered, *[LateFact] * 31, CallEnded]
        assert [fact.fact.turn for fact in log.facts("calls")[2:32]] == list(range(30))

    async def test_passes_nobody_who_found_no_room_while_the_disk_failed(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        async with spooling(log, disk) as (facts, spool):
            facts.note(ANSWER, essential=True)
            await facts.drained()
            log.away = disk.full = True
            facts.note(failure(1), essential=False)
            async with asyncio.timeout(120):
                while spool.accepts_calls:
                    await asyncio.sleep(0.001)
            facts.note(failure(2), essential=False)
            disk.full = False
            await spool.settled()
            facts.note(failure(3), essential=False)
            await spool.settled()
            crashed = disk.crashed()
        log.away = False
        await brought_home(log, crashed)
        assert [fact.fact.turn for fact in log.facts("calls")[2:]] == [1, 2, 3]

    async def test_hands_over_what_is_left_when_the_worker_stops(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        slow = SlowLog(streams=log.streams)
        async with spooling(slow, disk) as (facts, _):
            facts.note(ANSWER, essential=True)
            facts.note(failure(1), essential=False)
            await asyncio.sleep(0)
        await brought_home(log, disk)
        assert kinds(log) == [LateFact, LateFact]

    async def test_sends_what_a_crashed_call_left_without_what_its_talk_waited_for(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        slow = SlowLog(streams=log.streams)
        async with spooling(slow, disk) as (facts, _):
            facts.note(ANSWER, essential=True)
            facts.note(failure(1), essential=False)
            facts.commit(GRANT, lambda outcome: pytest.fail(f"nobody waits for {outcome}"), declinable=True)
            await asyncio.sleep(0)
        slow.answers.set()
        await facts.send_rest()
        await facts.send_rest()
        assert kinds(slow) == [CallAnswered, EngineFailure]
        assert slow.facts("consents") == []

    async def test_writes_down_what_waits_for_a_log_that_does_not_answer(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        slow = SlowLog(streams=log.streams)
        async with spooling(slow, disk) as (facts, spool):
            facts.note(ANSWER, essential=True)
            facts.note(failure(1), essential=False)
            async with asyncio.timeout(120):
                while not disk.syncs:
                    await asyncio.sleep(0.005)
            await spool.settled()
            facts.note(failure(2), essential=False)
            await spool.settled()
            crashed = disk.crashed()
            slow.answers.set()
            await facts.drained()
        assert kinds(slow) == [CallAnswered, EngineFailure, EngineFailure]
        # It had died instead: the same ids, so nothing is told twice.
        await brought_home(slow, crashed)
        assert kinds(slow) == [CallAnswered, EngineFailure, EngineFailure]

    async def test_writes_down_what_has_become_many(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        async with spooling(log, disk) as (facts, spool):
            facts.note(ANSWER, essential=True)
            for n in range(60):
                facts.note(failure(n), essential=False)
            await spool.settled()
            await facts.drained()
        assert disk.syncs > 0
        assert kinds(log) == [CallAnswered, *[EngineFailure] * 60]

    async def test_tells_late_what_is_refused_by_the_time_the_log_is_back(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        async with spooling(log, disk) as (facts, _):
            facts.note(ANSWER, essential=True)
            await facts.drained()
            log.away = True
            facts.note(failure(1), essential=False)
            await asyncio.sleep(0.05)
            order = Order(command_id=b"e" * 16, digest=b"e" * 16, actor="carrier", occurred_at=datetime.now(UTC))
            await MemoryLog(streams=log.streams)(CALLS, CALL, END, order)
            log.away = False
            await facts.drained()
        assert kinds(log) == [CallAnswered, CallEnded, LateFact]

    async def test_never_writes_down_what_the_talk_waits_for(self, log: MemoryLog) -> None:
        disk = MemoryDisk()
        async with spooling(log, disk) as (facts, spool):
            log.away = True
            facts.note(RevokeConsent(purpose=Purpose.RECORDING, evidence="x"), essential=True)
            assert await outcome(facts, GRANT) == Away()
            await spool.settled()
            crashed = disk.crashed()
            log.away = False
        await brought_home(log, crashed)
        assert log.facts("consents") == []

    async def test_drops_as_without_a_spool_once_that_is_full(self, log: MemoryLog) -> None:
        async with spooling(log, MemoryDisk(), room=1, capacity=4) as (facts, _):
            log.away = True
            facts.note(ANSWER, essential=True)
            await asyncio.sleep(0.05)
            for n in range(10):
                facts.note(failure(n), essential=n == 0)
            facts.note(END, essential=True)
            log.away = False
            await facts.drained()
        assert log.facts("calls")[2] == FactsLost(count=7)

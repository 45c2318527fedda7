"""What a call tells the log: in order, once, and never in the way of the talk."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from commands.calls import CALLS, AnswerCall, EndCall, ReceiveCall, Witness
from commands.consents import GrantConsent, RevokeConsent
from commands.dispatch import Order
from events.calls import CallAnswered, CallEnded, EndedBy, EngineFailure, FactsLost, Stage
from events.consents import ConsentGranted, ConsentRevoked, Purpose
from events.streams import StreamId
from realtime.facts_queue import Accepted, Away, Declined, FactsQueue, Outcome, QueueLimits, Sender
from tests.realtime.scene import sealed
from tests.realtime.world import MemoryLog

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


@asynccontextmanager
async def queue(log: MemoryLog, *, capacity: int = 400, decline_after_seconds: float = 0.2) -> AsyncIterator[FactsQueue]:
    sender = Sender(call=CALL, consents=CONSENTS, incarnation="MZ1", actor="worker/w", now=lambda: datetime.now(UTC))
    facts = FactsQueue(log, sender, Counter(), limits=QueueLimits(capacity=capacity, decline_after_seconds=decline_after_seconds))
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

"""The process managers on the real log: due commands reach their streams once, also after a restart."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from commands.decider import Decider
from commands.dispatch import CommitInDoubt, Committed, LogUnavailable, Order
from commands.rates import RateTable
from events.calls.ending import CallEnded
from events.calls.recording import RecordingStarted, RecordingStopOrdered
from events.calls.ringing import CallAnswered, CallReceived
from events.consents import ConsentGranted, ConsentRevoked, Purpose
from events.registry import Fact, type_of
from events.streams import StreamId
from events.usage import UsageRecorded, UsageUnrated
from stream_processors.manager import DEEPEST
from stream_processors.registry import managers
from stream_processors.running import Processors
from tests.projections.facts import CALL, CALLER_REF, answered, ended, received, sealed
from tests.projections.log import TestLog, open_log
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

CALLER = StreamId(AYB, "consents", CALLER_REF)
NO_TABLES: Sequence[RateTable] = ()


@asynccontextmanager
async def running(log: TestLog) -> AsyncIterator[Processors]:
    processors = Processors(log.reader, log.dispatch, managers(NO_TABLES), lambda: datetime.now(UTC), topic_of=log.topic_of)
    task = asyncio.create_task(processors.run())
    async with asyncio.timeout(120):
        await processors.caught_up.wait()
    try:
        yield processors
    finally:
        task.cancel()
        await asyncio.wait([task])


async def facts_of(log: TestLog, room: str, stream: StreamId) -> list[Fact]:
    """What the log has of a stream, with the depth and causation of each."""
    found = []
    async for batch in log.reader.batches([log.topic_of(room)], {}, stop_at_end=True):
        found += [log.codec.decode(raw.value) for raw in batch.records if raw.key == stream.key and raw.value]
    return found


RECORDING = (received(), answered(), RecordingStarted(caller_ref=CALLER_REF, consent_version=1, at_ms=7))
GRANTED = ConsentGranted(subject=sealed("+1"), purpose=Purpose.RECORDING, evidence="call_1")
REVOKED = ConsentRevoked(purpose=Purpose.RECORDING, evidence="call_1")


class TestProcessors:
    async def test_halt_a_recording_and_record_usage_once_though_restarted(self, kafka: str, unique: str) -> None:
        async with open_log(kafka, unique) as log:
            await log.append(CALL, *RECORDING)
            await log.append(CALLER, GRANTED)
            async with running(log) as processors:
                revoked = await log.append(CALLER, REVOKED)
                assert await processors.wait_for([revoked.position], 120)
            end = await log.append(CALL, ended())
            for _ in range(2):
                async with running(log) as processors:
                    assert await processors.wait_for([end.position], 120)
            call = await facts_of(log, "calls", CALL)
            assert [type(fact) for fact in call] == [CallReceived, CallAnswered, RecordingStarted, RecordingStopOrdered, CallEnded]
            usage = await facts_of(log, "usage", StreamId(AYB, "usage", CALL.id))
            assert [type(fact) for fact in usage] == [UsageRecorded, UsageUnrated]

    async def test_halt_a_recording_that_starts_after_the_withdrawal_was_read(self, kafka: str, unique: str) -> None:
        async with open_log(kafka, unique) as log, running(log) as processors:
            revoked = await log.append(CALLER, GRANTED, REVOKED)
            assert await processors.wait_for([revoked.position], 120)
            late = await log.append(CALL, *RECORDING)
            assert await processors.wait_for([late.position], 120)
            assert RecordingStopOrdered(reason="consent-revoked", revoked_version=2) in await facts_of(log, "calls", CALL)


class Desk:
    """A dispatch that answers as it is told, and remembers what it was asked."""

    def __init__(self, *answers: Exception | None) -> None:
        self.orders: list[tuple[str, bytes, int]] = []
        self._answers = list(answers)

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        self.orders.append((str(stream), order.command_id, order.depth))
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer
        return Committed(position=None, version=1, facts=())  # type: ignore[arg-type]  # nobody looks at it


class TestSending:
    async def sent(self, log: PaperReader, desk: Desk) -> list[tuple[str, bytes, int]]:
        processors = Processors(log, desk, managers(NO_TABLES), lambda: datetime.now(UTC))
        task = asyncio.create_task(processors.run())
        try:
            assert await processors.wait_for([], 120)
        finally:
            task.cancel()
            await asyncio.wait([task])
        return desk.orders

    def withdrawn(self) -> PaperReader:
        log = PaperReader()
        log.append(CALL, *RECORDING)
        log.append(CALLER, GRANTED)
        log.append(CALLER, REVOKED)
        return log

    async def test_goes_on_under_the_same_id_until_there_is_an_answer(self) -> None:
        desk = Desk(LogUnavailable("away"), CommitInDoubt("who knows"))
        orders = await self.sent(self.withdrawn(), desk)
        assert len(orders) == 3
        assert len(set(orders)) == 1
        assert orders[0][0] == str(CALL)

    async def test_says_how_deep_the_chain_of_causes_is(self) -> None:
        ((_, _, depth),) = await self.sent(self.withdrawn(), Desk())
        assert depth == 1
        assert depth < DEEPEST

    async def test_sends_nothing_of_a_history_that_is_settled(self) -> None:
        log = PaperReader()
        log.append(CALL, *RECORDING, ended())
        log.append(StreamId(AYB, "usage", CALL.id), UsageRecorded(call_id=CALL.id, lines=()))
        assert await self.sent(log, Desk()) == []

    async def test_passes_over_a_fact_that_cannot_be_read(self) -> None:
        log = self.withdrawn()
        log.put(StreamId(AYB, "calls", "call_9"), b"\0 no body of ours", type_of(ended()).ce_type, "calls")
        assert len(await self.sent(log, Desk())) == 1

"""A call whose worker is silent while the carrier's stream stays open is moved once, by the carrier's own SDK; nobody else's call is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from twilio.request_validator import RequestValidator

from commands.calls.deciding import CALLS, MOST_RESUMES
from commands.calls.orders import ResumeCall
from commands.dispatch import Order
from events.calls.ending import CallEnded, EndedBy
from events.calls.ringing import CallAnswered, CallReceived, CallResumed
from events.calls.talking import DisclosureSpoken
from events.streams import StreamId
from infra.adapters.twilio import TwilioTelephony
from infra.emulators.balancer import Balancer
from infra.emulators.twilio.caller import Caller
from infra.emulators.twilio.carrier import CarrierCall
from infra.emulators.twilio_rest import TwilioRestEmulator
from projections.queries import RowsUnavailable
from realtime.carrier.lookout import Lookout, Watchfulness, whom
from realtime.carrier.moving import Moving, address_in, named
from realtime.carrier.ports import UnderWay
from realtime.carrier.streamless import SORRY
from realtime.worker import WorkerSettings
from tests.realtime.office import AUTH_TOKEN, CALLER, NUMBER, ORGANISATION, Office, open_office
from tests.realtime.test_calls import SHORT, says, thoughts

ACCOUNT = "AC" + "0" * 32
ADDRESS = "10.0.0.1:9/a0a0"
FROZEN = named("a-host", ADDRESS, 7)
NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)


def under_way(worker: str | None, *, age_seconds: float = 0) -> UnderWay:
    received = NOW - timedelta(seconds=age_seconds)
    return UnderWay(stream=StreamId("AYB-1", "calls", "call_1"), call_sid="CA1", worker=worker, received_at=received)


class TestWhom:
    def test_is_whose_worker_is_dead(self) -> None:
        dead, alive = under_way(FROZEN), under_way(named("a-host", "10.0.0.2:9/b1", 7))
        found = whom([dead, alive], {ADDRESS}, NOW, 120)
        assert (found.bring, found.ask) == ([dead], [])

    def test_is_asked_for_where_it_rings_for_long_or_its_worker_cannot_be_asked(self) -> None:
        ringing, old = under_way(None, age_seconds=121), under_way("host-7", age_seconds=121)
        found = whom([ringing, old, under_way(None), under_way("host-7", age_seconds=119)], {ADDRESS}, NOW, 120)
        assert (found.bring, found.ask) == ([], [ringing, old])

    def test_is_told_by_the_workers_name(self) -> None:
        assert address_in(named("a-host-2", ADDRESS, 7)) == ADDRESS
        assert address_in("host-7") == ""


@dataclass(slots=True, kw_only=True)
class Line:
    """A call whose first worker has lost it, a carrier that stands still, and a second worker that may do something."""

    call: CarrierCall
    rest: TwilioRestEmulator
    second: Office
    dead: set[str] = field(default_factory=lambda: {ADDRESS})
    sent: list[str] = field(default_factory=list)
    tables_away: bool = False

    @property
    def moving(self) -> Moving:
        assert self.second.worker.moving is not None
        return self.second.worker.moving

    async def calls(self) -> Sequence[UnderWay]:
        if self.tables_away:
            raise RowsUnavailable("PostgreSQL is away")
        answered = next(each for each in self.second.log.facts("calls") if isinstance(each, CallAnswered))
        stream = next(each for each in self.second.log.streams if each.category == "calls")
        return [UnderWay(stream=stream, call_sid=self.call.call_sid, worker=answered.worker, received_at=datetime.now(UTC))]

    async def look(self, times: int, *, owns: bool = True) -> None:
        lookout = Lookout(
            moving=self.moving, under_way=self.calls, owns=lambda _room, _stream: owns, owned=frozenset, now=lambda: datetime.now(UTC),
            watchfulness=Watchfulness(),
        )  # fmt: skip
        for _ in range(times):
            await lookout.look()

    async def taken_up(self, times: int) -> None:
        """As often as this, and lost again each time."""
        stream = next(each for each in self.second.log.streams if each.category == "calls")
        for number in range(times):
            last = next(each for each in reversed(self.second.log.facts("calls")) if isinstance(each, CallAnswered | CallResumed))
            command = ResumeCall(
                after=last.stream_sid, stream_sid=f"MZ{number}", worker=FROZEN, recogniser="r", model_provider="m", voice="v",
                embedded=True, at_ms=2000 + number, cause="worker-lost",
            )  # fmt: skip
            order = Order(command_id=bytes([number]) * 16, digest=bytes(16), actor="test", occurred_at=datetime.now(UTC))
            await self.second.log(CALLS, stream, command, order)

    async def tell(self, **fields: str) -> int:
        """A callback about the stream, as the carrier would send it to the second worker."""
        stream = next(each for each in self.second.log.streams if each.category == "calls")
        path = f"/twilio/stream?call={stream.id}&of={ORGANISATION}"
        form = {"CallSid": self.call.call_sid, "AccountSid": ACCOUNT, **fields}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(f"{self.second.public_url}{path}", form)
        host, port = self.second.address
        async with aiohttp.ClientSession() as http:
            answer = await http.post(f"http://{host}:{port}{path}", data=form, headers={"X-Twilio-Signature": signature})
        await self.second.worker.idle()
        return answer.status

    @property
    def stream_sid(self) -> str:
        return next(each.stream_sid for each in self.second.log.facts("calls") if isinstance(each, CallAnswered))


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    balancer, calls = Balancer([]), dict[str, CarrierCall]()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(balancer.serving())

        def send(call_sid: str, to: str) -> None:
            it.sent.append(to)
            calls[call_sid].send(to)

        rest = TwilioRestEmulator(ACCOUNT, AUTH_TOKEN, lambda sid: calls[sid].hang_up(), sent=send)
        base_url = await stack.enter_async_context(rest.serving())
        carrier = await stack.enter_async_context(TwilioTelephony(ACCOUNT, AUTH_TOKEN, base_url=base_url))

        async def lives(address: str) -> bool:
            return address not in it.dead

        second = await stack.enter_async_context(
            open_office(thoughts, desk=SHORT, resumes=True, behind=url, live_carrier=carrier, lives=lives)
        )
        first = await stack.enter_async_context(
            open_office(
                thoughts, desk=SHORT, resumes=True, behind=url, log=second.log, keys=second.keys, settings=WorkerSettings(name=FROZEN)
            )
        )
        balancer.add(first.address)
        call = CarrierCall(
            webhook=first.webhook, account_sid=ACCOUNT, auth_token=AUTH_TOKEN, number=NUMBER, caller_number=CALLER, asks=False,
            caller=Caller(lines=[says("goodbye")], patience_ms=3000), to_ear=lambda *_: None,
        )  # fmt: skip
        calls[call.call_sid] = call
        rest.begin(call.call_sid)
        it = Line(call=call, rest=rest, second=second)
        it.moving.grace_seconds = 0.01
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            tasks.create_task(call.place(), name="call")
            await second.log.until(DisclosureSpoken)
            call.breaks_off()
            while not any(note["event"] == "stream-error" or note.get("by") == "worker" for note in call.notes):
                await asyncio.sleep(0.01)
            balancer.add(second.address)
            yield it
            call.hang_up()


class TestACallOfASilentWorker:
    async def test_is_moved_once_and_goes_on(self) -> None:
        async with line() as it:
            await it.look(1)
            assert it.sent == [], "one missed answer proves nothing"
            await it.look(4)
            (url,) = it.sent
            assert "/twilio/voice/next?call=" in url
            assert it.moving.counters["calls-moved"] == 1
            await it.second.log.until(CallResumed)

    async def test_is_told_that_we_are_sorry_when_it_was_taken_up_too_often(self) -> None:
        async with line() as it:
            await it.taken_up(MOST_RESUMES)
            await it.look(4)
            assert len(it.sent) == 1
            end = await it.second.log.until(CallEnded)
            assert end.reason == "worker-lost"
            async with asyncio.timeout(120):
                while not any(SORRY in str(note) for note in it.call.notes):
                    await asyncio.sleep(0.01)

    async def test_is_left_alone_while_the_worker_lives(self) -> None:
        async with line() as it:
            it.dead.clear()
            await it.look(3)
            assert await it.tell(StreamSid=it.stream_sid, StreamEvent="stream-error", StreamError="31921") == 204
            assert it.sent == []

    async def test_is_left_alone_where_another_process_decides_about_it(self) -> None:
        async with line() as it:
            await it.look(3, owns=False)
            assert it.sent == []

    async def test_is_ended_when_the_carrier_says_that_it_is_over(self) -> None:
        async with line() as it:
            it.rest.end(it.call.call_sid)
            await it.look(2)
            end = await it.second.log.until(CallEnded)
            assert (end.reason, end.ended_by) == ("carrier-reported-end", EndedBy.CARRIER)
            assert it.sent == []

    async def test_waits_for_tables_that_are_away(self) -> None:
        async with line() as it:
            it.tables_away = True
            await it.look(2)
            assert (it.sent, it.moving.counters["lookouts-without-tables"]) == ([], 2)


class TestWhatTheCarrierTellsOfAStream:
    @pytest.mark.parametrize("event", ["stream-error", "stream-stopped"])
    async def test_moves_the_call_of_a_dead_worker(self, event: str) -> None:
        async with line() as it:
            for _ in range(2):
                assert await it.tell(StreamSid=it.stream_sid, StreamEvent=event) == 204
            assert len(it.sent) == 1
            await it.second.log.until(CallResumed)

    async def test_moves_nothing_for_an_older_stream_or_a_beginning(self) -> None:
        async with line() as it:
            assert await it.tell(StreamSid="MZ" + "9" * 32, StreamEvent="stream-error") == 204
            assert await it.tell(StreamSid=it.stream_sid, StreamEvent="stream-started") == 204
            assert it.sent == []

    async def test_is_asked_for_in_the_document_and_believed_only_when_signed(self) -> None:
        async with line() as it:
            assert isinstance(it.second.log.facts("calls")[0], CallReceived)
            async with aiohttp.ClientSession() as http:
                host, port = it.second.address
                answer = await http.post(f"http://{host}:{port}/twilio/stream?call=call_1&of=AYB-1", data={"StreamEvent": "stream-error"})
            assert answer.status == 403
            assert it.sent == []

"""Whole calls that are put through by the carrier's own SDK, and what the carrier tells afterwards: shuffled, repeated, or in part."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from twilio.request_validator import RequestValidator

from commands.calls.deciding import CALL_SIDS, CALLS
from commands.calls.orders import AnswerCall, ReceiveCall, ReserveCallSid
from commands.decider import Decider
from commands.dispatch import Order
from events.calls.control import CallTransferred, TransferFailed, TransferLegChanged
from events.calls.ending import CallEnded, EndedBy
from events.streams import PLATFORM, StreamId
from infra.adapters.twilio import TwilioTelephony
from infra.emulators.twilio.caller import Caller, Line
from infra.emulators.twilio.carrier import CarrierCall, new_sid
from infra.emulators.twilio_rest import TwilioRestEmulator
from realtime.ports import ModelEvent, ModelRequest, ModelStopped, TextDelta, TokenUsage, ToolUse
from realtime.worker import WorkerSettings
from tests.realtime.office import AUTH_TOKEN, CALLER, NUMBER, ORGANISATION, Desk, Office, open_office
from tests.realtime.world import spoken

ACCOUNT = "AC" + "0" * 32
DONE = ModelStopped(reason="end_turn", usage=TokenUsage(input_tokens=50, output_tokens=10))
AGENT = {
    "greeting": "Hi.", "disclosure": "An AI.", "recording": {"ask": False}, "transfer": {"destinations": {"front desk": "+15550111"}},
}  # fmt: skip
ANSWERED = ("initiated", "ringing", "in-progress", "completed")
Forms = Sequence[dict[str, str]]


def thoughts(request: ModelRequest) -> Sequence[ModelEvent | float]:
    wanted = ToolUse(tool_use_id="t", name="transfer_call", arguments={"destination": "front desk"})
    if "person" in request.messages[-1].text and not request.messages[-1].tool_outcomes:
        return [TextDelta(text="I will put you through."), wanted, DONE]
    return [TextDelta(text="What else?"), DONE]


async def put_through(telling: Callable[[Forms], Forms] = lambda told: told, *, leg: tuple[str, ...] = ANSWERED) -> list[object]:
    """A caller asks for a person; the facts of the call."""
    calls: dict[str, CarrierCall] = {}
    rest = TwilioRestEmulator(ACCOUNT, AUTH_TOKEN, lambda sid: calls[sid].hang_up(), lambda sid, document: calls[sid].redirect(document))
    async with (
        rest.serving() as url,
        TwilioTelephony(ACCOUNT, AUTH_TOKEN, base_url=url) as telephony,
        open_office(thoughts, desk=Desk(configuration=AGENT), telephony=telephony) as office,
    ):
        text = "I want a person please."
        call = CarrierCall(
            webhook=office.webhook, account_sid=ACCOUNT, auth_token=AUTH_TOKEN, number=NUMBER, caller_number=CALLER,
            caller=Caller(lines=[Line(text=text, mulaw=spoken(text), after_silence_ms=400)], patience_ms=3000), to_ear=lambda *_: None,
            telling=telling, leg=leg,
        )  # fmt: skip
        calls[call.call_sid] = call
        rest.begin(call.call_sid)
        async with asyncio.timeout(120):
            await call.place()
            await office.worker.idle()
        assert [note["number"] for note in call.notes if note["event"] == "dialled"] == ["+15550111"]
        assert all(note["status"] == 200 for note in call.notes if note["event"] == "callback")
        heard_after = [note.get("text", "") for note in call.notes if note["event"] == "say"]
        return [*office.log.facts("calls"), *heard_after]


def legs(facts: Sequence[object]) -> list[str]:
    return [fact.status for fact in facts if isinstance(fact, TransferLegChanged)]


class TestTransfer:
    async def test_leaves_the_two_alone_and_ends_the_call_as_transferred(self) -> None:
        facts = await put_through()
        (end,) = [fact for fact in facts if isinstance(fact, CallEnded)]
        assert (end.reason, end.ended_by, end.billable) == ("transferred", EndedBy.AGENT, True)
        (transferred,) = [fact for fact in facts if isinstance(fact, CallTransferred)]
        assert (transferred.destination, transferred.by) == ("front desk", EndedBy.AGENT)
        assert facts.index(transferred) < facts.index(end)
        assert legs(facts) == ["initiated", "ringing", "in-progress", "completed"]

    @pytest.mark.parametrize("seed", [1, 2])
    async def test_ends_equal_whatever_becomes_of_the_callbacks(self, seed: int) -> None:
        draw = random.Random(seed)

        def telling(told: Forms) -> Forms:
            shuffled = [*told, *told]
            draw.shuffle(shuffled)
            return [form for form in shuffled if draw.random() < 0.6 and form["CallStatus"] != "completed"]

        facts = await put_through(telling)
        said = legs(facts)
        assert said[-1] == "completed", "the question what follows the leg makes up for it"
        assert len(set(said)) == len(said)

    async def test_to_somebody_who_does_not_answer_is_told_to_the_caller(self) -> None:
        facts = await put_through(leg=("initiated", "ringing", "no-answer"))
        assert legs(facts)[-1] == "no-answer"
        assert "nobody can take your call" in str(facts[-1])

    async def test_that_the_carrier_refuses_leaves_the_caller_with_the_agent(self) -> None:
        rest = TwilioRestEmulator(ACCOUNT, AUTH_TOKEN, lambda _: None)
        async with (
            rest.serving() as url,
            TwilioTelephony(ACCOUNT, AUTH_TOKEN, base_url=url) as telephony,
            open_office(thoughts, desk=Desk(configuration=AGENT), telephony=telephony) as office,
        ):
            # The carrier knows nothing of this call, so it can put nobody through.
            text = "I want a person please."
            call = CarrierCall(
                webhook=office.webhook, account_sid=ACCOUNT, auth_token=AUTH_TOKEN, number=NUMBER, caller_number=CALLER,
                caller=Caller(lines=[Line(text=text, mulaw=spoken(text), after_silence_ms=400)], patience_ms=2500), to_ear=lambda *_: None,
            )  # fmt: skip
            async with asyncio.timeout(120):
                await call.place()
                await office.worker.idle()
            (failed,) = [fact for fact in office.log.facts("calls") if isinstance(fact, TransferFailed)]
            assert failed.reason == "call-not-in-progress"
            (end,) = [fact for fact in office.log.facts("calls") if isinstance(fact, CallEnded)]
            assert end.reason == "caller-hung-up"
            assert any("could not put you through" in text for text in office.voice.spoken)


class TestTheCarriersWord:
    """A worker died with a call, and its caller hung up: nobody but the carrier knows."""

    async def test_ends_a_call_whose_end_nobody_saw(self) -> None:
        async with open_office(thoughts, settings=WorkerSettings(name="office", end_grace_seconds=0.05)) as office:
            call_sid = await orphaned(office)
            assert await told(office, call_sid, "in-progress") == 204
            for _ in range(3):
                assert await told(office, call_sid, "completed") == 204
            end = await office.log.until(CallEnded)
            await office.worker.idle()
            assert (end.reason, end.ended_by, end.billable) == ("carrier-reported-end", EndedBy.CARRIER, False)
            assert len([fact for fact in office.log.facts("calls") if isinstance(fact, CallEnded)]) == 1

    async def test_of_a_call_that_is_none_of_ours_changes_nothing(self) -> None:
        async with open_office(thoughts, settings=WorkerSettings(name="office", end_grace_seconds=0.0)) as office:
            assert await told(office, new_sid("CA"), "completed") == 204
            await asyncio.sleep(0)
            await office.worker.idle()
            assert office.log.streams == {}

    async def test_needs_its_signature(self) -> None:
        async with open_office(thoughts) as office, aiohttp.ClientSession() as http:
            for path in ("status", "leg?call=call_1&of=AYB-1"):
                async with http.post(
                    f"{office.public_url}/twilio/{path}", data={"CallSid": new_sid("CA"), "CallStatus": "completed"}
                ) as answer:
                    assert answer.status == 403


async def orphaned(office: Office) -> str:
    """A call that was answered by a worker that is no more."""
    call_sid, call_id = new_sid("CA"), "call_orphan"
    stream, caller = StreamId(ORGANISATION, "calls", call_id), office.keys.seal("x/y", "+15550199")
    received = ReceiveCall(
        call_sid=call_sid, caller=caller, caller_ref="c", number=caller, number_ref="n", agent_id="a", agent_version="1",
        agent_version_hash="h",
    )  # fmt: skip
    answered = AnswerCall(stream_sid="MZ1", worker="gone", recogniser="r", model_provider="m", voice="v", embedded=True)
    reserved = ReserveCallSid(call_id=call_id, organisation_id=ORGANISATION)
    sid_stream = StreamId(PLATFORM, CALL_SIDS.category, call_sid)
    todo: list[tuple[Decider[Any, Any, Any], StreamId, object]] = [
        (CALL_SIDS, sid_stream, reserved), (CALLS, stream, received), (CALLS, stream, answered),
    ]  # fmt: skip
    for at, (decider, where, command) in enumerate(todo):
        order = Order(command_id=bytes([at]) * 16, digest=bytes(16), actor="test", occurred_at=datetime.now(UTC), correlation_id=bytes(16))
        await office.log(decider, where, command, order)
    return call_sid


async def told(office: Office, call_sid: str, status: str) -> int:
    url = f"{office.public_url}/twilio/status"
    form = {"CallSid": call_sid, "CallStatus": status, "SequenceNumber": "3", "CallDuration": "40"}
    signature = RequestValidator(AUTH_TOKEN).compute_signature(url, form)
    async with aiohttp.ClientSession() as http, http.post(url, data=form, headers={"X-Twilio-Signature": signature}) as answer:
        return answer.status

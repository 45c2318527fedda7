"""Whole calls: webhook, media socket, machine and log together, with a caller who sends audio only."""

import asyncio
import gc
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from commands.rooms import DECIDERS
from commands.spool.drain import Drain
from commands.wire import CommandWire
from events.calls.ending import CallEnded, EndedBy, EngineFailure
from events.calls.late import LateFact
from events.calls.recording import RecordingStarted, RecordingStopped
from events.calls.talking import AgentInterrupted, AgentTurn, CallerTurn, DisclosureSpoken
from events.calls.thinking import ToolAnswered
from events.consents import ConsentGranted, ConsentRevoked
from infra.emulators.twilio.caller import Caller, Line
from infra.emulators.twilio.carrier import CarrierCall
from realtime.carrier.media_socket import MediaSocket
from realtime.hearing.contours import Contour
from realtime.hearing.ears import Ears
from realtime.loop.conductor import Conductor
from realtime.loop.facts_queue import FactsQueue
from realtime.machine.state import CallState
from realtime.ports import ModelEvent, ModelRequest, ModelStopped, TextDelta, TokenUsage, Tool, ToolSpec, ToolUse, Transcript
from realtime.recording.recorder import Recorder
from realtime.speaking.mouth import Mouth
from realtime.worker import WorkerSettings
from tests.realtime.office import AUTH_TOKEN, CALLER, INCARNATION, NUMBER, Desk, Office, open_office
from tests.realtime.scene import briefing
from tests.realtime.world import PlainTools, spoken

DONE = ModelStopped(reason="end_turn", usage=TokenUsage(input_tokens=50, output_tokens=10))
HOURS = "We are open from nine to five on every weekday, and on Saturday we are open from ten to two. "
FIND = Tool(
    spec=ToolSpec(name="find_slot", description="free slots", input_schema={}), idempotent=True, timeout_ms=3000, fillers=("Let me see.",)
)  # fmt: skip
BOOK = Tool(spec=ToolSpec(name="book_slot", description="books a slot", input_schema={}), idempotent=False, timeout_ms=3000, fillers=())
SHORT = Desk(configuration={"greeting": "Welcome.", "disclosure": "You speak with an AI assistant."})


def thoughts(request: ModelRequest) -> Sequence[ModelEvent | float]:
    """Answers what was said last, as a model does that listens."""
    last = request.messages[-1]
    words = last.text.lower().rpartition("\n")[2]
    if last.tool_outcomes:
        return [TextDelta(text="Friday at nine is free."), DONE]
    if "bye" in words:
        return [TextDelta(text="Goodbye."), ToolUse(tool_use_id="e", name="end_call", arguments={}), DONE]
    if "slot" in words:
        return [ToolUse(tool_use_id="f", name="find_slot", arguments={"day": "friday"}), DONE]
    return [TextDelta(text=HOURS * 4), DONE]


def booking_thoughts(request: ModelRequest) -> Sequence[ModelEvent | float]:
    """Books when it is asked to, and says what came of it."""
    last = request.messages[-1]
    if last.tool_outcomes:
        failed = last.tool_outcomes[0].failed
        return [TextDelta(text=f"I cannot do that now: {last.tool_outcomes[0].content}" if failed else "It is booked."), DONE]
    if "book" in last.text.lower().rpartition("\n")[2]:
        return [ToolUse(tool_use_id="b", name="book_slot", arguments={"day": "friday"}), DONE]
    return thoughts(request)


def says(text: str, *, over_after_ms: int | None = None) -> Line:
    return Line(text=text, mulaw=spoken(text), after_silence_ms=400, barge_in_after_ms=over_after_ms)


async def ring(office: Office, *lines: Line, patience_ms: int = 3000) -> CarrierCall:
    call = CarrierCall(
        webhook=office.webhook, account_sid="AC" + "0" * 32, auth_token=AUTH_TOKEN, number=NUMBER, caller_number=CALLER,
        caller=Caller(lines=lines, patience_ms=patience_ms), to_ear=lambda *_: None,
    )  # fmt: skip
    async with asyncio.timeout(120):
        await call.place()
        await office.worker.idle()
    return call


def notes(call: CarrierCall) -> list[str]:
    return [note["event"] for note in call.notes]


class TestCall:
    async def test_leaves_nothing_behind_that_waits_for_a_collector(self) -> None:
        parts = (Conductor, Ears, Contour, Mouth, Recorder, CallState, FactsQueue, MediaSocket)

        def left() -> Counter[type]:
            return Counter(type(each) for each in gc.get_objects() if type(each) in parts)

        async with open_office(thoughts, desk=SHORT) as office:
            gc.collect()
            gc.disable()
            try:
                before = left()
                await ring(office, says("goodbye"))
                # The recogniser of tests remembers its streams, and who listened to them.
                office.ears.streams.clear()
                async with asyncio.timeout(120):
                    # The carrier's end of the socket may take a moment.
                    while kept := left() - before:
                        assert set(kept) <= set(parts)
                        await asyncio.sleep(0.01)
            finally:
                gc.enable()

    async def test_is_held_from_disclosure_to_goodbye(self) -> None:
        tools = PlainTools(tools=(FIND,), answers={"find_slot": "friday nine"}, takes_seconds=0.6)
        async with open_office(thoughts, tools=tools, desk=SHORT) as office:
            call = await ring(
                office, says("yes please"), says("when are you open please"), says("I need a slot please", over_after_ms=600),
                says("please stop recording"), says("goodbye"),
            )  # fmt: skip
            facts = office.log.facts("calls")
            kinds = [type(fact) for fact in facts]
            assert notes(call)[-3:] == ["document", "hangup", "completed"]
            assert kinds.index(DisclosureSpoken) < kinds.index(CallerTurn) < kinds.index(RecordingStarted)
            assert [office.opened(fact.words) for fact in facts if isinstance(fact, CallerTurn)] == [
                line.text for line in call.caller.lines
            ]
            cut = next(fact for fact in facts if isinstance(fact, AgentTurn) and fact.interrupted)
            assert office.opened(cut.said).startswith(office.opened(cut.heard))
            assert len(office.opened(cut.heard)) < len(office.opened(cut.said))
            assert {AgentInterrupted, ToolAnswered, RecordingStopped} <= set(kinds)
            assert [type(fact) for fact in office.log.facts("consents")] == [ConsentGranted, ConsentRevoked]
            end = facts[-1]
            assert isinstance(end, CallEnded)
            assert (end.reason, end.ended_by, end.recording != "") == ("goodbye", EndedBy.CALLER, True)
            heard = next(request for request in office.mind.requests if "slot" in request.messages[-1].text).messages[-2]
            assert heard.text == office.opened(cut.heard)
            tape = office.tape()
            started = next(fact.at_ms for fact in facts if isinstance(fact, RecordingStarted))
            stopped = next(fact.at_ms for fact in facts if isinstance(fact, RecordingStopped))
            assert started <= tape[0].from_ms <= started + 100
            assert abs(tape[-1].from_ms + len(tape[-1].caller) // 8 - stopped) <= 20
            assert all(one.from_ms + len(one.caller) // 8 == other.from_ms for one, other in pairwise(tape)), "no gap in it"

    async def test_goes_on_while_the_log_is_away_and_has_its_facts_afterwards(self) -> None:
        async with open_office(thoughts, desk=SHORT) as office:
            ringing = asyncio.create_task(ring(office, says("yes please"), says("when are you open please"), says("goodbye")))
            await office.log.until(DisclosureSpoken)
            office.log.away = True
            await office.mind.asked_about("bye")
            office.log.away = False
            await ringing
            assert briefing().wording.recording_impossible in office.voice.spoken
            assert office.log.facts("consents") == []
            facts = office.log.facts("calls")
            assert not [fact for fact in facts if isinstance(fact, RecordingStarted)]
            assert len([fact for fact in facts if isinstance(fact, CallerTurn)]) == 3
            assert facts[-1].reason == "goodbye"
            assert office.disk.syncs
            await office.worker.idle()
            async with asyncio.timeout(120):
                while office.disk.files:
                    await asyncio.sleep(0.001)

    async def test_cut_off_while_the_log_is_away_is_told_late_by_the_next_worker(self) -> None:
        stopping = WorkerSettings(name="office", stop_within_seconds=0.2)
        async with open_office(thoughts, desk=SHORT, settings=stopping) as office:
            ringing = asyncio.create_task(ring(office, says("yes please"), says("when are you open please"), says("goodbye")))
            await office.log.until(DisclosureSpoken)
            office.log.away = True
            await office.mind.asked_about("open")
            await office.worker.stop()
            await ringing
        office.log.away = False
        home = Drain(office.log, DECIDERS, CommandWire(DECIDERS), Counter())
        assert await home.bring_home(INCARNATION, office.disk.crashed())
        late = [fact.fact for fact in office.log.facts("calls") if isinstance(fact, LateFact)]
        assert len([fact for fact in late if isinstance(fact, CallerTurn)]) == 2
        assert isinstance(late[-1], CallEnded)
        assert office.log.facts("calls")[-1] == late[-1]

    async def test_declines_what_cannot_be_undone_in_a_sentence_while_the_log_is_away(self) -> None:
        tools = PlainTools(tools=(BOOK,), answers={"book_slot": "booked"})
        async with open_office(booking_thoughts, tools=tools, desk=SHORT) as office:
            ringing = asyncio.create_task(ring(office, says("no thank you"), says("please book it"), says("goodbye")))
            await office.log.until(CallerTurn)
            office.log.away = True
            await office.mind.asked_about("bye")
            office.log.away = False
            await ringing
            assert tools.runs == []
            assert any(each.startswith("I cannot do that now") for each in office.voice.spoken)
            (answered,) = [fact for fact in office.log.facts("calls") if isinstance(fact, ToolAnswered)]
            assert answered.failed
            assert office.log.facts("calls")[-1].reason == "goodbye"

    async def test_without_ears_says_so_and_ends(self) -> None:
        async with open_office(thoughts, desk=SHORT) as office:
            office.ears.unreachable = True
            call = await ring(office)
            assert office.voice.spoken[-1] == briefing().wording.cannot_hear
            assert office.log.facts("calls")[-1].reason == "recogniser-failed"
            assert notes(call)[-2:] == ["hangup", "completed"]

    async def test_without_a_voice_is_apologised_for_by_the_carriers(self) -> None:
        async with open_office(thoughts, desk=SHORT) as office:
            office.voice.unreachable = True
            call = await ring(office)
            assert [note["text"] for note in call.notes if note["event"] == "say"] == [briefing().wording.cannot_go_on]
            (failure,) = [fact for fact in office.log.facts("calls") if isinstance(fact, EngineFailure)]
            assert (failure.engine, failure.reason) == ("plain-voice", "unreachable")
            assert office.log.facts("calls")[-1].reason == "voice-failed"

    async def test_that_crashes_takes_no_other_with_it(self) -> None:
        def broken(request: ModelRequest) -> Sequence[ModelEvent | float]:
            raise ZeroDivisionError(request.model)

        async with open_office(broken, desk=SHORT) as office:
            call = await ring(office, says("no thank you"), says("when are you open please"))
            assert [note["event"] for note in call.notes if note["event"] == "say"] == ["say"]
            assert office.log.facts("calls")[-1].reason == "worker-crashed"
            assert office.worker.counters["calls-crashed"] == 1
            office.mind.thoughts = thoughts
            call = await ring(office, says("no thank you"), says("goodbye"))
            assert office.log.facts("calls")[-1].reason == "goodbye"

    async def test_that_breaks_within_a_step_ends_by_name(self) -> None:
        async with open_office(thoughts, desk=SHORT) as office:
            ringing = asyncio.create_task(ring(office, says("no thank you")))
            await office.log.until(DisclosureSpoken)
            no_text: str = None  # type: ignore[assignment] # what no recogniser may give
            with pytest.raises(AttributeError):
                office.ears.streams[0].listener(
                    Transcript(text=no_text, is_final=True, from_finalize=True, start_ms=0, end_ms=1, confidence=1.0)
                )
            end = await office.log.until(CallEnded)
            assert (end.reason, end.ended_by, end.billable) == ("worker-crashed", EndedBy.PLATFORM, False)
            call = await ringing
            assert "say" in notes(call)

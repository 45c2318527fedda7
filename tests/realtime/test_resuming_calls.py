"""A call that loses its media stream, or its worker, goes on with another: in one sentence, with nothing asked twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from commands.calls.deciding import MOST_RESUMES
from events.calls.ending import CallEnded
from events.calls.late import LateFact
from events.calls.recording import RecordingKept, RecordingStarted, RecordingStopped
from events.calls.ringing import CallLeft, CallResumed
from events.calls.talking import AgentTurn, CallerTurn, DisclosureSpoken
from infra.emulators.balancer import Balancer
from infra.emulators.twilio.caller import Caller
from infra.emulators.twilio.carrier import CarrierCall
from realtime.worker import WorkerSettings
from tests.realtime.office import AUTH_TOKEN, CALLER, NUMBER, Office, open_office
from tests.realtime.scene import briefing
from tests.realtime.test_calls import SHORT, notes, says, thoughts

_WORDS = briefing().wording


@asynccontextmanager
async def ringing(office: Office, *words: str, patience_ms: int = 3000) -> AsyncIterator[CarrierCall]:
    """A call under way; at the end it is over, and told."""
    call = CarrierCall(
        webhook=office.webhook, account_sid="AC" + "0" * 32, auth_token=AUTH_TOKEN, number=NUMBER, caller_number=CALLER,
        # Longer than the silence of a line that broke.
        caller=Caller(lines=[replace(says(each), after_silence_ms=1100) for each in words], patience_ms=patience_ms),
        to_ear=lambda *_: None,
    )  # fmt: skip
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        placing = tasks.create_task(call.place(), name="call")
        yield call
        await placing
        await office.worker.idle()


class TestACallThatLosesItsStream:
    async def test_goes_on_in_one_sentence_and_asks_nothing_twice(self) -> None:
        async with open_office(thoughts, desk=SHORT, resumes=True) as office:
            async with ringing(office, "yes please", "when are you open please", "goodbye") as call:
                await office.log.until(RecordingStarted)
                await office.mind.asked_about("open")
                await office.log.until(CallerTurn, count=2)
                await asyncio.sleep(0.3)
                call.breaks_off()
            facts = office.log.facts("calls")
            assert [type(fact) for fact in facts].count(CallResumed) == 1
            (left,) = [fact for fact in facts if isinstance(fact, CallLeft)]
            (resumed,) = [fact for fact in facts if isinstance(fact, CallResumed)]
            assert (left.reason, resumed.cause, resumed.attempt) == ("media-lost", "media-lost", 1)
            # The emulated carrier takes half a second to ask what follows.
            assert 500 <= resumed.at_ms - left.at_ms <= 1500
            assert office.voice.spoken.count(_WORDS.permission_question) == 1
            assert len([fact for fact in facts if isinstance(fact, DisclosureSpoken)]) == 1
            assert _WORDS.back in office.voice.spoken
            assert next(fact.reason for fact in facts if isinstance(fact, RecordingStopped)) == "media-lost"
            versions = [fact.consent_version for fact in facts if isinstance(fact, RecordingStarted)]
            assert versions == [1, 1]
            ends = [fact for fact in facts if isinstance(fact, CallEnded)]
            assert [end.reason for end in ends] == ["goodbye"]
            kept = office.tape()
            streams = {fact.object.rpartition("-")[0] for fact in facts if isinstance(fact, RecordingKept)}
            assert len(streams) == 2, "each stream has pieces of its own"
            assert any(piece.from_ms + len(piece.caller) // 8 <= left.at_ms for piece in kept)
            assert any(piece.from_ms >= resumed.at_ms for piece in kept)
            assert not any(piece.from_ms < resumed.at_ms < piece.from_ms + len(piece.caller) // 8 for piece in kept)
            assert not [fact for fact in facts if isinstance(fact, LateFact)]
            times = [fact.started_ms for fact in facts if isinstance(fact, AgentTurn) and fact.started_ms is not None]
            assert times == sorted(times)
            assert "resumed" not in notes(call)

    @pytest.mark.parametrize("forgotten", [False, True])
    async def test_goes_on_with_the_version_it_rang_with_while_that_is_known(self, *, forgotten: bool) -> None:
        later = replace(SHORT, version_hash="later", configuration={**SHORT.configuration, "wording": {"back": "Later."}})
        async with open_office(thoughts, desk=SHORT, resumes=True) as office:
            async with ringing(office, "goodbye") as call:
                await office.log.until(DisclosureSpoken)
                office.desks.publish(later, forget=forgotten)
                call.breaks_off()
            assert ("Later." in office.voice.spoken, _WORDS.back in office.voice.spoken) == (forgotten, not forgotten)
            assert office.worker.counters["resumes-with-another-version"] == forgotten

    async def test_is_apologised_for_and_ended_when_that_happens_too_often(self) -> None:
        async with open_office(thoughts, desk=SHORT, resumes=True) as office:
            async with ringing(office) as call:
                await office.log.until(DisclosureSpoken)
                for attempt in range(MOST_RESUMES):
                    call.breaks_off()
                    await office.log.until(CallResumed, count=attempt + 1)
                call.breaks_off()
            assert notes(call)[-3:] == ["say", "hangup", "completed"]
            assert office.log.facts("calls")[-1].reason == "worker-lost"

    async def test_is_ended_when_nobody_asks_for_it_again(self) -> None:
        settings = WorkerSettings(name="office", connect_within_seconds=0.2)
        async with open_office(thoughts, desk=SHORT, resumes=True, settings=settings) as office:
            async with ringing(office) as call:
                await office.log.until(DisclosureSpoken)
                call.hang_up_at_once()
            end = await office.log.until(CallEnded)
            assert end.reason == "media-lost"

    async def test_is_ended_at_once_without_resuming(self) -> None:
        async with open_office(thoughts, desk=SHORT, resumes=False) as office:
            async with ringing(office) as call:
                await office.log.until(DisclosureSpoken)
                call.breaks_off()
            assert office.log.facts("calls")[-1].reason == "media-lost"
            assert notes(call)[-2:] == ["hangup", "completed"]


class TestAWorkerThatIsToldToStop:
    async def test_hands_its_calls_over(self) -> None:
        balancer, stopping = Balancer([]), WorkerSettings(name="first", drain_within_seconds=0.2)
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(balancer.serving())
            second = await stack.enter_async_context(open_office(thoughts, desk=SHORT, resumes=True, behind=url))
            first = await stack.enter_async_context(
                open_office(thoughts, desk=SHORT, resumes=True, behind=url, log=second.log, keys=second.keys, settings=stopping)
            )
            balancer.add(first.address)
            async with ringing(first, "yes please", "when are you open please", "goodbye"):
                await first.log.until(CallerTurn)
                balancer.add(second.address)
                await first.log.until(CallerTurn, count=2, within_seconds=15)
                await asyncio.sleep(0.5)
                await first.worker.stop()
                assert first.worker.live_calls == 0
            facts = first.log.facts("calls")
            (left,) = [fact for fact in facts if isinstance(fact, CallLeft)]
            (resumed,) = [fact for fact in facts if isinstance(fact, CallResumed)]
            assert (left.reason, resumed.cause, resumed.worker) == ("worker-stops", "worker-stops", "office")
            assert second.voice.spoken[0] == _WORDS.back
            # It goes on from the word at which the first one stopped.
            (cut,) = [fact for fact in facts if isinstance(fact, AgentTurn) and fact.interrupted]
            unheard = first.opened(cut.said).removeprefix(first.opened(cut.heard)).strip()
            assert second.voice.spoken[1] == unheard
            assert [fact.reason for fact in facts if isinstance(fact, CallEnded)] == ["goodbye"]
            assert not [fact for fact in facts if isinstance(fact, LateFact)]

"""A live call in other hands than the caller's: a withdrawal and a hang-up that come over the API reach the line at once."""

import asyncio
from pathlib import Path

import aiohttp

from events.calls.control import HangUpOrdered
from events.calls.ending import EndedBy
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallReceived
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId
from infra.local.stack import Addresses
from infra.settings import Settings
from projections.calls import Recording
from tests.spoken.conversations import House, on_the_log, opened_house, sides, stretches

SECONDS = 120
# From the withdrawal on the log over the process manager and the owner to the recorder.
AT_ONCE_MS = 1500
FRAME_MS = 20


async def fact_of(house: House, call: StreamId, kind: type[Fact]) -> Recorded[Fact]:
    def is_it(found: Recorded[Fact]) -> bool:
        return found.stream == call and isinstance(found.fact, kind)

    async with asyncio.timeout(SECONDS):
        return await on_the_log(house.platform.reader, "calls", is_it)


async def received(house: House, caller: str) -> StreamId:
    """The stream of the call that this caller has begun."""
    key_ring = house.platform.installation.key_ring
    caller_ref = key_ring.reference(house.business.organisation_id, caller)

    def rings(found: Recorded[Fact]) -> bool:
        return isinstance(found.fact, CallReceived) and found.fact.caller_ref == caller_ref

    async with asyncio.timeout(SECONDS):
        return (await on_the_log(house.platform.reader, "calls", rings)).stream


class TestALiveCall:
    async def test_is_recorded_no_longer_and_is_ended_when_the_api_says_so(
        self, settings: Settings, stack: Addresses, tmp_path: Path, unique: str
    ) -> None:
        # A number that has not called before: what it allowed earlier would be taken for this call's.
        caller = f"+1202556{int(unique[1:], 16) % 10_000:04}"
        async with opened_house(settings, stack, tmp_path) as house, asyncio.TaskGroup() as tasks:
            platform, organisation = house.platform, house.business.organisation_id
            credentials = {"Authorization": f"Bearer {platform.installation.operator_key}", "Aybiza-Organisation": organisation}
            words = ("Yes, you may.", "What time do you close on Fridays?", "Please tell me something about your dentists.")
            ringing = tasks.create_task(house.ring("supervised", *words, caller=caller), name="the call")
            call = await received(house, caller)
            await fact_of(house, call, RecordingStarted)
            async with aiohttp.ClientSession(platform.url, headers=credentials) as http:
                reference = platform.installation.key_ring.reference(organisation, caller)
                async with http.delete(f"/v1/consents/caller_{reference}/recording") as answer:
                    assert answer.status == 202, await answer.text()
                ordered = await fact_of(house, call, RecordingStopOrdered)
                stopped = await fact_of(house, call, RecordingStopped)
                async with http.post(f"/v1/calls/{call.id}/hangup", json={"reason": "a supervisor's wish"}) as answer:
                    assert answer.status == 202, await answer.text()
                await fact_of(house, call, HangUpOrdered)
            record = await ringing
            told = await house.told("supervised", record)
            wav = await platform.recordings.wav(call.tenant, call.id)
        assert isinstance(stopped.fact, RecordingStopped)
        assert stopped.fact.reason == "consent-revoked"
        assert (stopped.occurred_at - ordered.occurred_at).total_seconds() * 1000 < AT_ONCE_MS
        summary = told.story.call
        assert (summary.end_reason, summary.ended_by) == ("hung-up-by-operator", EndedBy.OPERATOR)
        assert summary.recording is Recording.STOPPED
        assert [word.granted for word in told.story.consents] == [True, False]
        # The caller was cut off before everything was said, and what was said after the withdrawal is on no tape.
        assert len(record.said) < len(words)
        assert wav is not None
        until_ms = stopped.fact.at_ms + FRAME_MS
        assert [end for side in sides(wav) for _, end in stretches(side) if end > until_ms] == []

"""Whole calls whose engines fail, on real sockets: the caller hears everything, and is heard."""

import asyncio

from events.calls.ending import EngineFailure, EngineSwitched
from events.calls.talking import CallerTurn, DisclosureSpoken
from tests.realtime.office import Desk, Office, open_office
from tests.realtime.test_calls import SHORT, ring, says, thoughts

HASTY = Desk(configuration={**SHORT.configuration, "parameters": {"voice_within_ms": 500}})


def switched(office: Office) -> list[tuple[str, str]]:
    return [(fact.kind, fact.reason) for fact in office.log.facts("calls") if isinstance(fact, EngineSwitched)]


class TestACall:
    async def test_whose_voice_hangs_is_spoken_to_by_another(self) -> None:
        async with open_office(thoughts, desk=HASTY) as office:
            office.voice.hanging = 1
            await ring(office, says("no thank you"), says("goodbye"))
            assert office.log.facts("calls")[-1].reason == "goodbye"
            assert switched(office) == [("voice", "no audio in time")]
            assert [fact for fact in office.log.facts("calls") if isinstance(fact, EngineFailure)] == []

    async def test_whose_recogniser_breaks_off_hears_every_word(self) -> None:
        async with open_office(thoughts, desk=SHORT) as office:
            ringing = asyncio.create_task(ring(office, says("no thank you"), says("goodbye")))
            await office.log.until(DisclosureSpoken)
            office.ears.streams[0].break_off()
            await office.log.until(CallerTurn)
            office.ears.streams[1].break_off()
            await ringing
            assert office.log.facts("calls")[-1].reason == "goodbye"
            said = [office.opened(fact.words) for fact in office.log.facts("calls") if isinstance(fact, CallerTurn)]
            assert said == ["no thank you", "goodbye"]
            assert switched(office) == [("recogniser", "broken off")] * 2

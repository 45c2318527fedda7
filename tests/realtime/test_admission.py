"""Nobody comes in whom we could not serve, and nobody is turned away for one long step."""

import asyncio
from collections import Counter

from events.calls.ringing import CallReceived
from realtime.carrier.admission import Door, Load, LoadLimits, looked
from realtime.engines.slots import Slots
from realtime.worker import WorkerSettings
from tests.realtime.office import open_office
from tests.realtime.test_webhook import RING, post, ring, verbs

LIMITS = LoadLimits(most_lag_ms=100, most_busy=0.9, again=0.5, weight=0.5)


class TestLoad:
    def test_is_full_when_the_loop_is_late_or_busy_for_a_while(self) -> None:
        assert not looked(Load(), 150, 0, LIMITS).full
        assert looked(looked(Load(), 150, 0, LIMITS), 150, 0, LIMITS).full
        assert looked(Load(busy=0.9), 0, 0.95, LIMITS).full

    def test_is_not_full_again_before_it_is_well_below(self) -> None:
        full = Load(lag_ms=120, full=True)
        still = looked(full, 0, 0, LIMITS)
        assert (still.lag_ms, still.full) == (60, True)
        assert not looked(still, 0, 0, LIMITS).full

    async def test_is_measured(self) -> None:
        busy = iter(range(1000))
        door = Door(busy_seconds=lambda: float(next(busy)))
        looking = asyncio.create_task(door.run())
        async with asyncio.timeout(120):
            while not door.load.full:
                await asyncio.sleep(0.01)
        looking.cancel()
        assert not door.admits("CA1", Counter())


class TestSlots:
    def test_are_given_once_to_each_call_and_given_back(self) -> None:
        door, counters = Door(Slots([1])), Counter[str]()
        assert [door.admits("CA1", counters), door.admits("CA1", counters), door.admits("CA2", counters)] == [True, True, False]
        door.left("CA1")
        assert door.admits("CA2", counters)
        assert counters["rings-without-slot"] == 1


class TestARing:
    async def test_without_a_place_waits_and_is_refused_in_the_end(self) -> None:
        async with open_office(lambda _: [], door=Door(Slots([1])), settings=WorkerSettings(name="w", most_redirects=2)) as office:
            assert verbs(await ring(office)) == ["Connect", "Redirect"]
            other = "CA" + "1" * 32
            assert verbs(await ring(office, CallSid=other)) == ["Pause", "Redirect"]
            assert verbs(await post(office, "/twilio/voice?again=1", RING | {"CallSid": other})) == ["Pause", "Redirect"]
            assert verbs(await post(office, "/twilio/voice?again=2", RING | {"CallSid": other})) == ["Say", "Hangup"]
            assert len([fact for fact in office.log.facts("calls") if isinstance(fact, CallReceived)]) == 1
            await post(office, "/twilio/status", RING | {"CallStatus": "completed"})
            assert verbs(await ring(office, CallSid=other)) == ["Connect", "Redirect"]

    async def test_of_a_worker_that_drains_is_sent_on_at_once(self) -> None:
        async with open_office(lambda _: []) as office:
            await office.worker.drain()
            assert verbs(await ring(office)) == ["Redirect"]
            assert office.log.facts("calls") == []

"""Where partitions end is known of each by itself: what one broker cannot say of one of them takes nothing from the others."""

import asyncio

from commands.ports import Place
from infra.adapters.kafka.ends import offsets_of
from infra.adapters.kafka.fetching import LATEST
from infra.adapters.kafka.link import Link
from tests.infra.adapters.scripted_broker import ScriptedBroker, scripted_broker

NOT_LEADER = 6
PLACES = [Place("scripted", number) for number in range(4)]


async def asked(broker: ScriptedBroker, times: int) -> None:
    async with asyncio.timeout(120):
        while len(broker.asked_ends) < times:
            await asyncio.sleep(0)


class TestEnds:
    async def test_of_the_others_are_kept_while_one_partition_has_no_leader(self) -> None:
        async with scripted_broker(lambda _: {}) as broker, Link(broker.address, "test") as link:
            broker.refusing = {2: NOT_LEADER}
            looking = asyncio.create_task(offsets_of(link, PLACES, LATEST))
            await asked(broker, 3)
            broker.refusing = {}
            assert await looking == dict.fromkeys(PLACES, 7)
            assert broker.asked_ends[0] == [0, 1, 2, 3]
            assert {tuple(each) for each in broker.asked_ends[1:]} == {(2,)}

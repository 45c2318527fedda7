"""Processes that share the partitions of a real log: whoever is asked, the owner decides, and nothing is lost as ownership moves."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from commands.decider import NotFound
from commands.dispatch import CommandIdReused, Committed, CommitTooLarge, ExpectedVersionMismatch, LogUnavailable
from commands.flags import FLAGS, RemoveFlag, SetFlag
from commands.ports import Place
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId, partition_of
from tests.kafka_corner import Corner, corner, order, stream
from tests.neighbour import Neighbour, neighbour, until_owned

ON = SetFlag(enabled=True, variant="on")
OFF = SetFlag(enabled=False, variant="off")


@pytest.fixture
async def here(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


def places(corner: Corner, *numbers: int) -> list[Place]:
    return [Place(corner.flags, number) for number in numbers or range(corner.partitions)]


class TestCommandElsewhere:
    async def test_is_answered_as_at_home(self, here: Corner, tmp_path: Path) -> None:
        everywhere = places(here)
        async with neighbour(here, tmp_path, everywhere) as owner:
            await until_owned(owner, everywhere)
            async with neighbour(here, tmp_path, ()) as guest:
                first = await guest.owners(FLAGS, stream(), ON, order("first"), expected_version=0)
                assert (await owner.owners(FLAGS, stream(), ON, order("first")))[:2] == first[:2]
                again = await guest.owners(FLAGS, stream(), ON, order("first"))
                assert (again.position, again.version, again.repeated) == (first.position, first.version, True)
                with pytest.raises(ExpectedVersionMismatch) as conflict:
                    await guest.owners(FLAGS, stream(), OFF, order("second"), expected_version=7)
                assert (conflict.value.expected, conflict.value.found) == (7, 1)
                with pytest.raises(CommandIdReused):
                    await guest.owners(FLAGS, stream(), OFF, order("first", body="another"))
                with pytest.raises(NotFound):
                    await guest.owners(FLAGS, stream("nothing"), RemoveFlag(), order("remove"))
                large = SetFlag(enabled=True, variant="on", description="x" * 2_000_000)
                with pytest.raises(CommitTooLarge):
                    await guest.owners(FLAGS, stream(), large, order("large"))
                told: list[Recorded[Fact]] = []
                owner.owners.watch(stream(), told.append)
                third = await guest.owners(FLAGS, stream(), OFF, order("third"))
                assert told == list(third.facts)
                assert guest.owned() == set()


class TestHandOver:
    async def test_of_a_clean_stop_loses_and_delays_nobody(self, here: Corner, tmp_path: Path) -> None:
        stopping = asyncio.Event()
        async with neighbour(here, tmp_path, places(here, 0)) as stays, neighbour(here, tmp_path, ()) as guest:
            await until_owned(stays, places(here, 0))
            async with neighbour(here, tmp_path, places(here, 1, 2, 3, 4, 5, 6, 7)) as leaves:
                await until_owned(leaves, places(here, 1, 2, 3, 4, 5, 6, 7))
                asked = [asyncio.ensure_future(busy(guest, stream(f"s{number}"), stopping)) for number in range(12)]
                await asyncio.sleep(0.1)
            assert stays.owned() == set(places(here))
            stopping.set()
            for each in asked:
                versions = [committed.version for committed in await each]
                assert versions == list(range(1, len(versions) + 1))


async def busy(guest: Neighbour, at: StreamId, stopping: asyncio.Event) -> list[Committed]:
    """Commands for one stream, one after the other, each again while the answer is "try again"."""
    answers: list[Committed] = []
    while not stopping.is_set():
        turn = len(answers)
        try:
            answers.append(await guest.owners(FLAGS, at, (ON, OFF)[turn % 2], order(f"{turn}{at.id}")))
        except LogUnavailable as away:
            await asyncio.sleep(away.retry_after_ms / 1000)
    return answers


class TestAssignment:
    async def test_to_a_second_process_moves_partitions_and_the_first_one_forwards(self, here: Corner, tmp_path: Path) -> None:
        everywhere, half = places(here), places(here, 0, 1, 2, 3)
        async with neighbour(here, tmp_path, everywhere) as first:
            await until_owned(first, everywhere)
            streams = [stream(f"s{number}") for number in range(12)]
            for at in streams:
                await first.owners(FLAGS, at, ON, order(f"on {at.id}"))
            async with neighbour(here, tmp_path, half) as second:
                await until_owned(second, half)
                for at in streams:
                    assert (await first.owners(FLAGS, at, OFF, order(f"off {at.id}"))).version == 2
                assert first.owned() == set(everywhere) - set(half)
                assert {each.place for each in second.owners.ownerships() if each.assigned} == set(half)


class TestMint:
    async def test_gives_ids_that_fall_on_own_partitions(self, here: Corner, tmp_path: Path) -> None:
        async with neighbour(here, tmp_path, places(here, 3)) as owner:
            numbers = iter(range(100_000))
            assert owner.owners.mint("flags", "AYB-TEST-TEST-TEST", "flags", lambda: f"s{next(numbers)}") == "s0"
            await until_owned(owner, places(here, 3))
            minted = [owner.owners.mint("flags", "AYB-TEST-TEST-TEST", "flags", lambda: f"s{next(numbers)}") for _ in range(20)]
        assert {partition_of(stream(name).key, here.partitions) for name in minted} == {3}


class TestWatchElsewhere:
    async def test_is_told_of_every_fact_once_as_ownership_comes_and_goes(self, here: Corner, tmp_path: Path) -> None:
        async with AsyncExitStack() as stack, neighbour(here, tmp_path, ()) as guest:
            owner = await stack.enter_async_context(neighbour(here, tmp_path, places(here)))
            await until_owned(owner, places(here))
            await owner.owners(FLAGS, stream(), ON, order("before"))
            told: list[Recorded[Fact]] = []
            facts: list[Recorded[Fact]] = []
            guest.owners.watch(stream(), told.append)
            async with asyncio.timeout(120):
                while not told:
                    turn = len(facts)
                    facts += (await owner.owners(FLAGS, stream(), (OFF, ON)[turn % 2], order(f"turn{turn}"))).facts
                    await asyncio.sleep(0.01)
            facts += (await guest.owners(FLAGS, stream(), RemoveFlag(), order("removed"))).facts
            await all_told(told, facts)
            # The owner goes in good order; the guest owned nothing, so that it claims when it needs to.
            await stack.aclose()
            for turn in range(4):
                facts += (await guest.owners(FLAGS, stream(), (ON, OFF)[turn % 2], order(f"own{turn}"))).facts
            await all_told(told, facts)
            assert guest.owned() == {here.place(stream())}
            async with neighbour(here, tmp_path, places(here)) as another:
                await until_owned(another, places(here))
                facts += (await guest.owners(FLAGS, stream(), RemoveFlag(), order("removed again"))).facts
                facts += (await another.owners(FLAGS, stream(), ON, order("and again"))).facts
                await all_told(told, facts)


async def all_told(told: list[Recorded[Fact]], facts: list[Recorded[Fact]]) -> None:
    """Watchers hear what was confirmed soon after, without gap or repeat; from the first that they heard on."""
    async with asyncio.timeout(120):
        while not told or told[-1] != facts[-1]:
            await asyncio.sleep(0.005)
    assert told == facts[-len(told) :]

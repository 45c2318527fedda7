"""Who should own which partition, by Kafka's consumer group and by a person's word."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from commands.ports import Place
from commands.routing.ports import Assignment
from infra.adapters.kafka.membership import FixedAssignments, GroupAssignments, Share
from infra.settings import Settings
from tests.faults.own_broker import OwnBroker
from tests.kafka_corner import Corner, corner

_SESSION_SECONDS = 1.0
_SOON_SECONDS = 120.0
# So long that no machine stands still for it: whoever lives is never taken for dead.
_LONG_SESSION_SECONDS = 120.0
_AT_ONCE_SECONDS = 60.0


class Member:
    """Remembers every assignment it was given."""

    def __init__(self) -> None:
        self.given: list[Assignment] = []
        self._changed = asyncio.Condition()

    @property
    def partitions(self) -> set[int]:
        return {place.partition for place in self.given[-1].places} if self.given else set()

    async def follow(self, assignments: GroupAssignments) -> None:
        async with aclosing(assignments.changes()) as changes:
            async for assignment in changes:
                async with self._changed:
                    self.given.append(assignment)
                    self._changed.notify_all()

    async def has(self, count: int) -> set[int]:
        async with asyncio.timeout(_SOON_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.partitions) == count)
        return self.partitions


@asynccontextmanager
async def joined(
    bootstrap: str, group: str, topics: list[str], session_seconds: float = _LONG_SESSION_SECONDS, instance: str | None = None
) -> AsyncIterator[Member]:
    """Leaves the group at the end."""
    member = Member()
    assignments = GroupAssignments(bootstrap, group, topics, session_seconds=session_seconds, instance=instance)
    task = asyncio.create_task(member.follow(assignments))
    try:
        yield member
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def there(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


class TestAGroup:
    async def test_shares_all_partitions_and_moves_as_few_as_possible(self, there: Corner, unique: str) -> None:
        async with joined(there.bootstrap, unique, [there.flags]) as first:
            assert await first.has(8) == set(range(8))
            async with joined(there.bootstrap, unique, [there.flags]) as second:
                kept, taken = await first.has(4), await second.has(4)
                assert kept | taken == set(range(8))
                async with joined(there.bootstrap, unique, [there.flags]) as third:
                    rest = await third.has(2)
                    # Who stays keeps what it has, but for what the newcomer gets.
                    assert await first.has(3) < kept
                    assert await second.has(3) < taken
                    assert first.partitions | second.partitions | rest == set(range(8))
                    before = first.partitions
                assert await first.has(4) > before
        generations = [assignment.generation for assignment in first.given]
        assert generations == sorted(set(generations))

    async def test_gives_everything_to_who_is_left_when_another_leaves(self, there: Corner, unique: str) -> None:
        async with joined(there.bootstrap, unique, [there.flags]) as first:
            async with joined(there.bootstrap, unique, [there.flags]) as second:
                await asyncio.gather(first.has(4), second.has(4))
                left = asyncio.get_running_loop().time()
            assert await first.has(8) == set(range(8))
            # It was told, and did not wait for a session to end.
            assert asyncio.get_running_loop().time() - left < _AT_ONCE_SECONDS

    async def test_misses_a_killed_member_after_its_session(self, there: Corner, unique: str) -> None:
        async with joined(there.bootstrap, unique, [there.flags], _SESSION_SECONDS) as first:
            await first.has(8)
            command = [sys.executable, "-m", "tests.infra.adapters.group_member", there.bootstrap, unique, there.flags]
            process = await asyncio.create_subprocess_exec(*command, str(_SESSION_SECONDS), stdout=asyncio.subprocess.PIPE)
            try:
                assert process.stdout is not None
                assert len((await process.stdout.readline()).split()) == 4
                await first.has(4)
            finally:
                process.kill()
                await process.wait()
            assert await first.has(8) == set(range(8))

    async def test_keeps_the_partitions_of_a_named_member_for_it_while_it_is_started_again(self, there: Corner, unique: str) -> None:
        group = (there.bootstrap, unique, [there.flags])
        async with joined(*group, instance="one") as first:
            await first.has(8)
            async with joined(*group, instance="two") as second:
                had, _ = await second.has(4), await first.has(4)
            before = len(first.given)
            async with joined(*group, instance="two") as again:
                assert await again.has(4) == had
            assert len(first.given) == before

    async def test_of_one_process_knows_nothing_of_its_other_groups(self, there: Corner, unique: str) -> None:
        async with joined(there.bootstrap, f"{unique}a", [there.flags]) as first:
            await first.has(8)
            async with (
                joined(there.bootstrap, f"{unique}b", [there.flags]) as second,
                joined(there.bootstrap, f"{unique}b", [there.flags]) as third,
            ):
                assert await second.has(4) | await third.has(4) == set(range(8))
            assert len(first.given) == 1

    async def test_keeps_its_word_while_the_broker_is_away(self, tmp_path: Path, settings: Settings, unique: str) -> None:
        broker = OwnBroker(tmp_path / "kafka", settings)
        await broker.start()
        try:
            there = await corner(broker.address, unique)
            async with joined(broker.address, unique, [there.flags]) as member:
                await member.has(8)
                await broker.kill()
                await broker.start()
                async with joined(broker.address, unique, [there.flags]) as second:
                    await asyncio.gather(member.has(4), second.has(4))
                    assert all(assignment.places for assignment in member.given)
                    broker.freeze()
                    begun = asyncio.get_running_loop().time()
                # Leaving does not wait for a broker that does not answer.
                assert asyncio.get_running_loop().time() - begun < _AT_ONCE_SECONDS
        finally:
            broker.thaw()
            await broker.kill()


class TestAPersonsWord:
    @pytest.mark.parametrize(
        ("text", "partitions"), [("all", [0, 1, 2, 3, 4]), ("1/1", [0, 1, 2, 3, 4]), ("1/3", [0, 3]), ("2/3", [1, 4]), ("3/3", [2])]
    )
    async def test_is_a_share_of_every_topic(self, text: str, partitions: list[int]) -> None:
        fixed = FixedAssignments([Place(topic, number) for topic in ("b", "a") for number in range(5)], Share(text))
        async with aclosing(fixed.changes()) as changes:
            assignment = await anext(changes)
        places = frozenset(Place(topic, number) for topic in ("a", "b") for number in partitions)
        assert assignment == Assignment(generation=1, places=places)

    @pytest.mark.parametrize("text", ["", "0/3", "4/3", "2", "two/three", "1/0", "-1/3", "all/2"])
    def test_is_refused_where_it_means_nothing(self, text: str) -> None:
        with pytest.raises(ValueError, match="for the second of three processes"):
            Share(text)

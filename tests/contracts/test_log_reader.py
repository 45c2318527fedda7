"""What the read side relies on of a reader of the log: the real one, and the one on paper that stands in for it in tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from events.admission import Fence
from events.flags import FlagSet
from events.records import AdmittedBatch
from events.registry import Fact
from events.streams import StreamId, topic_of
from projections.ports import LogReader
from tests.projections.log import open_log
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

ON = FlagSet(enabled=True, variant="v")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A reader, the topic it is asked for, and a way to append one commit."""

    reader: LogReader
    topic: str
    append: Callable[..., Awaitable[object]]

    async def all(self, start: Mapping[tuple[str, int], tuple[int, Fence]] | None = None) -> list[AdmittedBatch]:
        return [batch async for batch in self.reader.batches([self.topic], start or {}, stop_at_end=True)]


@pytest.fixture(params=["kafka", "paper"])
async def given(request: pytest.FixtureRequest, kafka: str, unique: str) -> AsyncIterator[Given]:
    if request.param == "kafka":
        async with open_log(kafka, unique) as log:
            yield Given(reader=log.reader, topic=log.topic_of("flags"), append=log.append)
    else:
        paper = PaperReader(largest_batch=3)

        async def append(stream: StreamId, *facts: Fact) -> None:
            paper.append(stream, *facts)

        yield Given(reader=paper, topic=topic_of("flags"), append=append)


def flag(number: int) -> StreamId:
    return StreamId(AYB, "flags", f"flag-{number}")


class TestReader:
    async def test_gives_every_commit_whole_and_in_order(self, given: Given) -> None:
        for number in range(8):
            await given.append(flag(number % 3), ON, ON, ON)
        for batch in await given.all():
            assert not batch.records or batch.records[-1].header is not None
            assert all(raw.header and raw.header.index < raw.header.count for raw in batch.records)
            if batch.records and (last := batch.records[-1].header):
                assert last.index == last.count - 1
        versions = [raw.header.version for batch in await given.all() for raw in batch.records if raw.header and raw.key == flag(0).key]
        assert versions == list(range(1, 10))

    async def test_says_where_to_go_on_and_goes_on_there(self, given: Given) -> None:
        for number in range(6):
            await given.append(flag(number), ON)
        batches = await given.all()
        first = next(batch for batch in batches if batch.records)
        rest = await given.all({(first.topic, first.partition): (first.next_offset, first.fence)})
        assert {(raw.partition, raw.offset) for batch in rest for raw in batch.records} == {
            (raw.partition, raw.offset) for batch in batches for raw in batch.records
        } - {(raw.partition, raw.offset) for raw in first.records}

    async def test_reads_chosen_partitions_only(self, given: Given) -> None:
        for number in range(8):
            await given.append(flag(number), ON)
        everything = {(raw.partition, raw.offset) for batch in await given.all() for raw in batch.records}
        chosen = [batch async for batch in given.reader.batches([given.topic], {}, stop_at_end=True, places=[(given.topic, 1)])]
        assert {batch.partition for batch in chosen} == {1}
        found = {(raw.partition, raw.offset) for batch in chosen for raw in batch.records}
        assert found == {place for place in everything if place[0] == 1} != everything

    async def test_reaches_the_end_that_it_names_also_where_nothing_counts(self, given: Given) -> None:
        await given.append(flag(1), ON)
        ends = await given.reader.end_offsets([given.topic])
        reached = {(batch.topic, batch.partition): batch.next_offset for batch in await given.all()}
        assert reached == {place: end for place, end in ends.items() if end}

    async def test_waits_for_what_is_still_to_come(self, given: Given) -> None:
        await given.append(flag(1), ON)
        ends = await given.reader.end_offsets([given.topic])
        found = asyncio.Event()

        async def follow() -> None:
            async with aclosing(given.reader.batches([given.topic], {})) as batches:
                async for batch in batches:
                    if any(raw.offset >= ends[batch.topic, batch.partition] for raw in batch.records):
                        found.set()
                        return

        async with asyncio.TaskGroup() as tasks, asyncio.timeout(120):
            tasks.create_task(follow())
            await given.append(flag(1), ON)
            await found.wait()

    async def test_knows_how_to_decode_what_it_gives(self, given: Given) -> None:
        await given.append(flag(1), ON)
        (raw,) = [raw for batch in await given.all() for raw in batch.records]
        assert given.reader.codec.decode(raw.value) == ON

"""Whoever listens hears each fact once, wherever and how often they begin again."""

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from events.admission import Fence
from events.flags import FlagSet
from events.positions import Cursor, InvalidPosition
from events.records import AdmittedBatch
from events.rooms import ROOMS
from events.selecting import Select
from events.streams import StreamId, topic_of
from projections import feed as feeding_on
from projections.feed import Feed, Heard, chosen
from projections.feed_names import Resume, Spot, VectorsAway, resume_at
from tests.projections.paper import PaperReader

OURS, THEIRS = "AYB-OURS-OURS-OURS", "AYB-THEI-RSTH-EIRS"
TOPICS = [topic_of(room) for room in ROOMS]


class Shelf:
    """Vectors in memory, on which they are found only while it stands."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.stands = True

    async def keep(self, name: str, vector: str) -> None:
        if not self.stands:
            raise VectorsAway("the shelf fell over")
        self.kept[name] = vector

    async def find(self, name: str) -> str | None:
        if not self.stands:
            raise VectorsAway("the shelf fell over")
        return self.kept.get(name)


class ChoosyReader(PaperReader):
    """A reader on paper that stops and selects as the real one does."""

    async def batches(  # type: ignore[override]
        self, topics: Sequence[str], start: Mapping[Spot, tuple[int, Fence]], *, stop: Mapping[Spot, int] | None = None,
        select: Select | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:  # fmt: skip
        wanted = (select or Select()).compiled()
        open_places = None if stop is None else {place for place, offset in stop.items() if start.get(place, (0, Fence()))[0] < offset}
        if open_places == set():
            return
        async with aclosing(super().batches(topics, start)) as batches:
            async for batch in batches:
                place, end = (batch.topic, batch.partition), batch.next_offset
                if open_places is not None and place not in open_places:
                    continue
                if stop is not None:
                    end = min(end, stop.get(place, 0))
                records = [raw for raw in batch.records if wanted(raw) and raw.offset < end]
                yield AdmittedBatch(batch.topic, batch.partition, records, end, batch.fence)
                if open_places is not None and stop is not None and end >= stop.get(place, 0):
                    open_places.discard(place)
                    if not open_places:
                        return


def flag(name: str, organisation: str = OURS) -> StreamId:
    return StreamId(organisation, "flags", name)


@asynccontextmanager
async def feeding(reader: ChoosyReader, shelf: Shelf | None = None) -> AsyncIterator[Feed]:
    async def beginning() -> Mapping[Spot, tuple[int, Fence]]:
        return {place: (0, Fence()) for place in await reader.end_offsets(TOPICS)}

    feed = Feed(reader, TOPICS, beginning, shelf or Shelf())
    task = asyncio.create_task(feed.run(), name="feed")
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.wait([task])


async def listen(feed: Feed, count: int, name: str | None = None, organisation: str = OURS) -> list[Heard]:
    at = Resume(Cursor(), {}) if name is None else await resume_at(name, feed.vectors)
    found: list[Heard] = []
    if not count:
        return found
    async with asyncio.timeout(120), aclosing(feed.follow(organisation, at)) as facts:
        async for fact in facts:
            assert fact is not None
            found.append(fact)
            if len(found) == count:
                break
    return found


def offsets(found: Sequence[Heard]) -> list[tuple[Spot, int]]:
    return [(each.place, each.offset) for each in found]


@pytest.mark.parametrize("seed", range(12))
async def test_every_listener_hears_every_fact_once_however_often_it_begins_again(seed: int) -> None:
    draw = random.Random(seed)
    reader = ChoosyReader(partitions=draw.randint(1, 40), seed=seed, largest_batch=draw.choice((1, 3, 50)))
    names = [f"flag{number}" for number in range(12)]

    def happens(times: int) -> None:
        for _ in range(times):
            reader.append(
                flag(draw.choice(names), draw.choice((OURS, OURS, THEIRS))), *[FlagSet(enabled=True, variant="v")] * draw.randint(1, 3)
            )

    happens(20)
    async with feeding(reader) as feed, feeding(reader, feed.vectors if isinstance(feed.vectors, Shelf) else None) as other:
        heard = await listen(feed, 1)
        for _ in range(8):
            happens(draw.randint(1, 30))
            reader.append(flag("ours"), *[FlagSet(enabled=True, variant="v")] * 5)
            # Another process, or the same; as many as are there, or fewer.
            heard += await listen(draw.choice((feed, other)), draw.randint(1, 5), heard[-1].name)
        expected = sum([raw.key.startswith(OURS.encode()) for raw in reader.all_records()])
        heard += await listen(feed, expected - len(heard), heard[-1].name)
    told = offsets(heard)
    assert len(told) == len(set(told)) == expected
    for place in {place for place, _ in told}:
        within = [offset for where, offset in told if where == place]
        assert within == sorted(within)


class TestFollow:
    async def test_tells_an_organisation_only_its_own(self) -> None:
        reader = ChoosyReader()
        reader.append(flag("a"), FlagSet(enabled=True, variant="v"))
        reader.append(flag("a", THEIRS), FlagSet(enabled=True, variant="v"))
        async with feeding(reader) as feed:
            (fact,) = await listen(feed, 1, organisation=THEIRS)
        assert fact.recorded.stream.tenant == THEIRS

    async def test_goes_on_after_more_was_told_than_is_remembered(self) -> None:
        reader = ChoosyReader(partitions=1)
        reader.append(flag("a"), FlagSet(enabled=True, variant="v"))
        async with feeding(reader) as feed:
            slow = feed.follow(OURS)
            async with asyncio.timeout(120), aclosing(slow):
                told = [await anext(slow)]
                for _ in range(100):
                    reader.append(flag("a"), *[FlagSet(enabled=True, variant="v")] * 50)
                await listen(feed, 3000)
                told += [await anext(slow) for _ in range(5000)]
        assert [fact.offset for fact in told if fact is not None] == list(range(1, 5002))

    async def test_remembers_no_more_than_so_many_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(feeding_on, "_REMEMBERED_BYTES", 10_000)
        reader = ChoosyReader(partitions=1)
        reader.append(flag("a"), FlagSet(enabled=True, variant="v"))
        async with feeding(reader) as feed:
            slow = feed.follow(OURS)
            async with asyncio.timeout(120), aclosing(slow):
                told = [await anext(slow)]
                reader.append(flag("a"), *[FlagSet(enabled=True, variant="v" * 1000)] * 300)
                await listen(feed, 301)
                gc.collect()
                assert sum(isinstance(each, Heard) for each in gc.get_objects()) < 100
                told += [await anext(slow) for _ in range(300)]
        assert [fact.offset for fact in told if fact is not None] == list(range(1, 302))

    async def test_goes_on_without_a_shelf(self) -> None:
        reader, shelf = ChoosyReader(partitions=64), Shelf()
        for number in range(30):
            reader.append(flag(f"f{number}"), FlagSet(enabled=True, variant="v"))
        shelf.stands = False
        async with feeding(reader, shelf) as feed:
            (first,) = await listen(feed, 1)
            assert first.name.startswith("v")
            rest = await listen(feed, 29, first.name)
        assert len({(fact.place, fact.offset) for fact in (first, *rest)}) == 30

    async def test_ends_when_the_process_stops(self) -> None:
        reader = ChoosyReader()
        reader.append(flag("a"), FlagSet(enabled=True, variant="v"))
        async with feeding(reader) as feed, asyncio.timeout(120):
            facts = feed.follow(OURS)
            await anext(facts)
            waiting = asyncio.ensure_future(anext(facts, None))
            await asyncio.sleep(0)
            feed.close()
            assert await waiting is None
            assert feed.full(OURS)

    async def test_is_not_kept_from_catching_up_by_another_organisation_that_reads_slowly(self) -> None:
        reader = ChoosyReader()
        for organisation in (OURS, THEIRS):
            reader.append(flag("a", organisation), *[FlagSet(enabled=True, variant="v")] * 5)
        async with feeding(reader) as feed, AsyncExitStack() as slow:
            await listen(feed, 1, organisation=THEIRS)
            first = [
                asyncio.ensure_future(anext(await slow.enter_async_context(aclosing(feed.follow(OURS, Resume(Cursor(), {}))))))
                for _ in range(40)
            ]
            done, waiting = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED, timeout=120)
            assert done
            assert len(await listen(feed, 5, organisation=THEIRS)) == 5
            for each in waiting:
                each.cancel()
            await asyncio.wait(first)

    async def test_says_now_and_then_that_nothing_came(self) -> None:
        async with feeding(ChoosyReader()) as feed, asyncio.timeout(120), aclosing(feed.follow(OURS, beat_seconds=0.01)) as facts:
            assert [await anext(facts) for _ in range(3)] == [None, None, None]


class TestNames:
    async def test_stay_short_where_vectors_are_kept(self) -> None:
        reader, shelf = ChoosyReader(partitions=64), Shelf()
        for number in range(300):
            reader.append(flag(f"f{number}"), FlagSet(enabled=True, variant="v"))
        async with feeding(reader, shelf) as feed:
            found = await listen(feed, 300)
        assert max(len(fact.name) for fact in found) < 600
        assert len(shelf.kept) < 20

    @pytest.mark.parametrize("name", ["", "x", "v", "v!", "k12", "vAAAA.0-0", "k" + "g" * 33])
    async def test_that_are_not_ours_are_refused(self, name: str) -> None:
        with pytest.raises(InvalidPosition):
            await resume_at(name, Shelf())

    async def test_that_are_kept_no_longer_mean_nothing(self) -> None:
        assert await resume_at("k" + "0" * 32, Shelf()) is None


def test_types_are_chosen_with_or_without_their_version() -> None:
    assert chosen([])("call-ended.v1")
    assert chosen(["call-ended"])("call-ended.v2")
    assert not chosen(["call-ended.v1"])("call-ended.v2")
    assert not chosen(["call-ended"])("call-answered.v1")

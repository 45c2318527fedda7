"""A topic grown from 8 partitions to 16, while owners write to it: streams whole and in order, repeats answered, nothing counted twice."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from commands.dispatch import CommandIdReused, Committed, ExpectedVersionMismatch, LogUnavailable
from commands.flags import FLAGS, RemoveFlag, SetFlag
from commands.ownership.appending import World
from commands.ports import LogAway, Place
from commands.routing.owners import Owners
from events.admission import LAST_TERM, Fence, Verdict, admit
from events.headers import Kind, RecordHeader
from events.positions import Cursor, Position
from events.rooms import ROOMS, prepared_codec
from events.selecting import Select
from events.streams import StreamId, partition_of, topic_of
from infra.adapters.kafka.carrying import carried_over
from infra.adapters.kafka.copying import BATCH_BYTES, CannotGrow, Hands
from infra.adapters.kafka.growing import Generations, grow
from infra.adapters.kafka.origins import origin_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.topics import TopicsRefused, ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres import builds
from infra.adapters.postgres.builds import BuildState, build_of
from infra.adapters.postgres.comparing import compare
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.rows import digest_of
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.redis import connected as redis_connected
from infra.apps.beside import build_beside, folded
from infra.apps.rebuild import ReadStores, rebuild_and_compare
from projections.flags import FLAGS as FLAG_ROWS
from projections.ports import named
from projections.runner import Runner
from tests.infra.adapters.dying_log import DyingLog
from tests.kafka_corner import DECIDERS, Corner, admitted, corner, everything, order, stream

FLAGS_V1 = next(manifest for manifest in manifests() if manifest.room == "flags")
FLAGS_V2 = replace(FLAGS_V1, generation=2, partitions={"local": 16, "production": 128})
STREAMS = [stream(f"s{number}") for number in range(24)]


@dataclass(frozen=True, slots=True)
class Growing:
    """Both generations, and a log that takes what growing appends."""

    here: Corner
    log: KafkaLog

    @property
    def new(self) -> str:
        return FLAGS_V2.topic(self.here.prefix)

    async def grow(self, log: KafkaLog | None = None, partitions: int = 16) -> Mapping[str, int]:
        schemas = self.here.schemas(self.log)
        hands = Hands(kafka=log or self.log, codec=prepared_codec(), now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        generations = Generations(old=self.here.flags, old_partitions=8, new=self.new, new_partitions=partitions)
        return await grow(generations, hands, self.here.reader(self.log), schemas)

    def owners(self, topic: str, partitions: int) -> Owners:
        schemas = self.here.schemas(self.log)
        world = World(log=self.log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        return Owners({"flags": (topic, partitions)}, DECIDERS, schemas.codec, world, address="test")

    async def by_stream(self, topic: str) -> Mapping[bytes, Sequence[tuple[Any, ...]]]:
        """All that counts for each stream, in its order, without what tells where it lies and who put it there."""
        found: defaultdict[bytes, list[tuple[Any, ...]]] = defaultdict(list)
        for raw in await admitted(self.here.reader(self.log), topic):
            if raw.header is not None and raw.header.kind in {Kind.EVENT, Kind.RECEIPT}:
                told = raw.header._replace(term=0, claim_id=b"")
                found[raw.key].append((raw.value, raw.timestamp_ms, raw.ce_type, told))
        return found


@pytest.fixture
async def growing(kafka: str, unique: str) -> AsyncIterator[Growing]:
    here = await corner(kafka, unique)
    await ensure_topics(kafka, [FLAGS_V2], "local", prefix=unique, growing=True)
    async with KafkaLog(kafka, batch_bytes=BATCH_BYTES) as log:
        yield Growing(here, log)


async def written(owners: Owners, turns: int) -> dict[str, tuple[StreamId, object, Committed]]:
    """Commands of many callers; what was acknowledged. Those that change nothing leave receipts."""
    acknowledged: dict[str, tuple[StreamId, object, Committed]] = {}

    async def caller(at: StreamId) -> None:
        for turn in range(turns):
            name, command = f"{at.id}t{turn}", SetFlag(enabled=turn % 3 == 0, variant=f"v{turn // 2}")
            try:
                acknowledged[name] = (at, command, await owners(FLAGS, at, command, order(name)))
            except LogUnavailable:
                return

    async with asyncio.TaskGroup() as tasks:
        for at in STREAMS:
            tasks.create_task(caller(at))
    return acknowledged


class TestGrow:
    async def test_under_load_keeps_every_stream_whole_and_in_order(self, growing: Growing) -> None:
        async with growing.owners(growing.here.flags, 8) as owners, asyncio.timeout(120):
            before = await written(owners, 6)
            assert len(before) == 6 * len(STREAMS)
            async with asyncio.TaskGroup() as tasks:
                during = tasks.create_task(written(owners, 10**6))
                await asyncio.sleep(0.05)
                copied = await growing.grow()
        acknowledged = before | during.result()
        old, new = await growing.by_stream(growing.here.flags), await growing.by_stream(growing.new)
        assert old == new
        assert sum(len(records) for records in new.values()) == copied["event"] + copied["receipt"]
        assert copied["receipt"] > 0
        by_command = {told.command_id: told for records in new.values() for *_, told in records}
        for name, (_, _, committed) in acknowledged.items():
            assert by_command[order(name).command_id].version == committed.version
        for raw in await admitted(growing.here.reader(growing.log), growing.new):
            assert not raw.key or raw.partition == partition_of(raw.key, 16)
        assert len({partition_of(key, 16) for key in new}) > 8, "the streams lay on the partitions that there were before"

        async with growing.owners(growing.new, 16) as owners, asyncio.timeout(120):
            for name, (at, command, committed) in [*before.items(), *list(during.result().items())[-50:]]:
                again = await owners(FLAGS, at, command, order(name))
                assert (again.repeated, again.version, again.position.topic) == (True, committed.version, growing.new)
            with pytest.raises(CommandIdReused):
                await owners(FLAGS, STREAMS[0], SetFlag(enabled=True, variant="other"), order(f"{STREAMS[0].id}t0", body="other"))
            version = new[STREAMS[0].key][-1][-1].version
            with pytest.raises(ExpectedVersionMismatch):
                await owners(FLAGS, STREAMS[0], RemoveFlag(), order("late"), expected_version=version - 1)
            assert (await owners(FLAGS, STREAMS[0], RemoveFlag(), order("next"), expected_version=version)).version == version + 1

    async def test_closes_the_old_generation_for_whoever_still_writes_to_it(self, growing: Growing) -> None:
        async with growing.owners(growing.here.flags, 8) as owners, asyncio.timeout(120):
            await owners(FLAGS, STREAMS[0], SetFlag(enabled=True, variant="on"), order("first"))
            await growing.grow()
            for number in range(3):
                with pytest.raises(LogUnavailable):
                    await owners(FLAGS, STREAMS[0], SetFlag(enabled=False, variant="on"), order(f"late{number}"))
        place = growing.here.place(STREAMS[0])
        fence = (await growing.here.reader(growing.log).position_at(*place, await growing.log.end_offset(place)))[1]
        forged = RecordHeader(kind=Kind.CLAIM, term=2**63, claim_id=b"f" * 16)
        assert fence.term == LAST_TERM
        assert admit(fence, forged) == (fence, Verdict.LOST_CLAIM)
        assert len((await growing.by_stream(growing.here.flags))[STREAMS[0].key]) == 1

    async def test_keeps_times_of_appending_and_says_where_each_commit_lay(self, growing: Growing) -> None:
        async with growing.owners(growing.here.flags, 8) as owners:
            first = await owners(FLAGS, STREAMS[0], SetFlag(enabled=True, variant="on"), order("first"))
        await growing.grow()
        place = Place(growing.new, partition_of(STREAMS[0].key, 16))
        raws = await everything(growing.log, place)
        assert [raw.timestamp_ms for raw in raws] == sorted(raw.timestamp_ms for raw in raws)
        assert await origin_in(growing, place) == first.position

    async def test_that_dies_anywhere_goes_on_where_it_was(self, growing: Growing) -> None:
        async with growing.owners(growing.here.flags, 8) as owners:
            await written(owners, 4)
        died = 0
        async with DyingLog(growing.here.bootstrap, batch_bytes=BATCH_BYTES) as dying:
            dying.on_its_way = []
            for left in (0, 1, 2, 3, 4, 5, 7, 9, 11):
                dying.appends_left, dying.arrives = left, left % 2 == 0
                with suppress(LogAway):
                    await growing.grow(dying)
                died += dying.appends_left < 0
        assert died > 5
        await growing.grow()
        assert await growing.by_stream(growing.new) == await growing.by_stream(growing.here.flags)
        assert await growing.grow() == {}

    async def test_by_two_at_once_is_done_once(self, growing: Growing) -> None:
        async with growing.owners(growing.here.flags, 8) as owners:
            await written(owners, 4)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            logs = [await stack.enter_async_context(KafkaLog(growing.here.bootstrap, batch_bytes=BATCH_BYTES)) for _ in range(3)]
            for log in logs:
                tasks.create_task(disturbed(growing, log))
        await growing.grow()
        assert await growing.by_stream(growing.new) == await growing.by_stream(growing.here.flags)

    async def test_closed_by_a_claim_that_is_not_the_last_loses_what_is_written_after(
        self, growing: Growing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The negative control: owners claim again, and what they acknowledge then is not on the next generation."""
        monkeypatch.setattr("infra.adapters.kafka.growing.LAST_TERM", 50)
        async with growing.owners(growing.here.flags, 8) as owners, asyncio.timeout(120):
            await written(owners, 2)
            await growing.grow()
            while all(committed.repeated for _, _, committed in (await written(owners, 3)).values()):
                await asyncio.sleep(0.1)
        assert await growing.by_stream(growing.new) != await growing.by_stream(growing.here.flags)


class TestCursor:
    async def test_carried_over_goes_on_with_what_was_not_read_and_with_that_only(self, growing: Growing) -> None:
        reader = growing.here.reader(growing.log)
        async with growing.owners(growing.here.flags, 8) as owners:
            await written(owners, 3)
            cursor, read = await following(reader, growing.here.flags, Cursor({("elsewhere", 1): (5, Fence(1, b"e" * 16))}))
            await written(owners, 5)
        async with DyingLog(growing.here.bootstrap, batch_bytes=BATCH_BYTES) as dying:
            # What arrives behind the next growth's claim is on the topic, and counts for nobody.
            dying.appends_left, dying.on_its_way = 7, []
            with suppress(LogAway):
                await growing.grow(dying)
            await growing.grow()
            for place, records in dying.on_its_way:
                await growing.log.append(place, records)
        async with growing.owners(growing.new, 16) as owners:
            await written(owners, 6)
        carried = await carried_over(growing.here.bootstrap, cursor, growing.here.flags, growing.new)
        assert {place[0] for place in carried} == {"elsewhere", growing.new}
        end, rest = await following(reader, growing.new, carried)
        expected = [told for records in (await growing.by_stream(growing.new)).values() for *_, told in records]
        assert sorted(read + rest) == sorted(told.commit_id for told in expected if told.kind is Kind.EVENT)
        assert len(rest) > 0 < len(read)
        # At the end there is nothing left, from the beginning there is everything.
        assert (await following(reader, growing.new, end))[1] == []
        whole = await carried_over(growing.here.bootstrap, Cursor(), growing.here.flags, growing.new)
        assert sorted((await following(reader, growing.new, whole))[1]) == sorted(read + rest)


async def following(reader: KafkaLogReader, topic: str, cursor: Cursor) -> tuple[Cursor, list[bytes]]:
    """Read to the end; the cursor there, and the commits that were met."""
    met: list[bytes] = []
    async for batch in reader.batches([topic], cursor, stop_at_end=True, select=Select()):
        met += [raw.header.commit_id for raw in batch.records if raw.header is not None]
        cursor = cursor.after(batch)
    return cursor, met


class TestReadSide:
    async def test_is_built_anew_beside_or_in_place_where_its_tables_are_full(
        self, growing: Growing, database: str, redis_url: str
    ) -> None:
        def before(_: str) -> str:
            return growing.here.flags

        def grown(_: str) -> str:
            return growing.new

        async with connected(database, purpose="test") as pool, redis_connected(redis_url) as redis:
            async with growing.owners(growing.here.flags, 8) as owners:
                await written(owners, 4)
            reader = growing.here.reader(growing.log)
            await Runner(reader, PostgresStore(pool), [FLAG_ROWS], topic_of=before).run(stop_at_end=True)
            async with pool.acquire() as connection:
                rows = await digest_of(connection, FLAG_ROWS)
            await growing.grow()
            # What was folded from the old generation is read as it is, and not folded from the next one upon that.
            assert (await folded(pool, grown, [FLAG_ROWS], [FLAG_ROWS])).live == []
            second = build_of(FLAG_ROWS, 2)
            assert await build_beside(reader, pool, second, topic_of=grown) is BuildState.WARM
            report = await compare(pool, FLAG_ROWS, second)
            assert report.same
            (build,) = [each for each in await builds.standing(pool) if each.projection == named(second)]
            await builds.switch(pool, build, [FLAG_ROWS])
            assert (await folded(pool, grown, [FLAG_ROWS], [FLAG_ROWS])).live == [second]
            stores = ReadStores(pool=pool, redis=redis)
            in_place = await rebuild_and_compare(reader, stores, [FLAG_ROWS], (), topic_of=grown)
            assert [(each.name, each.before, each.after) for each in in_place.projections] == [("flags.v1.b2", rows, rows)]


class TestRefusals:
    async def test_of_partitions_that_are_no_multiple(self, growing: Growing) -> None:
        with pytest.raises(CannotGrow, match="12 partitions are no multiple of 8"):
            await growing.grow(partitions=12)

    async def test_of_a_next_generation_that_holds_something_else(self, growing: Growing) -> None:
        async with growing.owners(growing.here.flags, 8) as owners:
            await owners(FLAGS, STREAMS[0], SetFlag(enabled=True, variant="on"), order("first"))
        async with growing.owners(growing.new, 16) as owners:
            await owners(FLAGS, STREAMS[0], SetFlag(enabled=True, variant="off"), order("other"))
        with pytest.raises(CannotGrow, match="holds something else"):
            await growing.grow()

    async def test_of_a_start_with_a_generation_that_was_not_copied(self, kafka: str, unique: str, growing: Growing) -> None:
        with pytest.raises(TopicsRefused, match=r"flags\.v1 was not copied to its next generation.*aybiza topics grow flags"):
            await ensure_topics(kafka, [FLAGS_V2], "local", prefix=unique)
        await growing.grow()
        assert (await ensure_topics(kafka, [FLAGS_V2], "local", prefix=unique))[growing.new] == 16


async def disturbed(growing: Growing, log: KafkaLog) -> None:
    try:
        await growing.grow(log)
    except CannotGrow as error:
        assert "type it again" in str(error)  # noqa: PT017 - it may or may not be disturbed


async def origin_in(growing: Growing, place: Place) -> Position:
    consumer = AIOKafkaConsumer(bootstrap_servers=growing.here.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(*place)])
        while True:
            record = await consumer.getone()
            if origin := origin_of(record.headers):
                return origin
    finally:
        await consumer.stop()


def test_programs_know_each_topic_by_the_generation_that_its_manifest_says() -> None:
    for manifest in manifests():
        if manifest.room in ROOMS:
            assert topic_of(manifest.room) == manifest.topic()

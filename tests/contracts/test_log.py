"""What the owner and every reader rely on, of the log on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from commands.ports import HistoryLost, Log, LogAway, NewRecord, Place
from events.admission import UNCLAIMED, Fence, Verdict
from events.codec import Codec
from events.flags import FlagSet
from events.headers import Kind, RecordHeader
from events.records import AdmittedBatch, RawRecord, write_headers
from events.registry import type_of
from events.rooms import prepared_codec
from infra.adapters.kafka.link import KafkaUnreachable
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.topics import TopicsRefused, ensure_topics, manifests
from infra.adapters.kafka.writer import Compression, KafkaLog
from tests.kafka_corner import WANTED, Corner, admitted, corner, everything, stream
from tests.paper_log import PaperKafka

CODEC = prepared_codec()
FACT = FlagSet(enabled=True, variant="on")
A, B = b"a" * 16, b"b" * 16


@pytest.fixture
async def here(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


@pytest.fixture
async def log(here: Corner) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(here.bootstrap) as log:
        await here.schemas(log).register([type_of(FACT)])
        yield log


@pytest.fixture(params=["kafka", "paper"])
def either(request: pytest.FixtureRequest, log: KafkaLog) -> Log:
    """The real one, and the one on paper by which loops are tested."""
    return log if request.param == "kafka" else PaperKafka()


@pytest.fixture
def place(here: Corner) -> Place:
    return Place(here.flags, 3)


def record(kind: Kind, term: int, claim_id: bytes = A, *, commit: int = 0, index: int = 0, count: int = 1) -> NewRecord:
    header = RecordHeader(kind=kind, term=term, claim_id=claim_id, commit_id=bytes(15) + bytes([commit]), index=index, count=count)
    value = CODEC.encode(FACT) if kind is Kind.EVENT else b""
    return NewRecord(stream().key, value, 1_000 + commit, write_headers("flags", "flag-set.v1", "id", header.pack()))


def commit(number: int, size: int, term: int = 1, claim_id: bytes = A) -> list[NewRecord]:
    return [record(Kind.EVENT, term, claim_id, commit=number, index=index, count=size) for index in range(size)]


@asynccontextmanager
async def administration(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Whoever may change topics behind our back."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


FOREIGN = NewRecord(b"someone", b"something", 0, [])


class TestAppend:
    async def test_returns_where_the_batch_begins(self, either: Log, place: Place) -> None:
        assert await either.append(place, commit(0, 3)) == 0
        assert await either.append(place, commit(1, 1)) == 3

    async def test_goes_to_many_partitions_at_once(self, either: Log, here: Corner) -> None:
        async with asyncio.TaskGroup() as tasks:
            appends = [tasks.create_task(either.append(Place(here.flags, number), commit(0, number + 1))) for number in range(8)]
        assert [each.result() for each in appends] == [0] * 8
        assert [await either.end_offset(Place(here.flags, number)) for number in range(8)] == list(range(1, 9))

    @pytest.mark.parametrize("compression", ["lz4", "zstd"])
    async def test_of_less_bytes_is_read_all_the_same(self, here: Corner, place: Place, compression: Compression) -> None:
        async with KafkaLog(here.bootstrap, compression=compression) as small:
            await small.append(place, commit(0, 30))
            raws = [raw for part in [part async for part in small.read(place, 0, 30)] for raw in part]
        assert [(raw.offset, raw.value) for raw in raws] == [(offset, CODEC.encode(FACT)) for offset in range(30)]
        assert len(small.batch(commit(0, 30))) * 4 < len(KafkaLog(here.bootstrap).batch(commit(0, 30)))

    async def test_of_too_much_sends_nothing(self, either: Log, place: Place) -> None:
        huge = FOREIGN._replace(value=bytes(700_000))
        with pytest.raises(ValueError, match="do not fit"):
            await either.append(place, [huge, huge])
        assert await either.end_offset(place) == 0

    async def test_that_the_broker_refuses_is_certain_not_to_be_there(self, here: Corner, place: Place) -> None:
        async with KafkaLog(here.bootstrap, batch_bytes=4_000_000) as generous:
            with pytest.raises(LogAway, match="refused"):
                await generous.append(place, [FOREIGN._replace(value=bytes(2_000_000))])
            assert await generous.end_offset(place) == 0

    async def test_to_a_topic_that_is_not_there_is_not_in_doubt(self, here: Corner) -> None:
        async with KafkaLog(here.bootstrap, append_seconds=0.3) as log:
            with pytest.raises(LogAway, match="no leader"):
                await log.append(Place(f"{here.prefix}.nothing.v1", 0), [FOREIGN])

    async def test_that_was_given_up_before_it_was_sent_is_never_sent(self, log: KafkaLog, place: Place) -> None:
        task = asyncio.ensure_future(log.append(place, [FOREIGN]))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await log.append(place, [FOREIGN]) == 0


class TestRead:
    async def test_gives_the_records_between_two_offsets(self, either: Log, place: Place) -> None:
        await either.append(place, commit(0, 4))
        await either.append(place, commit(1, 4))
        parts = [part async for part in either.read(place, 2, 6)]
        assert [raw.offset for part in parts for raw in part] == [2, 3, 4, 5]

    async def test_gives_them_as_they_were_appended(self, either: Log, place: Place) -> None:
        appended = record(Kind.EVENT, 1)
        await either.append(place, [appended])
        ((raw,),) = [part async for part in either.read(place, 0, 1)]
        assert (raw.topic, raw.partition, raw.offset, raw.timestamp_ms) == (*place, 0, 1_000)
        assert (raw.key, raw.value, raw.ce_type) == (stream().key, CODEC.encode(FACT), "flag-set.v1")
        assert raw.header is not None
        assert raw.header.claim_id == A

    async def test_waits_for_an_offset_that_is_still_to_come(self, either: Log, place: Place) -> None:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(first_part(either, place))
            tasks.create_task(either.append(place, [FOREIGN]))
        assert len(reading.result()) == 1

    async def test_beyond_the_end_is_lost_history(self, either: Log, place: Place) -> None:
        with pytest.raises(HistoryLost, match="has no offset 7"):
            await first_part(either, place, 7)

    async def test_gives_up_in_time(self, here: Corner, place: Place) -> None:
        async with KafkaLog(here.bootstrap, read_seconds=0.3) as log:
            with pytest.raises(LogAway):
                await first_part(log, place)


async def first_part(log: Log, place: Place, start: int = 0) -> Sequence[RawRecord]:
    async with aclosing(log.read(place, start, start + 1)) as parts:
        return await anext(parts)


class TestReader:
    async def test_admits_only_the_last_valid_claimants_records(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, [record(Kind.CLAIM, 1)])
        await log.append(place, commit(0, 2))
        await log.append(place, [record(Kind.CLAIM, 2, B)])
        await log.append(place, commit(1, 1))
        await log.append(place, [record(Kind.CLAIM, 2, A)])
        await log.append(place, commit(2, 1, 2, B))
        await log.append(place, [FOREIGN])
        await log.append(place, commit(3, 1, 9, B))
        reader = here.reader(log)
        assert [raw.offset for raw in await admitted(reader, here.flags)] == [1, 2, 6]
        counts = {Verdict.CLAIM: 2, Verdict.SUPERSEDED: 1, Verdict.LOST_CLAIM: 1, Verdict.FOREIGN: 2}
        assert reader.counts[place] == counts

    async def test_goes_on_anywhere_with_the_fence_of_the_place(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, [record(Kind.CLAIM, 1)])
        for number in range(4):
            await log.append(place, commit(number, 2))
        await log.append(place, [record(Kind.CLAIM, 2, B)])
        await log.append(place, commit(4, 1))
        await log.append(place, commit(5, 1, 2, B))
        reader = here.reader(log)
        assert [raw.offset for raw in await rest(reader, here, place, 3, Fence(1, A))] == [3, 4, 5, 6, 7, 8, 11]
        assert [raw.offset for raw in await rest(reader, here, place, 10, Fence(2, B))] == [11]
        assert await rest(reader, here, place, 10, UNCLAIMED) == []

    async def test_asks_where_to_start(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, [record(Kind.CLAIM, 1), *commit(0, 3)])
        asked = []

        async def start(topic: str, partition: int) -> tuple[int, Fence]:
            asked.append((topic, partition))
            return (2, Fence(1, A)) if partition == place.partition else (0, UNCLAIMED)

        raws = [raw async for batch in here.reader(log).batches([here.flags], start, stop_at_end=True) for raw in batch.records]
        assert [raw.offset for raw in raws] == [2, 3]
        assert asked == [(here.flags, number) for number in range(8)]

    async def test_says_how_far_it_is_where_nothing_is_admitted(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, [record(Kind.CLAIM, 1), FOREIGN])
        (batch,) = [batch async for batch in here.reader(log).batches([here.flags], {}, stop_at_end=True)]
        assert batch == AdmittedBatch(*place, [], 2, Fence(1, A))

    async def test_holds_back_a_commit_that_is_not_whole(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, [record(Kind.CLAIM, 1), *commit(0, 2), *commit(1, 3)[:2]])
        async with aclosing(here.reader(log).batches([here.flags], {})) as batches:
            first = await anext(batches)
            assert ([raw.offset for raw in first.records], first.next_offset) == ([1, 2], 3)
            await log.append(place, commit(1, 3)[2:])
            second = await anext(batches)
            assert ([raw.offset for raw in second.records], second.next_offset) == ([3, 4, 5], 6)

    async def test_goes_on_with_what_is_appended_while_it_reads(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, [record(Kind.CLAIM, 1)])
        async with aclosing(here.reader(log).batches([here.flags], {})) as batches:
            assert (await anext(batches)).next_offset == 1
            for number in range(3):
                await log.append(place, commit(number, 1))
                assert [raw.offset for raw in (await anext(batches)).records] == [number + 1]

    async def test_knows_the_schema_of_everything_it_gives(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, [record(Kind.CLAIM, 1), *commit(0, 1)])
        reader = here.reader(log, Codec())
        (raw,) = await admitted(reader, here.flags)
        assert reader.codec.decode(raw.value) == FACT

    async def test_waits_for_a_schema_that_is_missing(self, kafka: str, unique: str) -> None:
        here = await corner(kafka, unique)
        place = Place(here.flags, 0)
        async with KafkaLog(here.bootstrap) as log, aclosing(here.reader(log, Codec()).batches([here.flags], {})) as batches:
            await log.append(place, [record(Kind.CLAIM, 1), *commit(0, 1)])
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(anext(batches))
                tasks.create_task(here.schemas(log).register([type_of(FACT)]))
            assert len(reading.result().records) == 1

    async def test_takes_a_long_history_in_parts(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, [record(Kind.CLAIM, 1)])
        for number in range(20):
            await log.append(place, commit(number, 250))
        batches = [batch async for batch in here.reader(log).batches([here.flags], {}, stop_at_end=True)]
        assert len(batches) > 3
        assert [raw.offset for batch in batches for raw in batch.records] == list(range(1, 5001))
        assert [batch.next_offset for batch in batches] == sorted({batch.next_offset for batch in batches})

    async def test_says_where_topics_end(self, log: KafkaLog, here: Corner, place: Place) -> None:
        await log.append(place, commit(0, 5))
        ends = await here.reader(log).end_offsets([here.flags])
        assert ends == {(here.flags, number): 5 if number == place.partition else 0 for number in range(8)}

    async def test_never_jumps_over_history_that_is_not_there(self, log: KafkaLog, here: Corner, place: Place) -> None:
        with pytest.raises(HistoryLost, match="has no offset 40"):
            await rest(here.reader(log), here, place, 40, UNCLAIMED, stop_at_end=False)

    async def test_never_takes_a_shortened_log_for_a_whole_one(self, log: KafkaLog, here: Corner, place: Place, kafka: str) -> None:
        await log.append(place, [record(Kind.CLAIM, 1), *commit(0, 5)])
        async with administration(kafka) as admin:
            await admin.delete_records({TopicPartition(*place): RecordsToDelete(before_offset=3)})
        with pytest.raises(HistoryLost):
            await admitted(here.reader(log), here.flags)
        with pytest.raises(HistoryLost, match="begins at offset 3"):
            await rest(here.reader(log), here, place, 4, Fence(1, A))

    async def test_names_a_topic_that_is_missing(self, log: KafkaLog, here: Corner) -> None:
        with pytest.raises(KafkaUnreachable, match="there is no topic"):
            await admitted(here.reader(log), f"{here.prefix}.nothing.v1")


async def rest(
    reader: KafkaLogReader, here: Corner, place: Place, offset: int, fence: Fence, *, stop_at_end: bool = True
) -> list[RawRecord]:
    """What a reader takes from a position on."""
    batches = reader.batches([here.flags], {place: (offset, fence)}, stop_at_end=stop_at_end)
    return [raw async for batch in batches for raw in batch.records]


class TestSchemas:
    async def test_are_written_once(self, log: KafkaLog, here: Corner) -> None:
        await here.schemas(log).register([type_of(FACT)])
        await here.schemas(log).register([type_of(FACT)])
        (raw,) = await everything(log, Place(f"{here.prefix}.schemas", 0))
        assert raw.key == CODEC.schema(FACT)[0].hex().encode()

    async def test_teach_a_codec_what_it_lacks(self, log: KafkaLog, here: Corner) -> None:
        codec = Codec()
        await here.schemas(log, codec).learn([CODEC.schema(FACT)[0]])
        assert codec.decode(CODEC.encode(FACT)) == FACT


class TestTopics:
    async def test_are_created_as_their_manifests_say_and_found_again(self, kafka: str, unique: str) -> None:
        created = await ensure_topics(kafka, manifests(), "local", prefix=unique)
        assert created == await ensure_topics(kafka, manifests(), "local", prefix=unique)
        assert created[f"{unique}.calls.v1"] == 8
        assert created[f"{unique}.schemas"] == 1

    async def test_with_another_partition_count_are_refused(self, kafka: str, unique: str) -> None:
        async with administration(kafka) as admin:
            await admin.create_topics([NewTopic(f"{unique}.flags.v1", 5, 1)])
        with pytest.raises(TopicsRefused, match="has 5 partitions, its manifest says 8"):
            await ensure_topics(kafka, WANTED, "local", prefix=unique)

    @pytest.mark.parametrize(
        ("setting", "dangerous"),
        [
            ("retention.ms", "1000"),
            ("cleanup.policy", "compact"),
            ("message.timestamp.type", "LogAppendTime"),
            ("max.message.bytes", "1000"),
        ],
    )
    async def test_whose_settings_could_lose_history_are_refused_with_the_remedy(
        self, kafka: str, unique: str, setting: str, dangerous: str
    ) -> None:
        await ensure_topics(kafka, WANTED, "local", prefix=unique)
        async with administration(kafka) as admin:
            changed = WANTED[0].settings("local") | {setting: dangerous}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{unique}.flags.v1", changed)])
        with pytest.raises(TopicsRefused, match=f"(?s){setting}={dangerous}.*kafka-configs"):
            await ensure_topics(kafka, WANTED, "local", prefix=unique)

    async def test_without_enough_replicas_are_refused(self, kafka: str, unique: str) -> None:
        local = [replace(manifest, partitions={"local": 1, "production": 1}) for manifest in WANTED]
        await ensure_topics(kafka, local, "local", prefix=unique)
        with pytest.raises(TopicsRefused, match=r"1 replicas.*3 are needed"):
            await ensure_topics(kafka, local, "production", prefix=unique)

    async def test_on_a_broker_that_is_away_say_what_to_do(self) -> None:
        with pytest.raises(KafkaUnreachable, match="aybiza up"):
            await ensure_topics("127.0.0.1:1", WANTED, "local")

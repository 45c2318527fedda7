"""What a program of others may ask of the log's reader, and what it is spared."""

import asyncio
import json
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from structlog.testing import capture_logs

from commands.ports import HistoryLost, NewRecord, Place
from events.admission import UNCLAIMED, Fence, Verdict
from events.codec import Codec, fingerprint_of
from events.flags import FlagRemoved, FlagSet
from events.headers import Kind, RecordHeader
from events.parking import ParkedRecord, recorded_or_parked
from events.positions import Cursor, InvalidPosition
from events.records import write_headers
from events.registry import Fact, type_of
from events.rooms import prepared_codec
from events.selecting import Select
from infra.adapters.kafka.link import Link
from infra.adapters.kafka.reader import ForeignRecord, KafkaLogReader, open_reader
from infra.adapters.kafka.writer import KafkaLog
from tests.kafka_corner import Corner, corner

CODEC = prepared_codec()
ON = FlagSet(enabled=True, variant="on")
A, B = b"a" * 16, b"b" * 16


def event(  # noqa: PLR0913 - a record has as many parts
    number: int, *, fact: Fact = ON, key: bytes = b"AYB-1/flags/f", value: bytes | None = None, index: int = 0, count: int = 1,
    term: int = 1, claim: bytes = A, kind: Kind = Kind.EVENT,
) -> NewRecord:  # fmt: skip
    header = RecordHeader(kind=kind, term=term, claim_id=claim, commit_id=struct.pack(">QQ", 1, number), index=index, count=count)
    body = CODEC.encode(fact) if value is None else value
    return NewRecord(key, body, 1_000 * number, write_headers("flags", type_of(fact).ce_type, "id", header.pack()))


def claim(term: int, claim_id: bytes = A, at: int = 0) -> NewRecord:
    return event(at, kind=Kind.CLAIM, term=term, claim=claim_id, value=b"")


@pytest.fixture
async def here(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


@pytest.fixture
async def log(here: Corner) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(here.bootstrap) as log:
        await here.schemas(log).register([type_of(ON), type_of(FlagRemoved())])
        yield log


@pytest.fixture
def place(here: Corner) -> Place:
    return Place(here.flags, 2)


@pytest.fixture
async def reader(here: Corner) -> AsyncIterator[KafkaLogReader]:
    async with open_reader(here.bootstrap, prefix=here.prefix) as reader:
        yield reader


class TestBatches:
    async def test_hold_what_was_selected_and_pass_the_rest(
        self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader
    ) -> None:
        await log.append(place, [
            claim(1), event(1), event(2, key=b"AYB-2/flags/f"), event(3, fact=FlagRemoved()), event(4, kind=Kind.RECEIPT, value=b""),
            event(5, key=b"AYB-1/other/f"), event(6, key=b"no stream"), event(7),
        ])  # fmt: skip
        wanted = Select(tenants=["AYB-1"], categories=["flags"], ce_types=["flag-set.v1"])
        (batch,) = [batch async for batch in reader.batches([here.flags], {}, stop_at_end=True, select=wanted)]
        assert ([raw.offset for raw in batch.records], batch.next_offset) == ([1, 7], 8)

    async def test_never_need_the_schema_of_what_was_not_selected(self, log: KafkaLog, here: Corner, place: Place) -> None:
        nobody_wrote_its_schema = b"\xc3\x01" + bytes(8)
        await log.append(place, [claim(1), event(1, value=nobody_wrote_its_schema, fact=FlagRemoved()), event(2)])
        reader = here.reader(log, Codec())
        sets = Select(ce_types=["flag-set.v1"])
        async with asyncio.timeout(120):
            found = [raw async for batch in reader.batches([here.flags], {}, stop_at_end=True, select=sets) for raw in batch.records]
        assert [raw.offset for raw in found] == [2]

    @pytest.mark.parametrize("gather_seconds", [0.0, 2.0])
    async def test_come_alone_at_once_and_together_when_they_come_one_behind_the_other(
        self, log: KafkaLog, here: Corner, place: Place, gather_seconds: float
    ) -> None:
        reader = KafkaLogReader(here.bootstrap, here.schemas(log), gather_seconds=gather_seconds)
        async with asyncio.timeout(120), aclosing(reader.batches([here.flags], {}, places=[place])) as batches:
            await log.append(place, [claim(1), event(1)])
            loop = asyncio.get_running_loop()
            asked = loop.time()
            assert [raw.offset for raw in (await anext(batches)).records] == [1]
            second = asyncio.ensure_future(anext(batches))
            await log.append(place, [event(2)])
            if not gather_seconds:
                # Or whatever its time is: it comes alone.
                assert [raw.offset for raw in (await second).records] == [2]
                return
            await log.append(place, [event(3)])
            # Unless this machine took so long for it.
            in_time = loop.time() < asked + gather_seconds
            assert [raw.offset for raw in (await second).records] == [2, 3] or not in_time

    async def test_stop_before_a_position_and_never_within_a_commit(
        self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader
    ) -> None:
        await log.append(place, [claim(1), event(1), event(2, count=3), event(2, index=1, count=3), event(2, index=2, count=3)])
        (batch,) = [batch async for batch in reader.batches([here.flags], {}, places=[place], stop={place: 4})]
        assert ([raw.offset for raw in batch.records], batch.next_offset, batch.fence) == ([1], 2, Fence(1, A))

    async def test_go_on_from_a_cursor_that_was_kept_as_text(
        self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader
    ) -> None:
        for number in range(3):
            await log.append(Place(here.flags, number), [claim(1), event(number)])
        cursor = Cursor()
        async for batch in reader.batches([here.flags], cursor, stop_at_end=True):
            cursor = cursor.after(batch)
        await log.append(place, [event(9)])
        found = [raw async for batch in reader.batches([here.flags], Cursor.parse(str(cursor)), stop_at_end=True) for raw in batch.records]
        assert [(raw.partition, raw.offset) for raw in found] == [(2, 2)]


class TestMemory:
    @pytest.mark.parametrize("keeps", [False, True])
    async def test_holds_two_answers_of_a_broker_and_no_more(
        self, log: KafkaLog, here: Corner, reader: KafkaLogReader, *, keeps: bool
    ) -> None:
        for partition in range(8):
            await log.append(Place(here.flags, partition), [claim(1)])
            for number in range(6):
                await log.append(Place(here.flags, partition), [event(number, value=bytes(240_000))] * 4)
        kept: list[object] = []
        tracemalloc.start()
        async with aclosing(reader.batches([here.flags], {}, stop_at_end=True)) as batches:
            async for batch in batches:
                kept += [batch] if keeps else []
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # 46 MB of history. Two answers, the records of one of them, and what is under way in between.
        assert (peak > 40_000_000) == keeps
        assert peak < 24_000_000 or keeps


class TestForeignRecords:
    async def test_are_put_aside_with_their_place_and_the_rest_goes_on(self, log: KafkaLog, here: Corner, place: Place) -> None:
        heard: list[ForeignRecord] = []
        null_header = event(0)._replace(headers=[("aybiza", None), ("ce_type", None)])  # type: ignore[list-item]
        broken_header = event(0)._replace(headers=[("aybiza", b"\x01\x09 short")])
        nothing = NewRecord(b"", b"", 0, [])
        await log.append(place, [claim(1), event(1), nothing, null_header, broken_header, event(2, term=7), event(3)])
        await append_bytes(here, place, unreadable_headers())
        await log.append(place, [event(4)])
        async with open_reader(here.bootstrap, prefix=here.prefix, on_foreign=heard.append) as reader:
            found = [raw.offset async for batch in reader.batches([here.flags], {}, stop_at_end=True) for raw in batch.records]
        assert found == [1, 6, 9]
        assert [(each.partition, each.offset) for each in heard] == [(2, offset) for offset in (2, 3, 4, 5, 7, 8)]
        assert list(reader.foreign) == heard
        assert heard[3].why == "nobody claimed term 7; the last claim's is 1"

    async def test_in_a_flood_are_counted_all_and_said_a_few_times(
        self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader
    ) -> None:
        for _ in range(3):
            await log.append(place, [NewRecord(b"", b"", 0, [])] * 700)
        with capture_logs() as said:
            _ = [batch async for batch in reader.batches([here.flags], {}, stop_at_end=True)]
        assert reader.counts[place] == {Verdict.FOREIGN: 2100}
        assert [each.offset for each in reader.foreign] == list(range(1100, 2100))
        assert [entry["count"] for entry in said if entry["event"] == "foreign-record"] == [2**power for power in range(12)]

    async def test_that_are_compressed_are_read_as_what_they_are(
        self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader
    ) -> None:
        await log.append(place, [claim(1)])
        for codec in (1, 2, 3, 4):
            builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
            builder.append(0, 0, b"k", b"v" * 1000, [])
            await append_bytes(here, place, bytes(builder.build()))
        await log.append(place, [event(1)])
        found = [raw.offset async for batch in reader.batches([here.flags], {}, stop_at_end=True) for raw in batch.records]
        assert found == [5]
        assert [each.offset for each in reader.foreign] == [1, 2, 3, 4]


class TestBrokenBodies:
    async def test_are_parked_and_the_rest_goes_on(self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader) -> None:
        mark = CODEC.encode(ON)[:10]
        await log.append(place, [claim(1), event(1, value=mark), event(2, value=b"no avro"), event(3, key=b"no stream"), event(4)])
        raws = [raw async for batch in reader.batches([here.flags], {}, stop_at_end=True) for raw in batch.records]
        read = [recorded_or_parked(raw, reader.codec) for raw in raws]
        assert [each.offset for each in read if isinstance(each, ParkedRecord)] == [1, 2, 3]
        assert [each.fact for each in read if not isinstance(each, ParkedRecord)] == [ON]


class TestUnknownSchema:
    async def test_pauses_until_somebody_writes_it_and_loses_nothing(self, log: KafkaLog, here: Corner, place: Place) -> None:
        schema = {"type": "record", "name": "Later", "fields": [], "event": "flag-later", "version": 1}
        value = b"\xc3\x01" + fingerprint_of(schema)
        await log.append(place, [claim(1), event(1, value=value), event(2)])
        reader = here.reader(log)
        async with aclosing(reader.batches([here.flags], {})) as batches, asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(anext(batches))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await asyncio.shield(reading)
            await log.append(
                Place(f"{here.prefix}.schemas", 0), [NewRecord(fingerprint_of(schema).hex().encode(), json.dumps(schema).encode(), 0, [])]
            )
        assert [raw.offset for raw in reading.result().records] == [1, 2]


class TestLostHistory:
    async def test_is_an_alarm_where_the_log_was_cut_at_its_beginning(
        self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader, kafka: str
    ) -> None:
        await log.append(place, [claim(1), *(event(number) for number in range(5))])
        at_end = Cursor({place: (6, Fence(1, A))})
        assert [batch async for batch in reader.batches([here.flags], at_end, stop_at_end=True)] == []
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.delete_records({TopicPartition(*place): RecordsToDelete(before_offset=3)})
        await admin.close()
        for start in (Cursor(), Cursor({place: (4, Fence(1, A))}), at_end):
            for stop_at_end in (True, False):
                with pytest.raises(HistoryLost, match="begins at offset 3"):
                    await anext(reader.batches([here.flags], start, stop_at_end=stop_at_end))

    @pytest.mark.parametrize("stop_at_end", [True, False])
    async def test_is_an_alarm_where_the_log_ends_before_the_cursor(
        self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader, *, stop_at_end: bool
    ) -> None:
        await log.append(place, [claim(1), event(1)])
        with pytest.raises(HistoryLost, match="has no offset 40"):
            await anext(reader.batches([here.flags], {place: (40, UNCLAIMED)}, stop_at_end=stop_at_end))


class Index:
    """What somebody says of claims."""

    def __init__(self, *said: tuple[int, Fence]) -> None:
        self.said = said

    async def claim_before(self, place: Place, offset: int) -> tuple[int, Fence] | None:
        return max((each for each in self.said if each[0] < offset), default=None)


class TestPositionAt:
    @pytest.fixture
    async def history(self, log: KafkaLog, place: Place) -> None:
        """Terms 1, 2 and 3; a claim of term 2 that came too late, and a superseded writer's record."""
        await log.append(place, [claim(1), event(1), event(2)])
        await log.append(place, [claim(2, B, at=3), event(4, term=2, claim=B), claim(2, A), event(5)])
        await log.append(place, [event(6, term=2, claim=B, count=2), event(6, term=2, claim=B, index=1, count=2), claim(3, at=7)])

    @pytest.mark.usefixtures("history")
    async def test_of_an_offset_is_the_fence_there_whatever_the_index_says(self, reader: KafkaLogReader, place: Place) -> None:
        positions = {
            0: (0, UNCLAIMED), 1: (1, Fence(1, A)), 3: (3, Fence(1, A)), 4: (4, Fence(2, B)), 7: (7, Fence(2, B)),
            # Within a commit, which is read whole.
            8: (7, Fence(2, B)),
            9: (9, Fence(2, B)), 10: (10, Fence(3, A)),
        }  # fmt: skip
        well = Index((0, Fence(1, A)), (3, Fence(2, B)), (9, Fence(3, A)))
        # What the log contradicts: the claim that came too late, a claim that is none, one with another id.
        wrong = [Index((5, Fence(2, A))), Index((4, Fence(2, B))), Index((3, Fence(2, A)))]
        for index in (None, Index(), well, Index((3, Fence(2, B))), *wrong):
            assert {offset: await reader.position_at(*place, offset, index) for offset in positions} == positions

    @pytest.mark.usefixtures("history")
    async def test_rests_on_an_index_as_far_as_the_log_does_not_contradict_it(
        self, log: KafkaLog, here: Corner, place: Place, reader: KafkaLogReader
    ) -> None:
        # Only who does not read the beginning can be deceived by a claim that an index names.
        await log.append(
            Place(here.flags, 5), [claim(9), event(1, term=9), claim(8, B), event(2, term=8, claim=B), event(3, term=8, claim=B)]
        )
        assert await reader.position_at(here.flags, 5, 5) == (5, Fence(9, A))
        assert await reader.position_at(here.flags, 5, 5, Index((2, Fence(8, B)))) == (5, Fence(8, B))

    @pytest.mark.usefixtures("history")
    async def test_of_a_time_is_the_first_append_since(self, reader: KafkaLogReader, place: Place) -> None:
        at = [datetime.fromtimestamp(second, UTC) for second in (0, 2, 4, 100)]
        found = [await reader.position_at(*place, each) for each in at]
        assert found == [(0, UNCLAIMED), (2, Fence(1, A)), (4, Fence(2, B)), (10, Fence(3, A))]

    @pytest.mark.usefixtures("history")
    async def test_beyond_the_end_there_is_none(self, reader: KafkaLogReader, place: Place) -> None:
        with pytest.raises(InvalidPosition, match="no offset 11"):
            await reader.position_at(*place, 11)


def unreadable_headers() -> bytes:
    """Two records in a sound batch, of which the first has a header whose name is no text."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for at in range(2):
        builder.append(at, 0, b"k", b"v", [("MARK", b"")])
    batch = bytes(builder.build()).replace(b"MARK", b"\xff\xfe\xff\xfe", 1)
    return batch[:17] + struct.pack(">I", calc_crc32c(batch[21:])) + batch[21:]


async def append_bytes(here: Corner, place: Place, batch: bytes) -> None:
    """What any client may do that reaches the broker."""
    async with Link(here.bootstrap, "stranger") as link:
        leader = await link.leader_of(*place)
        assert leader is not None
        connection = await link.connection(leader)
        request = ProduceRequest(transactional_id=None, required_acks=-1, timeout=5000, topics=[(place.topic, [(place.partition, batch)])])
        response = await connection.ask(request)
        assert response.topics[0][1][0][1] == 0

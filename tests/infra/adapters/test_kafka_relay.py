"""What a consumer has from the relay that knows nothing of claims: each admitted event once and in order."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from commands.ports import LogAway, NewRecord, Place
from events.admission import Fence
from events.flags import FlagSet
from events.headers import Kind, RecordHeader
from events.positions import Position
from events.records import write_headers
from events.registry import type_of
from events.rooms import prepared_codec
from events.streams import topic_of
from infra.adapters.kafka.origins import ORIGIN, origin_of
from infra.adapters.kafka.relay import Relay, relayed
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from tests.infra.adapters.dying_log import DyingLog
from tests.kafka_corner import Corner, corner

CODEC = prepared_codec()
A, B = b"a" * 16, b"b" * 16
FLAGS = next(manifest for manifest in manifests() if manifest.room == "flags")


def event(number: int, *, term: int = 1, claim: bytes = A, kind: Kind = Kind.EVENT) -> NewRecord:
    header = RecordHeader(kind=kind, term=term, claim_id=claim, version=number, commit_id=struct.pack(">QQ", 0, number), actor="tester")
    value = CODEC.encode(FlagSet(enabled=True, variant=f"v{number}")) if kind is Kind.EVENT else b""
    headers = write_headers(f"{kind}", "flag-set.v1", f"{header.commit_id.hex()}-0", header.pack())
    return NewRecord(b"AYB-1/flags/f", value, 1_000 + number, headers)


def claim(term: int, claim_id: bytes = A) -> NewRecord:
    return event(0, kind=Kind.CLAIM, term=term, claim=claim_id)


@dataclass(slots=True)
class Follower:
    """A consumer by the one rule that is stated: an origin's offset must be above all before it."""

    topic: str
    seen: dict[int, int] = field(default_factory=dict)
    taken: list[tuple[int, int]] = field(default_factory=list)
    repeats: int = 0

    def take(self, records: Sequence["ConsumerRecord[bytes, bytes]"]) -> None:
        for record in records:
            origin = origin_of(record.headers)
            ours = origin is not None and (origin.topic, origin.partition) == (self.topic, record.partition)
            if origin is not None and ours and origin.offset > self.seen.get(record.partition, -1):
                self.seen[record.partition] = origin.offset
                self.taken.append((record.partition, origin.offset))
            else:
                self.repeats += 1


@dataclass(frozen=True, slots=True)
class Relayed:
    """A room's topic with its relay topic."""

    here: Corner
    log: KafkaLog

    @property
    def relay_topic(self) -> str:
        return relayed(FLAGS).topic(self.here.prefix)

    def relay(self, log: KafkaLog | None = None) -> Relay:
        return Relay(self.here.bootstrap, self.here.reader(self.log), log or self.log, {self.here.flags: self.relay_topic})

    async def write(self, partition: int, records: Sequence[NewRecord]) -> None:
        await self.log.append(Place(self.here.flags, partition), records)

    async def consumed(self) -> "list[ConsumerRecord[bytes, bytes]]":
        """Everything on the relay topic, by the plain client."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.here.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(self.relay_topic, number) for number in range(8)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[ConsumerRecord[bytes, bytes]] = []
            while len(found) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def followed(self) -> Follower:
        follower = Follower(self.here.flags)
        follower.take(await self.consumed())
        return follower


@pytest.fixture
async def there(kafka: str, unique: str) -> AsyncIterator[Relayed]:
    here = await corner(kafka, unique)
    await ensure_topics(kafka, [relayed(FLAGS)], "local", prefix=unique)
    async with KafkaLog(kafka) as log:
        await here.schemas(log).register([type_of(FlagSet(enabled=True, variant=""))])
        yield Relayed(here, log)


class Meeting(KafkaLog):
    """A log of one of several relays, none of which writes before all have looked where to begin."""

    met: asyncio.Barrier | None = None

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        met, self.met = self.met, None
        if met is not None:
            await met.wait()
        return await super().append(place, records)


class TestRelay:
    async def test_carries_admitted_events_byte_by_byte_with_their_origin(self, there: Relayed) -> None:
        await there.write(3, [claim(1), event(1), event(2, kind=Kind.RECEIPT), claim(2, B), event(3), event(4, term=2, claim=B)])
        await there.write(3, [NewRecord(b"someone", b"something", 0, []), event(5, kind=Kind.BARRIER, term=2, claim=B)])
        await there.relay().run(stop_at_end=True)
        first, second = await there.consumed()
        origins = [Position(there.here.flags, 3, 1, Fence(1, A)), Position(there.here.flags, 3, 5, Fence(2, B))]
        for found, written, origin in ((first, event(1), origins[0]), (second, event(4, term=2, claim=B), origins[1])):
            room = ("ce_source", f"aybiza/{there.here.flags.split('.')[1]}".encode())
            headers = [room if name == "ce_source" else (name, value) for name, value in written.headers]
            assert (found.partition, found.key, found.value, found.timestamp) == (3, written.key, written.value, written.timestamp_ms)
            assert list(found.headers) == [*headers, (ORIGIN, str(origin).encode())]

    async def test_goes_on_behind_what_is_there(self, there: Relayed) -> None:
        await there.write(0, [claim(1), event(1)])
        await there.relay().run(stop_at_end=True)
        await there.write(0, [event(2)])
        await there.write(1, [claim(1), event(1)])
        await there.relay().run(stop_at_end=True)
        follower = await there.followed()
        assert (sorted(follower.taken), follower.repeats) == ([(0, 1), (0, 2), (1, 1)], 0)

    async def test_begins_behind_the_last_record_of_its_own_whoever_else_wrote_there(self, there: Relayed) -> None:
        await there.write(0, [claim(1), event(1)])
        await there.relay().run(stop_at_end=True)
        stranger = [NewRecord(b"k", b"v", 0, [(ORIGIN, said)]) for said in (b"nonsense", b"other.topic/0/99/1/" + b"00" * 16)]
        await there.log.append(Place(there.relay_topic, 0), stranger * 20)
        await there.write(0, [event(2)])
        await there.relay().run(stop_at_end=True)
        assert (await there.followed()).taken == [(0, 1), (0, 2)]

    @pytest.mark.parametrize("arrives", ["at once", "late", "never"])
    async def test_that_dies_anywhere_leaves_each_event_once_and_in_order_to_who_follows_the_rule(
        self, there: Relayed, arrives: str
    ) -> None:
        for partition in range(4):
            await there.write(partition, [claim(1)])
        died = 0
        async with DyingLog(there.here.bootstrap) as dying:
            dying.arrives, dying.on_its_way = arrives == "at once", []
            for number in range(3):
                # Batches of their own on four partitions, so that a relay dies between any two.
                for partition in range(4):
                    await there.write(partition, [event(10 * number + each) for each in range(3)])
                for appends in range(3):
                    dying.appends_left = appends
                    with suppress(LogAway):
                        await there.relay(dying).run(stop_at_end=True)
                    died += dying.appends_left < 0
            await there.relay().run(stop_at_end=True)
            for place, records in dying.on_its_way if arrives == "late" else ():
                await there.log.append(place, records)
        follower = await there.followed()
        for partition in range(4):
            assert [offset for place, offset in follower.taken if place == partition] == list(range(1, 10))
        assert died >= 3
        assert (follower.repeats > 0) == (arrives == "late")

    async def test_beside_another_leaves_each_event_once_and_in_order_to_who_follows_the_rule(self, there: Relayed) -> None:
        for partition in range(4):
            await there.write(partition, [claim(1), *(event(number) for number in range(20))])

        met = asyncio.Barrier(4)

        async def relaying() -> None:
            async with Meeting(there.here.bootstrap) as log:
                log.met = met
                with suppress(LogAway):
                    await there.relay(log).run(stop_at_end=True)

        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(relaying())
        await there.relay().run(stop_at_end=True)
        follower = await there.followed()
        assert sorted(follower.taken) == [(partition, offset) for partition in range(4) for offset in range(1, 21)]
        assert follower.repeats >= 3 * 20

    async def test_that_forgets_where_it_was_shows_repeats_to_who_does_not_follow_the_rule(
        self, there: Relayed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The negative control: without resuming behind the last origin every event comes again."""

        async def nothing(*_: object) -> None:
            return None

        await there.write(0, [claim(1), event(1), event(2)])
        await there.relay().run(stop_at_end=True)
        monkeypatch.setattr("infra.adapters.kafka.relay._last_origin", nothing)
        await there.relay().run(stop_at_end=True)
        follower = await there.followed()
        assert (follower.taken, follower.repeats) == ([(0, 1), (0, 2)], 2)

    async def test_stops_when_another_relay_writes(self, there: Relayed) -> None:
        await there.write(0, [claim(1), event(1)])
        relaying = asyncio.ensure_future(there.relay().run())
        async with asyncio.timeout(120):
            while await there.log.end_offset(Place(there.relay_topic, 0)) < 1:
                await asyncio.sleep(0.02)
            await there.log.append(Place(there.relay_topic, 0), [NewRecord(b"", b"", 0, [])])
            await there.write(0, [event(2)])
            with pytest.raises(LogAway, match="another relay writes"):
                await relaying


def test_topics_are_named_after_their_rooms() -> None:
    assert relayed(FLAGS).topic() == "aybiza.flags.admitted.v1"
    assert topic_of("flags") == FLAGS.topic()
    assert relayed(FLAGS).partitions == FLAGS.partitions

"""Snapshots on a compacted topic, by stream. Where each lies is known by following the topic; what is not known yet is not needed."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import structlog

from commands.ports import AppendInDoubt, HistoryLost, Log, LogAway, NewRecord, Place
from events.streams import partition_of

log = structlog.get_logger()

TOPIC = "aybiza.snapshots"
_HEADERS = [("content-type", b"application/vnd.aybiza.snapshot")]
_BATCH_BYTES = 500_000
_AGAIN_SECONDS = 5.0


class KafkaSnapshots:
    """`commands.ports.Snapshots`. `follow` makes other processes' snapshots known; one's own are known at once."""

    def __init__(self, kafka: Log, partitions: int, topic: str = TOPIC) -> None:
        self._kafka = kafka
        self._places = [Place(topic, number) for number in range(partitions)]
        self._offsets: dict[bytes, int] = {}
        self._read_to = [0] * partitions
        self._asked = asyncio.Event()

    def __len__(self) -> int:
        """How many streams are known to have one."""
        return len(self._offsets)

    async def find(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        self._asked.set()
        found: dict[bytes, bytes] = {}
        for key in keys:
            offset = self._offsets.get(key)
            if offset is None:
                continue
            async with aclosing(self._kafka.read(self._place(key), offset, offset + 1)) as parts:
                # Nothing is there any more when a newer one was kept, and this one compacted away.
                found.update([(raw.key, raw.value) async for records in parts for raw in records if raw.key == key])
        return found

    async def keep(self, snapshots: Mapping[bytes, bytes]) -> None:
        batches: defaultdict[Place, list[list[bytes]]] = defaultdict(list)
        sizes: defaultdict[Place, int] = defaultdict(int)
        for key, packed in snapshots.items():
            place, size = self._place(key), len(key) + len(packed)
            if size > _BATCH_BYTES:
                log.warning("snapshot-too-large", stream=key.decode("ascii", "replace"), bytes=size)
                continue
            if not batches[place] or sizes[place] + size > _BATCH_BYTES:
                batches[place].append([])
                sizes[place] = 0
            batches[place][-1].append(key)
            sizes[place] += size
        for place, groups in batches.items():
            for keys in groups:
                await self._append(place, keys, snapshots)

    async def follow(self) -> None:
        """Learn where snapshots are, once somebody has asked for one: a process that owns nothing reads nothing. Runs until cancelled."""
        await self._asked.wait()
        while True:
            for place in self._places:
                try:
                    await self._read_on(place)
                except (LogAway, HistoryLost) as error:
                    log.info("snapshots-away", topic=place.topic, partition=place.partition, reason=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)

    async def catch_up(self) -> None:
        """Know all that were kept before now. Raises LogAway or HistoryLost."""
        for place in self._places:
            await self._read_on(place)

    async def _read_on(self, place: Place) -> None:
        end = await self._kafka.end_offset(place)
        async with aclosing(self._kafka.read(place, self._read_to[place.partition], end)) as parts:
            async for records in parts:
                for raw in records:
                    self._note(raw.key, raw.offset)
                # A long topic must not keep a call's audio waiting.
                await asyncio.sleep(0)
        self._read_to[place.partition] = max(self._read_to[place.partition], end)

    async def _append(self, place: Place, keys: Sequence[bytes], snapshots: Mapping[bytes, bytes]) -> None:
        now_ms = time.time_ns() // 1_000_000
        try:
            base = await self._kafka.append(place, [NewRecord(key, snapshots[key], now_ms, _HEADERS) for key in keys])
        except AppendInDoubt as error:
            await self._kafka.sever(place)
            raise LogAway(f"nobody knows whether snapshots are on {place}") from error
        for offset, key in enumerate(keys, base):
            if base >= 0:
                self._note(key, offset)

    def _note(self, key: bytes, offset: int) -> None:
        self._offsets[key] = max(offset, self._offsets.get(key, -1))

    def _place(self, key: bytes) -> Place:
        return self._places[partition_of(key, len(self._places))]

"""The next generation of a topic: its streams copied in order to more partitions, the old generation closed for ever.

    copy → close → copy what came meanwhile → say that it is done

A claim of the last term closes a partition: by the rule of admission no claim is valid after it, whoever makes it, so nothing counts behind
but the closer's own word. What is copied keeps key, body, version, commit, command, digest and time of appending; term and claim are the
copier's, and each commit's first record says where it lay (`aybiza_origin`). After a crash, or LogAway, the whole is done again: each
step finds what is there.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from commands.ports import Place, SchemaRegister
from events.admission import LAST_TERM, UNCLAIMED, Fence
from events.headers import Kind
from events.ownership import PartitionClaimed, PartitionReleased
from events.records import AdmittedBatch, RawRecord
from events.registry import type_of
from events.streams import partition_of
from infra.adapters.kafka.closing import says_done
from infra.adapters.kafka.copying import CannotGrow, Copy, Hands, is_copied
from infra.adapters.kafka.reader import KafkaLogReader

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generations:
    """A topic and its next generation, each with its partition count."""

    old: str
    old_partitions: int
    new: str
    new_partitions: int


async def grow(generations: Generations, hands: Hands, reader: KafkaLogReader, schemas: SchemaRegister) -> Counter[str]:
    """Returns how many records this run copied, by kind. Raises CannotGrow, LogAway or HistoryLost."""
    if generations.new_partitions % generations.old_partitions:
        raise CannotGrow(
            f"{generations.new_partitions} partitions are no multiple of {generations.old_partitions}: streams of several partitions would "
            "share one, where times of appending would not be monotone. Choose a multiple"
        )
    await schemas.register([type_of(PartitionClaimed(address="")), type_of(PartitionReleased(successor=""))])
    copied: Counter[str] = Counter()
    for partition in range(generations.old_partitions):
        copied += await _Partition(generations, partition, hands, reader).grow()
    return copied


class _Partition:
    """One partition of the old generation, and the copies that take its streams."""

    def __init__(self, generations: Generations, partition: int, hands: Hands, reader: KafkaLogReader) -> None:
        self._generations = generations
        self._place = Place(generations.old, partition)
        self._hands = hands
        self._reader = reader
        self._at: tuple[int, Fence] = (0, UNCLAIMED)
        self._first_ms = 0
        self._told = False
        step = generations.old_partitions
        self._copies = {
            number: Copy(Place(generations.new, number), hands) for number in range(partition, generations.new_partitions, step)
        }

    async def grow(self) -> Counter[str]:
        if not await self._is_done():
            for copy in self._copies.values():
                await copy.claim(self._first_ms)
            # While the old generation lives. What counts once counts for ever, so only the rest waits for the end.
            await self._copy(await self._hands.kafka.end_offset(self._place))
            await self._copy(await self._close())
            for copy in self._copies.values():
                await copy.release()
            done = PartitionReleased(successor=self._generations.new)
            await self._hands.append(self._place, [self._hands.word(self._place, Kind.RELEASE, self._at[1], done, self._hands.now_ms())])
        copied = sum((copy.copied for copy in self._copies.values()), Counter[str]())
        log.info("partition-grown", topic=self._place.topic, partition=self._place.partition, copied=copied.total())
        return copied

    async def _is_done(self) -> bool:
        """Whether the closer said so. Also looks when the first record was appended."""
        end = await self._hands.kafka.end_offset(self._place)
        if end:
            async with aclosing(self._hands.kafka.read(self._place, 0, 1)) as parts:
                self._first_ms = (await anext(parts))[0].timestamp_ms
        done = False
        async with aclosing(self._reading((0, UNCLAIMED), end)) as batches:
            async for batch in batches:
                done = done or any(says_done(raw) for raw in batch.records)
        return done

    async def _copy(self, stop: int) -> None:
        """Everything from where we are to `stop`."""
        async with aclosing(self._reading(self._at, stop)) as batches:
            async for batch in batches:
                shares: defaultdict[int, list[RawRecord]] = defaultdict(list)
                for raw in filter(is_copied, batch.records):
                    shares[partition_of(raw.key, self._generations.new_partitions)].append(raw)
                for number, raws in shares.items():
                    await self._copies[number].take(raws)
                self._at = (batch.next_offset, batch.fence)

    async def _close(self) -> int:
        """After it nothing counts on the old partition but the closer's word; returns the offset behind the claim that closed it."""
        offset, fence = self._at
        while fence.term < LAST_TERM:
            claim = Fence(LAST_TERM, self._hands.draw(16))
            word = self._hands.word(self._place, Kind.CLAIM, claim, PartitionClaimed(address=""), self._hands.now_ms())
            end = await self._hands.append(self._place, [word]) + 1
            # Owners may have claimed and written in between; of two closers the first one counts.
            async with aclosing(self._reading((offset, fence), end)) as batches:
                async for batch in batches:
                    offset, fence = batch.next_offset, batch.fence
        return offset

    def _reading(self, start: tuple[int, Fence], stop: int) -> AsyncGenerator[AdmittedBatch, None]:
        return self._reader.batches([self._place.topic], {self._place: start}, places=[self._place], stop={self._place: stop})

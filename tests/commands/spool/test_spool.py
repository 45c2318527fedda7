"""What a worker keeps: on disk before it counts, in groups, bounded, whatever the disk does."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from commands.rooms import DECIDERS
from commands.spool.format import Entry, read_segment
from commands.spool.spool import Kept, Spool, SpoolLimits
from commands.wire import CommandWire
from tests.commands.spool.call import call, failure, order
from tests.commands.spool.disk import MemoryDisk

WIRE = CommandWire(DECIDERS)
SMALL = SpoolLimits(retry_seconds=0.001)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@asynccontextmanager
async def spool_on(disk: MemoryDisk, limits: SpoolLimits = SMALL, counters: Counter[str] | None = None) -> AsyncIterator[Spool]:
    spool = Spool(disk, WIRE, "1764-ab", Counter() if counters is None else counters, limits=limits)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(spool.run())
        yield spool
        writing.cancel()


def keep(spool: Spool, n: int) -> Kept | None:
    command = failure(n)
    return spool.keep(call(), "MZ1", n, order(call(), n, command), command)


def kept(spool: Spool, n: int) -> Kept:
    found = keep(spool, n)
    assert found is not None
    return found


def durable(one: Kept) -> bool:
    return one.durable


def takes_calls(spool: Spool) -> bool:
    return spool.accepts_calls


def on(disk: MemoryDisk) -> list[int]:
    """The sequences that a next process would find, in order."""
    entries: dict[int, Entry] = {}
    for name in sorted(disk.files):
        entries.update(read_segment(bytes(disk.files[name]), "1764-ab").entries)
    assert list(entries) == list(range(min(entries, default=1), min(entries, default=1) + len(entries)))
    return [entry.sequence for entry in entries.values()]


class TestSpool:
    async def test_counts_nothing_as_kept_before_it_is_synced(self, disk: MemoryDisk) -> None:
        async with spool_on(disk) as spool:
            disk.syncing.clear()
            one = kept(spool, 1)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not durable(one)
            assert on(disk.crashed()) == []
            disk.syncing.set()
            await spool.settled()
            assert durable(one)
            assert on(disk.crashed()) == [1]

    async def test_syncs_what_came_meanwhile_at_once(self, disk: MemoryDisk) -> None:
        async with spool_on(disk) as spool:
            kept(spool, 1)
            await spool.settled()
            before = disk.syncs
            for n in range(2, 102):
                kept(spool, n)
            await spool.settled()
            assert on(disk.crashed()) == list(range(1, 102))
            assert disk.syncs == before + 1

    async def test_goes_segment_by_segment_as_the_log_has_all_of_each(self, disk: MemoryDisk) -> None:
        async with spool_on(disk, SpoolLimits(segment_bytes=1)) as spool:
            all_kept = []
            for n in (1, 2, 3):
                all_kept.append(kept(spool, n))
                await spool.settled()
            spool.confirm(all_kept[1])
            await asyncio.sleep(0.01)
            assert on(disk) == [1, 2, 3], "a segment may be missing only at the beginning"
            spool.confirm(all_kept[0])
            spool.confirm(all_kept[0])
            await asyncio.sleep(0.01)
            assert on(disk) == [3]
            spool.confirm(all_kept[2])
            await asyncio.sleep(0.01)
            assert disk.files == {}
            assert spool.used_bytes == 0

    async def test_does_not_write_what_the_log_has_by_then(self, disk: MemoryDisk) -> None:
        async with spool_on(disk) as spool:
            first, second = kept(spool, 1), kept(spool, 2)
            spool.confirm(first)
            await spool.settled()
            assert on(disk) == [2]
            spool.confirm(second)
            await asyncio.sleep(0.01)
            assert disk.files == {}

    async def test_is_full_at_its_bound_and_takes_no_calls_well_before(self, disk: MemoryDisk) -> None:
        counters: Counter[str] = Counter()
        async with spool_on(disk, SpoolLimits(total_bytes=60_000, segment_bytes=1), counters) as spool:
            taken = [kept(spool, 1)]
            await spool.settled()
            assert takes_calls(spool)
            while one := keep(spool, len(taken) + 1):
                taken.append(one)
                await spool.settled()
            assert spool.used_bytes <= 60_000
            assert not takes_calls(spool)
            assert counters["spool-full"] == 1
            for one in taken:
                spool.confirm(one)
            await asyncio.sleep(0.01)
            assert takes_calls(spool)
            assert keep(spool, 99) is not None

    async def test_writes_again_into_a_new_segment_what_a_failed_sync_left_in_doubt(self, disk: MemoryDisk) -> None:
        counters: Counter[str] = Counter()
        async with spool_on(disk, counters=counters) as spool:
            kept(spool, 1)
            await spool.settled()
            disk.broken_syncs = 3
            one = kept(spool, 2)
            await spool.settled()
            assert durable(one)
            assert on(disk.crashed()) == [1, 2]
            assert len(disk.files) > 1
            assert counters["spool-disk-failures"] == 3

    async def test_takes_nothing_while_the_disk_is_full_and_says_so(self, disk: MemoryDisk) -> None:
        counters: Counter[str] = Counter()
        async with spool_on(disk, counters=counters) as spool:
            disk.full = True
            one = kept(spool, 1)
            async with asyncio.timeout(120):
                while not counters["spool-disk-failures"]:
                    await asyncio.sleep(0.001)
            assert not takes_calls(spool)
            assert keep(spool, 2) is None
            disk.full = False
            await spool.settled()
            assert durable(one)
            assert takes_calls(spool)
            assert on(disk.crashed()) == [1]

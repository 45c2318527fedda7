"""Ten million events on a real log in a minute: written by several owners at once, each with partitions of its own, in large batches.

What lies on the log afterwards is what owners write: a claim that supersedes the one before, then whole commits under it, as many to
a batch as it takes, each record with its version, commit id, command id and time. Only the deciding and the answering are left out.
"""

import asyncio
import gc
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import uvloop

from commands.ownership.groups import commit_id_of
from commands.ports import NewRecord, Place
from events.admission import Fence
from events.headers import Kind, RecordHeader, pack
from events.ownership import PartitionClaimed
from events.records import write_headers
from events.registry import Fact, type_of
from events.rooms import prepared_codec
from events.streams import StreamId, partition_of
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from tests.benchmarks.projection import progress
from tests.projections.facts import agent_turn, answered, caller_turn, received
from tests.projections.told import AYB

FACTS_OF_A_CALL = 102
PROCESSES = 2
# Calls under way at once in a partition: with one commit of each a batch is as large as a broker takes it.
_AT_ONCE = 64
_TURNS_OF_A_COMMIT = 10
# Whoever made the topics claimed them with the first term.
_TERM = 2
_BATCHES_AT_ONCE = 2
_SAY_SECONDS = 10.0
_ROOM = "calls"


class _Fact(NamedTuple):
    ce_type: str
    value: bytes


async def fill(kafka: str, prefix: str, partitions: int, events: int) -> float:
    """Calls of 102 facts on the topic of calls; returns the seconds it took. Raises SystemExit."""
    begun = time.perf_counter()
    words = (sys.executable, "-m", "tests.benchmarks.filling", kafka, prefix, str(partitions), str(events // FACTS_OF_A_CALL))
    children = [await asyncio.create_subprocess_exec(*words, str(share)) for share in range(PROCESSES)]
    try:
        for child in children:
            if await child.wait():
                raise SystemExit("a process that fills the log ended early")
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
    return time.perf_counter() - begun


async def share_of(kafka: str, prefix: str, partitions: int, calls: int, share: int) -> None:
    """What such a process does."""
    codec, draw, topic = prepared_codec(), random.Random(1), f"{prefix}.{_ROOM}.v1"
    streams = [StreamId(AYB, "calls", f"call_{draw.getrandbits(96):024x}{number:08x}").key for number in range(calls)]
    mine: dict[int, list[bytes]] = {number: [] for number in range(partitions) if number % PROCESSES == share}
    for key in streams:
        number = partition_of(key, partitions)
        if number in mine:
            mine[number].append(key)
    async with KafkaLog(kafka, append_seconds=30.0) as log:
        kinds = [type_of(fact) for fact in (received(), answered(), caller_turn(1), agent_turn(1), PartitionClaimed(address=""))]
        await SchemaTopic(log, codec, f"{prefix}.schemas").register(kinds)
        said = _Said(len(streams) * FACTS_OF_A_CALL // PROCESSES, share)
        async with asyncio.TaskGroup() as tasks:
            for turn in range(_BATCHES_AT_ONCE):
                places = [Place(topic, number) for number in list(mine)[turn::_BATCHES_AT_ONCE]]
                tasks.create_task(_written(log, places, mine, said), name=f"fill {turn}")


class _Said:
    """Says now and then how far one process is."""

    def __init__(self, goal: int, share: int) -> None:
        self._goal, self._share = goal, share
        self._done, self._begun = 0, time.perf_counter()
        self._said = self._begun

    def more(self, records: int) -> None:
        self._done += records
        now = time.perf_counter()
        if now - self._said > _SAY_SECONDS:
            self._said = now
            rate = self._done / (now - self._begun)
            progress("log", f"process {self._share}: {self._done:,} of {self._goal:,} events, {rate:,.0f} a second")


async def _written(log: KafkaLog, places: Sequence[Place], keys: dict[int, list[bytes]], said: _Said) -> None:
    for place in places:
        fence = Fence(_TERM, os.urandom(16))
        if await log.append(place, [_claim(fence)]) < 0:
            raise SystemExit(f"nobody knows where the claim on {place} lies")
        for batch in _batches(fence, keys[place.partition]):
            await log.append(place, batch)
            said.more(len(batch))


def _claim(fence: Fence) -> NewRecord:
    word, now_ms = PartitionClaimed(address=""), time.time_ns() // 1_000_000
    header = RecordHeader(kind=Kind.CLAIM, term=fence.term, claim_id=fence.claim_id, commit_id=fence.claim_id, occurred_at_us=now_ms * 1000)
    headers = write_headers(_ROOM, type_of(word).ce_type, f"{fence.claim_id.hex()}-0", header.pack())
    return NewRecord(b"", prepared_codec().encode(word), now_ms, headers)


def _batches(fence: Fence, keys: Sequence[bytes]) -> Iterator[list[NewRecord]]:
    commits, number = _commits(), 0
    for first in range(0, len(keys), _AT_ONCE):
        version = 0
        for commit in commits:
            batch: list[NewRecord] = []
            for key in keys[first : first + _AT_ONCE]:
                batch += _records(fence, key, commit, version, commit_id_of(fence, number))
                number += 1
            version += len(commit)
            yield batch


def _commits() -> list[list[_Fact]]:
    """A call's commits: its beginning, and some turns each."""
    codec = prepared_codec()

    def told(*facts: Fact) -> list[_Fact]:
        return [_Fact(type_of(fact).ce_type, codec.encode(fact)) for fact in facts]

    return [
        told(received(), answered()),
        *(
            told(*(
                fact for turn in range(first, first + _TURNS_OF_A_COMMIT)
                for fact in (caller_turn(turn, "is there an hour"), agent_turn(turn, "at nine"))
            ))
            for first in range(1, 51, _TURNS_OF_A_COMMIT)
        ),
    ]  # fmt: skip


def _records(fence: Fence, key: bytes, commit: Sequence[_Fact], version: int, commit_id: bytes) -> list[NewRecord]:
    now_us = time.time_ns() // 1_000
    command_id, digest, name = os.urandom(16), os.urandom(16), commit_id.hex()
    nothing, count = bytes(16), len(commit)
    records = []
    for index, (ce_type, value) in enumerate(commit):
        packed = pack(
            Kind.EVENT, *fence, version + index + 1, commit_id, index, count, command_id, digest, now_us, nothing, 0, nothing, nothing,
            bytes(8), 0, b"bench",
        )  # fmt: skip
        records.append(NewRecord(key, value, now_us // 1_000, write_headers(_ROOM, ce_type, f"{name}-{index}", packed)))
    return records


if __name__ == "__main__":
    gc.set_threshold(100_000, 50, 1_000)
    uvloop.run(share_of(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))

"""A log on paper, of any number of partitions: what readers get of it, cut into batches as a draw says."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

from commands.ownership.groups import commit_id_of
from events.admission import UNCLAIMED, Fence
from events.codec import Codec
from events.headers import Kind, RecordHeader
from events.identifiers import derived_id
from events.records import AdmittedBatch, RawRecord
from events.registry import Fact, type_of
from events.rooms import ROOMS, prepared_codec
from events.streams import StreamId, partition_of, topic_of
from tests.projections.told import DAY

FENCE = Fence(1, b"c" * 16)
_BEGIN_MS = int(DAY.timestamp() * 1000)


class PaperReader:
    """`LogReader`, held to its contract beside the real one. Every partition begins with a claim, at offset 0.

    `claim`: whose commits come next.
    """

    def __init__(self, *, partitions: int = 2, seed: int = 0, largest_batch: int = 1000) -> None:
        self.codec: Codec = prepared_codec()
        self._partitions = partitions
        self._draw = random.Random(seed)
        self._largest = largest_batch
        self._versions: defaultdict[bytes, int] = defaultdict(int)
        self._records: dict[tuple[str, int], list[RawRecord | None]] = {
            (topic_of(room), number): [None] for room in ROOMS for number in range(partitions)
        }
        self._grown = asyncio.Event()
        self._ms = _BEGIN_MS
        self._commits = 0
        self.claim = FENCE

    def append(self, stream: StreamId, *facts: Fact, room: str | None = None) -> RawRecord:
        """One commit; returns its last record."""
        for index, fact in enumerate(facts):
            self.put(stream, self.codec.encode(fact), type_of(fact).ce_type, room or type_of(fact).room, index, len(facts))
        return self.put_back(stream, room or type_of(facts[-1]).room)

    def put_back(self, stream: StreamId, room: str) -> RawRecord:
        """The last record of a stream's partition."""
        last = self._records[topic_of(room), partition_of(stream.key, self._partitions)][-1]
        assert last is not None
        return last

    def put(self, stream: StreamId, value: bytes, ce_type: str, room: str, index: int = 0, count: int = 1) -> None:
        """A record with any body."""
        place = (topic_of(room), partition_of(stream.key, self._partitions))
        self._versions[stream.key] += 1
        version = self._versions[stream.key]
        self._ms += 1000
        self._commits += not index
        header = RecordHeader(
            kind=Kind.EVENT, term=self.claim.term, claim_id=self.claim.claim_id, version=version,
            commit_id=commit_id_of(self.claim, self._commits), index=index, count=count, occurred_at_us=self._ms * 1000,
            command_id=derived_id("command", str(stream), str(version - index)), actor="test",
        )  # fmt: skip
        offset = len(self._records[place])
        self._records[place].append(RawRecord(*place, offset, self._ms, stream.key, value, ce_type, header))
        self._grown.set()

    def all_records(self) -> list[RawRecord]:
        """Everything but the claims."""
        return [raw for records in self._records.values() for raw in records if raw is not None]

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        return {place: len(records) for place, records in self._records.items() if place[0] in topics}

    async def batches(
        self,
        topics: Sequence[str],
        start: Mapping[tuple[str, int], tuple[int, Fence]],
        *,
        stop_at_end: bool = False,
        places: Collection[tuple[str, int]] | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:
        chosen = [place for place in self._records if place[0] in topics and (places is None or place in places)]
        ends = {place: len(self._records[place]) for place in chosen}
        reached = {place: start.get(place, (0, UNCLAIMED))[0] for place in ends}
        while True:
            if not stop_at_end:
                ends = {place: len(self._records[place]) for place in ends}
            behind = [place for place in sorted(ends) if reached[place] < ends[place]]
            if behind:
                place = self._draw.choice(behind)
                yield self._batch(place, reached, ends[place])
                await asyncio.sleep(0)
            elif stop_at_end:
                return
            else:
                self._grown.clear()
                await self._grown.wait()

    def _batch(self, place: tuple[str, int], reached: dict[tuple[str, int], int], end: int) -> AdmittedBatch:
        stop = min(end, reached[place] + self._draw.randint(1, self._largest))
        # Whole commits only.
        while stop < end and (following := self._records[place][stop]) is not None and following.header and following.header.index:
            stop += 1
        records = [raw for raw in self._records[place][reached[place] : stop] if raw is not None]
        reached[place] = stop
        return AdmittedBatch(*place, records, stop, FENCE)

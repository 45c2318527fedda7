"""A journal that follows the log: behind it by more or less, slow, or away; snapshots; and an owner's memory that is far too small."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from commands.ownership import remembering, streams
from commands.ownership.loading import LoadingPatience
from commands.ownership.memory import Bounds
from commands.ownership.partition import Patience
from commands.ports import Begun, History, HistoryAway, HistoryDamaged, LogAway, Place, Reached, Remembered, Since
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.headers import Kind
from events.records import RawRecord
from tests.simulator.log import Cluster, Partition
from tests.simulator.loop import ProcessLoop

SMALL = Bounds(streams=2, commands=5, tail=3)
FORGETFUL_AFTER = 3
SNAPSHOT_EVERY = 3


class _Journaled:
    """A partition as far as the journal has it: whole commits only."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.reached = Reached(0, UNCLAIMED, 0)
        self.by_key: dict[bytes, list[RawRecord]] = defaultdict(list)
        self._next = 0
        self._fence: Fence = UNCLAIMED
        self._timestamp_ms = 0

    def follow(self, target: int) -> None:
        """Read on up to an offset; a commit that is cut there is held back."""
        for raw in self.partition.records[self._next : target]:
            self._fence, verdict = admit(self._fence, raw.header)
            self._next += 1
            if verdict is Verdict.ADMITTED and raw.header is not None:
                self._timestamp_ms = max(self._timestamp_ms, raw.timestamp_ms)
                if raw.header.kind in {Kind.EVENT, Kind.RECEIPT}:
                    self.by_key[raw.key].append(raw)
                if raw.header.index < raw.header.count - 1:
                    continue
            self.reached = Reached(self._next, self._fence, self._timestamp_ms)


class Journal:
    """One for all processes. `behind` is how many records it is late at most, `away_until` when it answers again."""

    def __init__(self, cluster: Cluster) -> None:
        self.behind = 0
        self.away_until = 0.0
        self.damaged_until = 0.0
        self.cluster = cluster
        self._partitions = {place: _Journaled(partition) for place, partition in cluster.partitions.items()}

    def heal(self) -> None:
        self.behind, self.away_until, self.damaged_until = 0, 0.0, 0.0

    def at(self, place: Place) -> _Journaled:
        """The partition as the journal has it now; it never goes back."""
        journaled = self._partitions[place]
        journaled.follow(len(journaled.partition.records) - (self.cluster.draw.randint(0, self.behind) if self.behind else 0))
        return journaled


class Shelf:
    """Where snapshots lie, for all processes. What is found there may be old, damaged, or gone."""

    def __init__(self, cluster: Cluster) -> None:
        self.kept: dict[bytes, list[bytes]] = defaultdict(list)
        self.away_until = 0.0
        self.bad_until = 0.0
        self.cluster = cluster

    def heal(self) -> None:
        self.away_until = self.bad_until = 0.0


class SimulatedSnapshots:
    """`commands.ports.Snapshots` as one process has it."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def find(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        await self._answer("find")
        return {key: self._one(self._shelf.kept[key]) for key in keys if self._shelf.kept.get(key)}

    async def keep(self, snapshots: Mapping[bytes, bytes]) -> None:
        await self._answer("keep")
        for key, packed in snapshots.items():
            self._shelf.kept[key].append(packed)

    def _one(self, kept: Sequence[bytes]) -> bytes:
        shelf, draw = self._shelf, self._shelf.cluster.draw
        if shelf.bad_until <= shelf.cluster.scheduler.now or draw.random() < 0.3:
            return kept[-1]
        packed = bytearray(draw.choice(kept))
        if draw.random() < 0.5:
            shelf.cluster.story.met("snapshot damaged", "Snapping.find > find")
            packed[draw.randrange(len(packed))] ^= 1 << draw.randrange(8)
        else:
            shelf.cluster.story.met("snapshot old", "Snapping.find > find")
        return bytes(packed)

    async def _answer(self, call: str) -> None:
        shelf = self._shelf
        await asyncio.sleep(shelf.cluster.delay())
        if shelf.away_until > shelf.cluster.scheduler.now:
            shelf.cluster.story.met("snapshots away", _site(call, 2))
            raise LogAway("no snapshots now")


class SimulatedHistories:
    """`commands.ports.Histories` as one process has it."""

    def __init__(self, journal: Journal, loop: ProcessLoop) -> None:
        self._journal = journal
        self._loop = loop

    async def reached(self, place: Place) -> Reached:
        await self._answer("reached")
        reached = self._journal.at(place).reached
        if not reached.offset:
            raise HistoryAway("the partition is not known yet")
        return reached

    async def load(self, place: Place, since: Mapping[bytes, Since]) -> History:
        await self._answer("load")
        journal, at = self._journal, self._journal.at(place)
        if journal.damaged_until > self._loop.time():
            journal.cluster.story.met("journal damaged", _site("load"))
            raise HistoryDamaged("this is not the record that it says it is")
        found = {
            key: [raw for raw in at.by_key.get(key, ()) if behind < raw.offset < at.reached.offset] for key, (behind, _) in since.items()
        }
        return History(at.reached, found)

    async def begun(self, place: Place, start: int, stop: int, most: int) -> Begun:
        await self._answer("begun")
        at = self._journal.at(place)
        stop = min(stop, at.reached.offset)
        first = {raws[0].offset: key for key, raws in at.by_key.items()}
        piece = sorted(offset for offset in first if start <= offset < stop)[:most]
        return Begun([first[offset] for offset in piece], piece[-1] + 1 if len(piece) == most else stop)

    async def answered(self, place: Place, key: bytes, command_id: bytes) -> Remembered:
        await self._answer("answered")
        at = self._journal.at(place)
        records = [raw for raw in at.by_key.get(key, ()) if raw.offset < at.reached.offset]
        last = [raw for raw in records if raw.header is not None and raw.header.command_id == command_id]
        return Remembered(at.reached, last[-1] if last else None)

    async def _answer(self, call: str) -> None:
        journal = self._journal
        draw = journal.cluster.draw
        await asyncio.sleep(journal.cluster.delay() * (100 if journal.behind and draw.random() < 0.2 else 1))
        if journal.away_until > self._loop.time():
            journal.cluster.story.met("journal away", _site(call, 2))
            raise HistoryAway("nobody answers")
        if journal.behind:
            journal.cluster.story.met("journal behind", _site(call, 2))


def _site(call: str, deep: int = 1) -> str:
    return f"{sys._getframe(deep + 1).f_code.co_qualname} > {call}"


def impatient(whole_records: int) -> Patience:
    """As the product waits, except that it reads no long partitions whole."""
    patience = Patience()
    # Snapshots are due soon, and memory is looked after often.
    return replace(patience, loading=LoadingPatience(whole_records=whole_records, refresh_seconds=0.1 if not whole_records else 1.0))


@contextmanager
def short_memory() -> Iterator[None]:
    """Streams remember the answers of their last few commands only."""
    before = remembering.WINDOW
    for module in (remembering, streams):
        vars(module)["WINDOW"] = FORGETFUL_AFTER
    try:
        yield
    finally:
        for module in (remembering, streams):
            vars(module)["WINDOW"] = before

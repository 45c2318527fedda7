"""Writes snapshots of streams that have grown long, and goes on from them; whatever goes wrong here costs time and nothing else."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from commands.ownership.loading import Bases
from commands.ownership.owner import Owner
from commands.ownership.shapes import NotSnapshotable
from commands.ownership.snapshots import Snapshot, SnapshotIgnored, leaf_of, pack, taken, unpack
from commands.ownership.streams import category_of
from commands.ports import HistoryLost, Log, LogAway, Snapshots
from events.records import RawRecord

log = structlog.get_logger()

SNAPSHOT_EVERY = 256
"""Versions by which a stream grows before it is worth a snapshot."""
_AT_ONCE = 20


class Snapping(Bases):
    """The snapshots of one owner's streams. What was kept and what was ignored is counted in `streams.snapshots`."""

    def __init__(self, owner: Owner, kafka: Log, snapshots: Snapshots, every: int = SNAPSHOT_EVERY) -> None:
        self._owner = owner
        self._streams = owner.streams
        self._streams.snapshot_every = every
        self._log = kafka
        self._snapshots = snapshots

    async def find(self, keys: Sequence[bytes], before: int) -> Mapping[bytes, Snapshot]:
        """As `Bases.find`. A snapshot counts only if the record that it names lies where it says, as it says."""
        good: dict[bytes, Snapshot] = {}
        try:
            for key, packed in (await self._snapshots.find(keys)).items():
                try:
                    snapshot = unpack(packed, key, self._owner.place, self._streams.deciders)
                    if snapshot.offset < before:
                        await self._check(snapshot)
                        good[key] = snapshot
                except SnapshotIgnored as reason:
                    self._streams.snapshots["ignored"] += 1
                    log.warning("snapshot-ignored", stream=key.decode("ascii", "replace"), reason=str(reason))
        except (LogAway, HistoryLost) as error:
            log.info("snapshots-away", topic=self._owner.place.topic, partition=self._owner.place.partition, reason=str(error))
        return good

    async def write_due(self) -> None:
        """Keep what is due. What cannot be kept now is left for the next time that its stream has grown."""
        due = self._streams.due
        while due:
            packed: dict[bytes, bytes] = {}
            while due and len(packed) < _AT_ONCE:
                key = next(iter(due))
                del due[key]
                await self._take(key, packed)
            try:
                await self._snapshots.keep(packed)
                self._streams.snapshots["kept"] += len(packed)
            except LogAway as error:
                self._streams.snapshots["lost"] += len(packed)
                log.info("snapshots-not-kept", topic=self._owner.place.topic, partition=self._owner.place.partition, reason=str(error))
                return

    async def _take(self, key: bytes, packed: dict[bytes, bytes]) -> None:
        stream, decider = self._streams.get(key), self._streams.deciders.get(category_of(key))
        snapshot = None if stream is None else taken(key, self._owner.place, stream)
        if stream is None or decider is None or snapshot is None:
            return
        stream.snapped = snapshot.version
        try:
            packed[key] = pack(replace(snapshot, leaf=leaf_of(await self._record(snapshot))), decider)
        except NotSnapshotable as reason:
            self._streams.snapshots["not-snapshotable"] += 1
            log.debug("not-snapshotable", category=decider.category, reason=str(reason))
        except (SnapshotIgnored, LogAway, HistoryLost) as error:
            self._streams.snapshots["lost"] += 1
            log.info("snapshot-not-taken", stream=key.decode("ascii", "replace"), reason=str(error))
        # Packing takes a millisecond, and commands wait.
        await asyncio.sleep(0)

    async def _check(self, snapshot: Snapshot) -> None:
        raw = await self._record(snapshot)
        if leaf_of(raw) != snapshot.leaf or raw.header is None or raw.header[1:3] != snapshot.fence:
            raise SnapshotIgnored("the record that it names is another one")

    async def _record(self, snapshot: Snapshot) -> RawRecord:
        async with aclosing(self._log.read(snapshot.place, snapshot.offset, snapshot.offset + 1)) as parts:
            async for records in parts:
                for raw in records:
                    if raw.offset == snapshot.offset:
                        return raw
        raise SnapshotIgnored("the record that it names is not there")

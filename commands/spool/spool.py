"""One process's write-ahead spool: commands that the log does not take now are on disk before they count as kept.

Whoever keeps one goes on at once; a task writes groups and syncs them. Its sender sends it all the same, and says when the log has
it; a segment goes when the log has all of it, and of those before it. What a dead process left is another's to bring home (`drain.py`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from commands.dispatch import Order
from commands.spool.format import Checksum, Entry, framed, framed_bytes, payload_of, segment_header, sha
from commands.spool.ports import SpoolDisk
from commands.wire import CommandWire
from events.streams import StreamId

log = structlog.get_logger()

# A full spool takes nothing until it has some room again, so that it is not said with every fact.
_STILL_FULL = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolLimits:
    """`total_bytes` on disk and waiting for it; above `accept_below` of it no new calls are taken."""

    total_bytes: int = 64 << 20
    segment_bytes: int = 1 << 20
    group_bytes: int = 64 << 10
    accept_below: float = 0.5
    retry_seconds: float = 0.5


class Kept:
    """A command in the spool. `durable`: a crash does not lose it any more."""

    __slots__ = ("confirmed", "durable", "payload", "segment")

    def __init__(self, payload: bytes) -> None:
        self.durable = self.confirmed = False
        self.payload = payload
        self.segment: _Segment | None = None


class _Segment:
    __slots__ = ("name", "size", "unconfirmed")

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.unconfirmed = 0


class Spool:
    """`keep` and `confirm` never wait; `run` writes. All belong to one event loop.

    `counters` take `spool-kept`, and as alarms `spool-full` and `spool-disk-failures`.
    """

    def __init__(
        self, disk: SpoolDisk, wire: CommandWire, incarnation: str, counters: Counter[str], *, limits: SpoolLimits | None = None,
        checksum: Checksum = sha,
    ) -> None:  # fmt: skip
        self._disk, self._wire, self._incarnation, self._counters = disk, wire, incarnation, counters
        self._limits, self._checksum = limits or SpoolLimits(), checksum
        self._pending: deque[Kept] = deque()
        self._pending_bytes = self._disk_bytes = 0
        self._segments: deque[_Segment] = deque()
        self._current: _Segment | None = None
        self._begun = 0
        self._next = 1
        self._header_bytes = len(self._header())
        self._failing = self._full = False
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    @property
    def used_bytes(self) -> int:
        return self._pending_bytes + self._disk_bytes

    @property
    def accepts_calls(self) -> bool:
        """Whether a new call's facts would find room, should the log go away."""
        return not self._failing and self.used_bytes < self._limits.total_bytes * self._limits.accept_below

    def health(self) -> Mapping[str, int]:
        """Figures for an operator; those of what is brought home among them, where it counts in the same place."""
        return {"spool-bytes": self.used_bytes, **self._counters}

    def keep(self, stream: StreamId, incarnation: str, sequence: int, order: Order, command: object) -> Kept | None:
        """Hand a command over; None where the spool is full or the disk fails. `incarnation`, `sequence`: its sender's."""
        if self._failing or self._full:
            return None
        wire = self._wire
        payload = payload_of(
            Entry(str(stream), incarnation, sequence, wire.encode_order(order), wire.encode(stream.category, command))
        )  # fmt: skip
        if self.used_bytes + framed_bytes(payload) + self._header_bytes > self._limits.total_bytes:
            self._full = True
            self._counters["spool-full"] += 1
            log.error("the spool is full: facts of calls under way may be lost", bytes=self.used_bytes)
            return None
        kept = Kept(payload)
        self._pending.append(kept)
        self._pending_bytes += framed_bytes(payload)
        self._counters["spool-kept"] += 1
        self._idle.clear()
        self._work.set()
        return kept

    def confirm(self, kept: Kept) -> None:
        """The log has it, or never will. Idempotent."""
        if kept.confirmed:
            return
        kept.confirmed = True
        if kept.segment is not None:
            kept.segment.unconfirmed -= 1
            if not kept.segment.unconfirmed:
                self._work.set()

    async def settled(self) -> None:
        """Wait until all that was kept is on disk. Without end while the disk fails."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while group := self._take_group():
                await self._write(group)
            self._idle.set()
            await self._delete_confirmed()
            self._full = self._full and self.used_bytes > self._limits.total_bytes * _STILL_FULL

    def _take_group(self) -> list[Kept]:
        group: list[Kept] = []
        size = 0
        while self._pending and size < self._limits.group_bytes:
            kept = self._pending.popleft()
            if kept.confirmed:
                self._pending_bytes -= framed_bytes(kept.payload)
            else:
                group.append(kept)
                size += framed_bytes(kept.payload)
        return group

    async def _write(self, group: list[Kept]) -> None:
        # A group keeps its bytes and numbers until a sync of it succeeds, whoever confirms what is in it meanwhile.
        synced, incarnation = self._next - 1, self._incarnation.encode()
        data = b"".join(framed(kept.payload, self._next + n, synced, incarnation, self._checksum) for n, kept in enumerate(group))
        segment = await self._store(data)
        self._failing = False
        self._next += len(group)
        self._pending_bytes -= len(data)
        for kept in group:
            kept.durable, kept.payload = True, b""
            if not kept.confirmed:
                kept.segment = segment
                segment.unconfirmed += 1
        if segment.size >= self._limits.segment_bytes:
            self._current = None

    async def _store(self, data: bytes) -> _Segment:
        while True:
            try:
                segment = await self._writable()
                await self._append(segment, data)
            except OSError as cause:
                await self._failed(cause)
            else:
                return segment

    async def _writable(self) -> _Segment:
        """The segment that is written to; a new one has its header on disk before any entry."""
        if self._current is None:
            self._begun += 1
            segment = _Segment(f"{self._begun:08d}")
            self._segments.append(segment)
            await self._append(segment, self._header())
            self._current = segment
        return self._current

    def _header(self) -> bytes:
        return segment_header(self._incarnation, self._next, self._wire.marks(), self._wire.schemas(), self._checksum)

    async def _append(self, segment: _Segment, data: bytes) -> None:
        segment.size += len(data)
        self._disk_bytes += len(data)
        await self._disk.append(segment.name, data)
        await self._disk.sync(segment.name)

    async def _failed(self, cause: OSError) -> None:
        """After a failed sync nobody knows what of a segment is on disk: what was synced before stays, the rest goes into a new one."""
        self._counters["spool-disk-failures"] += 1
        if not self._failing:
            log.error("the spool cannot be written", error=type(cause).__name__, errno=cause.errno)
        self._failing = True
        self._current = None
        await asyncio.sleep(self._limits.retry_seconds)
        await self._delete_confirmed()

    async def _delete_confirmed(self) -> None:
        """From the oldest on: a segment that is missing between two others would be taken for a loss."""
        while self._segments and not self._segments[0].unconfirmed:
            segment = self._segments[0]
            if segment is self._current:
                self._current = None
            try:
                await self._disk.delete(segment.name)
            except OSError as cause:
                self._counters["spool-disk-failures"] += 1
                log.warning("a segment of the spool cannot be deleted", segment=segment.name, errno=cause.errno)
                return
            self._segments.popleft()
            self._disk_bytes -= segment.size

"""Long work, done by one process at a time: taken up from the log, from where the last process left it."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import structlog

from commands.dispatch import CommitInDoubt, Committed, Dispatch, LogUnavailable, Order
from commands.operations import (
    OPERATIONS,
    BeginOperation,
    FailOperation,
    FinishOperation,
    NoteFilesRemoved,
    NoteProgress,
    OperationOver,
    OperationTakenOver,
)
from commands.ports import LogAway, Place
from events.identifiers import derived_id
from events.operations import OperationBegun, OperationFile, OperationRequested
from events.parking import ParkedRecord, recorded_or_parked
from events.recorded import Recorded
from events.selecting import Select
from events.streams import StreamId
from infra.adapters.kafka.reader import KafkaLogReader
from projections.operations import ENDED, Operation, files_expire_at
from projections.operations import OPERATIONS as ROWS
from projections.ports import TopicOf

log = structlog.get_logger()
_AGAIN_SECONDS = 1.0
# A machine's clock may be set; who waits for a day looks at it now and then.
_LOOK_SECONDS = 600.0


class CannotBeDone(Exception):
    """The work as it was wanted can never be done; the text says why."""


class Note(Protocol):
    """Put on record how far the work is."""

    async def __call__(self, done: int, position: str, files: Sequence[OperationFile] = ()) -> None:
        """Raises OperationOver or OperationTakenOver: then stop."""


Work: TypeAlias = Callable[[Operation, Note], Awaitable[str]]
"""Does one kind of work from where its row says on; returns a summary. Raises CannotBeDone, OSError or LogAway (it is tried again)."""


@dataclass(slots=True)
class Operating:
    """Follows the room's topic, does what is not done, and removes files whose time is over. `works` by kind."""

    reader: KafkaLogReader
    dispatch: Dispatch
    works: Mapping[str, Work]
    remove: Callable[[Operation], Awaitable[None]]
    worker: str
    topic_of: TopicOf
    now: Callable[[], datetime]

    async def run(self, places: Collection[Place] | None = None) -> None:
        """Until cancelled. `places`: those to read, instead of all. Raises LogAway."""
        if places is not None and not places:
            await asyncio.Event().wait()
        standing = _Standing()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(standing, places), name="operations: follow")
            tasks.create_task(self._work(standing), name="operations: work")
            tasks.create_task(self._clear(standing), name="operations: clear")

    async def _follow(self, standing: "_Standing", places: Collection[Place] | None) -> None:
        topic = self.topic_of(OPERATIONS.room)
        ends = {place: end for place, end in (await self.reader.end_offsets([topic])).items() if places is None or place in places}
        behind = {place for place, end in ends.items() if end}
        async with aclosing(self.reader.batches([topic], {}, places=places, select=Select())) as batches:
            if not behind:
                await standing.caught_up()
            async for batch in batches:
                for raw in batch.records:
                    fact = recorded_or_parked(raw, self.reader.codec)
                    if not isinstance(fact, ParkedRecord):
                        standing.take(fact)
                if batch.next_offset >= ends.get((batch.topic, batch.partition), 0):
                    behind.discard((batch.topic, batch.partition))
                if not behind:
                    await standing.caught_up()

    async def _work(self, standing: "_Standing") -> None:
        while True:
            stream = await standing.next()
            try:
                await self._do(stream, standing)
            except (OperationOver, OperationTakenOver) as refusal:
                log.info("operation-left", operation=str(stream), reason=str(refusal))
                await standing.left(stream)
            except (LogUnavailable, CommitInDoubt, LogAway, OSError) as cause:
                log.warning("operation-tried-again", operation=str(stream), reason=str(cause))
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _clear(self, standing: "_Standing") -> None:
        while True:
            row = await standing.expired(self.now)
            stream = StreamId(row.tenant, OPERATIONS.category, row.id)
            try:
                await self.remove(row)
                await self._send(stream, NoteFilesRemoved())
            except (LogUnavailable, LogAway, OSError) as cause:
                log.warning("files-not-removed", operation=str(stream), reason=str(cause))
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                standing.with_files.pop(stream, None)

    async def _do(self, stream: StreamId, standing: "_Standing") -> None:
        begun = await self._send(stream, BeginOperation(worker=self.worker))
        attempt = next(each.fact.attempt for each in begun.facts if isinstance(each.fact, OperationBegun))
        # All that was done before was confirmed before this attempt began.
        row = await standing.has(stream, attempt)

        async def note(done: int, position: str, files: Sequence[OperationFile] = ()) -> None:
            await self._send(stream, NoteProgress(attempt=attempt, done=done, position=position, files=tuple(files)))

        work = self.works.get(row.kind, _unknown)
        try:
            summary = await work(row, note)
        except CannotBeDone as cause:
            await self._send(stream, FailOperation(reason=str(cause)))
        else:
            await self._send(stream, FinishOperation(attempt=attempt, summary=summary))
        await standing.left(stream)

    async def _send(self, stream: StreamId, command: Any) -> Committed:
        order = Order(
            command_id=os.urandom(16), digest=derived_id("operation", repr(command)), actor=f"worker:{self.worker}",
            occurred_at=datetime.now(UTC), correlation_id=derived_id("operation", stream.id),
        )  # fmt: skip
        while True:
            try:
                return await self.dispatch(OPERATIONS, stream, command, order)
            except CommitInDoubt:
                # Under the same id: it is done once.
                await asyncio.sleep(_AGAIN_SECONDS)


async def _unknown(row: Operation, _: Note) -> str:
    raise CannotBeDone(f"nobody here knows how to do {row.kind!r}")


class _Standing:
    """What is not done, as far as the log was read."""

    def __init__(self) -> None:
        self.rows: dict[StreamId, Operation] = {}
        # Those that have ended, while their files are there.
        self.with_files: dict[StreamId, Operation] = {}
        self._left: set[StreamId] = set()
        self._known = False
        self._moved = asyncio.Condition()

    def take(self, fact: Recorded[Any]) -> None:
        row = self.rows.pop(fact.stream, None) or self.with_files.pop(fact.stream, None)
        # Of one that has ended only its beginning was forgotten: its files are fetched long after.
        if row is None and not isinstance(fact.fact, OperationRequested):
            return
        row = ROWS.fold([fact], row)
        if row is not None and row.status not in ENDED:
            self.rows[fact.stream] = row
        elif row is not None and row.files and not row.files_removed:
            self.with_files[fact.stream] = row

    async def caught_up(self) -> None:
        self._known = True
        self._left &= self.rows.keys()
        async with self._moved:
            self._moved.notify_all()

    async def left(self, stream: StreamId) -> None:
        """It is no business of ours any more, whatever was read of it yet."""
        if stream in self.rows:
            self._left.add(stream)

    async def next(self) -> StreamId:
        """The one that was asked for first."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._known and self.rows.keys() - self._left)
            rows = {stream: row for stream, row in self.rows.items() if stream not in self._left}
            return min(rows, key=lambda stream: (rows[stream].requested_at, stream.id))

    async def expired(self, now: Callable[[], datetime]) -> Operation:
        """The one whose files are to be removed first, when their time has come."""
        while True:
            # Of what is read from the beginning, much was removed long ago.
            soonest = min(self.with_files.values(), key=_expiry) if self._known and self.with_files else None
            wait = _LOOK_SECONDS if soonest is None else (_expiry(soonest) - now()).total_seconds()
            if soonest is not None and wait <= 0:
                return soonest
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, _LOOK_SECONDS)), self._moved:
                    await self._moved.wait()

    async def has(self, stream: StreamId, attempt: int) -> Operation:
        """Its row once the attempt's beginning was read. Raises OperationOver where it has ended meanwhile."""
        async with self._moved:
            await self._moved.wait_for(lambda: (row := self.rows.get(stream)) is None or row.attempt >= attempt)
            row = self.rows.get(stream)
        if row is None:
            raise OperationOver("the operation has ended")
        return row


def _expiry(row: Operation) -> datetime:
    return files_expire_at(row) or datetime.max.replace(tzinfo=UTC)

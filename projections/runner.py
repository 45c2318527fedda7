"""The loop that keeps rows true: read, fold, write rows and checkpoint together, exactly once."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from events.admission import Fence
from events.codec import UnknownSchema
from events.records import AdmittedBatch
from events.streams import topic_of
from projections.folding import Folding, Outcome, fold
from projections.ports import (
    Advance,
    Checkpoint,
    LogReader,
    Mark,
    Opened,
    Place,
    Projection,
    RowsRefused,
    Sick,
    Store,
    StoreUnavailable,
    Superseded,
    TopicOf,
    Writes,
)
from projections.recent import Before, RecentRows
from projections.sorting import Plan, Sorted, Sorter, Wanted, keys_of, wanted_again
from projections.waiting import Waiting

log = structlog.get_logger()
E = TypeVar("E", bound=BaseException)

# What is far behind is written in large groups: a row that changes often is then written seldom.
_GROUP_RECORDS = 16_000
# After so many facts others of the process have their turn: the store's connection above all, which else would starve.
_AT_A_STRETCH = 500
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SCHEMA_SECONDS = 0.1
_IDLE_SECONDS = 2.0


class Runner:
    """Runs some projections over one read of the log. One `run` at a time.

    Each projection has its own checkpoint in each partition, and all of them step in the transaction that writes the rows. Who
    starts takes the checkpoints over, and whoever had them before cannot write any more.
    """

    def __init__(
        self,
        reader: LogReader,
        store: Store,
        projections: Collection[Projection],
        *,
        topic_of: TopicOf = topic_of,
        journal_rooms: Collection[str] = (),
    ) -> None:
        self._reader = reader
        self._store = store
        self._plan = Plan(projections, topic_of, journal_rooms)
        self._places: Sequence[Place] = ()
        self._held: Mapping[Mark, int] | None = None
        self._stop_at: Mapping[Mark, Checkpoint] = {}
        self._checkpoints: dict[Mark, Checkpoint] = {}
        self._parked: set[tuple[str, str]] = set()
        self.waits_for = "its start"

    @property
    def topics(self) -> Sequence[str]:
        """What it reads."""
        return self._plan.topics

    @property
    def checkpoints(self) -> Mapping[Mark, Checkpoint]:
        """How far each projection is written."""
        return self._checkpoints

    @property
    def parked_streams(self) -> int:
        """How many streams wait behind a fact that could not be taken, counted per projection."""
        return len(self._parked)

    async def run(self, *, stop_at_end: bool = False, stop_at: Mapping[Mark, Checkpoint] | None = None) -> None:
        """Until cancelled, or up to the log's end. Waits while the store is away. Raises Superseded.

        `stop_at`: checkpoints of earlier, beyond which nothing is written even if the log goes on.
        """
        self._stop_at = stop_at or {}
        failures = 0
        while True:
            before = dict(self._checkpoints)
            superseded: Superseded | None = None
            try:
                await apart(self._run(stop_at_end=stop_at_end))
            except* StoreUnavailable as group:
                failures = 0 if before != self._checkpoints else failures + 1
                self.waits_for = str(_first(group))
                log.warning("projection-store-away", reason=self.waits_for)
            except* Superseded as group:
                superseded = _first(group)
            else:
                return
            if was_cancelled():
                raise asyncio.CancelledError
            if superseded is not None:
                raise superseded
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])

    async def _run(self, *, stop_at_end: bool) -> None:
        if not self._places:
            self._places = [Place(*place) for place in await self._reader.end_offsets(self._plan.topics)]
        opened = await self._store.open(self._plan.marks(self._places), self._held)
        self._held = opened.epochs
        self._checkpoints = dict(opened.checkpoints)
        self._parked = {(name, stream) for name, streams in opened.parked.items() for stream in streams}
        self.waits_for = ""
        waiting = Waiting(_GROUP_RECORDS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sort(waiting, stop_at_end=stop_at_end), name="projections: read and sort")
            tasks.create_task(self._write(waiting, opened), name="projections: fold and write")

    async def _sort(self, waiting: Waiting, *, stop_at_end: bool) -> None:
        sorter = Sorter(self._plan, self._checkpoints, self._reader.codec, self._stop_at)
        async with aclosing(self._reader.batches(self._plan.topics, _starts(self._checkpoints), stop_at_end=stop_at_end)) as batches:
            async for batch in batches:
                await waiting.put(await self._sorted(sorter, batch))
        waiting.end()

    async def _sorted(self, sorter: Sorter, batch: AdmittedBatch) -> Sorted:
        while True:
            try:
                return sorter.sort(batch)
            except UnknownSchema as missing:
                # It is on its way: each schema is on the log before its first use.
                self.waits_for = str(missing)
                log.warning("projection-schema-missing", reason=self.waits_for)
                await asyncio.sleep(_SCHEMA_SECONDS)
                self.waits_for = ""

    async def _write(self, waiting: Waiting, opened: Opened) -> None:
        """While the store writes one group, the next is folded."""
        rows = RecentRows(self._store)
        writing: asyncio.Task[bool] | None = None
        loop = asyncio.get_running_loop()
        looked_at = loop.time()
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        group = await waiting.group()
                except TimeoutError:
                    if writing is None or writing.done():
                        await self._confirm(opened.epochs)
                        await self._heal(rows, opened.epochs)
                    continue
                if group is None:
                    return
                if not group.reached:
                    continue
                if self._parked and looked_at + _IDLE_SECONDS < loop.time() and (writing is None or writing.done()):
                    looked_at = loop.time()
                    await self._heal(rows, opened.epochs)
                before = await rows.load(keys_of(group.wanted))
                outcome = await _fold(group.wanted, before, self._parked)
                if writing is not None and not writing.done():
                    await self._store.prepare(group.journal)
                if writing is not None and await writing:
                    # What it was folded upon is not what was written.
                    before = await rows.load(keys_of(group.wanted))
                    outcome = await _fold(group.wanted, before, self._parked)
                rows.keep(outcome)
                self._parked |= outcome.newly_parked()
                writing = tasks.create_task(self._write_group(group, before, outcome, rows, opened.epochs), name="projections: write")

    async def _heal(self, rows: RecentRows, epochs: Mapping[Mark, int]) -> None:
        """Fold again what is parked and was ordered to be. What still cannot be taken is parked again, with all behind it."""
        for sick in await self._store.sick(self._checkpoints.keys()) if self._parked else ():
            projection = self._plan.by_name[sick.projection]
            wanted = [
                wanted_again(projection, sick.projection, raw, self._reader.codec)
                for raw in sick.records
                if raw.offset not in sick.discarded
            ]
            others = self._parked - {(sick.projection, sick.stream)}
            before = await rows.load(keys_of(wanted))
            outcome = fold(wanted, before, others, {})
            try:
                await self._store.write(self._healing(sick, outcome, epochs))
            except RowsRefused as cause:
                refused = await self._store.refused(self._healing(sick, outcome, epochs))
                if not refused:
                    raise RuntimeError(f"the store refuses rows and does not say which: {cause}") from cause
                outcome = fold(wanted, before, others, refused)
                await self._store.write(self._healing(sick, outcome, epochs))
            rows.keep(outcome)
            self._parked = others | outcome.newly_parked()
            log.info(
                "parked-facts-folded-again", projection=sick.projection, stream=sick.stream, facts=len(sick.records),
                left_out=len(sick.records) - len(wanted), still_parked=len(outcome.parked), order=sick.order,
            )  # fmt: skip

    def _healing(self, sick: Sick, outcome: Outcome, epochs: Mapping[Mark, int]) -> Writes:
        mark = (sick.projection, sick.place)
        still = Advance(projection=sick.projection, place=sick.place, epoch=epochs[mark], seen=self._checkpoints[mark],
                        reached=self._checkpoints[mark])  # fmt: skip
        return Writes(
            advances=[still], rows=outcome.rows, entries=outcome.entries, added=outcome.added, healed=[(sick.projection, sick.stream)],
            parked=[replace(each, tried_by=sick.order) for each in outcome.parked],
        )  # fmt: skip

    async def _confirm(self, epochs: Mapping[Mark, int]) -> None:
        """Notice while nothing happens that another runner took over, or that the store forgot everything."""
        for mark, seen in self._checkpoints.items():
            step = Advance(projection=mark[0], place=mark[1], epoch=epochs[mark], seen=seen, reached=seen)
            await self._store.write(Writes(advances=[step]))
            return

    async def _write_group(self, group: Sorted, before: Before, outcome: Outcome, rows: RecentRows, epochs: Mapping[Mark, int]) -> bool:
        """Returns whether other rows were written than `outcome` has: some of those the store can never take."""
        writes = self._writes(group, outcome, epochs)
        otherwise = False
        try:
            await self._store.write(writes)
        except RowsRefused as cause:
            refused = await self._store.refused(writes)
            if not refused:
                raise RuntimeError(f"the store refuses rows and does not say which: {cause}") from cause
            otherwise = True
            rows.put_back(before)
            outcome = fold(group.wanted, before, self._parked, refused)
            await self._store.write(self._writes(group, outcome, epochs))
            rows.keep(outcome)
            self._parked |= outcome.newly_parked()
        self._checkpoints |= group.reached
        for each in outcome.parked:
            if not each.behind:
                log.error("fact-parked", projection=each.projection, stream=each.stream, offset=each.offset, reason=each.reason)
        return otherwise

    def _writes(self, group: Sorted, outcome: Outcome, epochs: Mapping[Mark, int]) -> Writes:
        advances = [
            Advance(projection=mark[0], place=mark[1], epoch=epochs[mark], seen=self._checkpoints[mark], reached=reached)
            for mark, reached in group.reached.items()
        ]
        return Writes(
            advances=advances, rows=outcome.rows, entries=outcome.entries, added=outcome.added, journal=group.journal,
            parked=outcome.parked,
        )  # fmt: skip


async def _fold(wanted: Sequence[Wanted], before: Before, parked: set[tuple[str, str]]) -> Outcome:
    folding = Folding(before, parked, {})
    for at in range(0, len(wanted), _AT_A_STRETCH):
        if at:
            await asyncio.sleep(0)
        for each in wanted[at : at + _AT_A_STRETCH]:
            folding.take(each)
    return folding.finished()


def _starts(checkpoints: Mapping[Mark, Checkpoint]) -> Mapping[tuple[str, int], tuple[int, Fence]]:
    """Where the read begins: at the projection that is furthest behind in each partition."""
    starts: dict[tuple[str, int], tuple[int, Fence]] = {}
    for (_, place), checkpoint in checkpoints.items():
        if place not in starts or checkpoint.next_offset < starts[place][0]:
            starts[place] = (checkpoint.next_offset, checkpoint.fence)
    return starts


async def apart(work: Coroutine[Any, Any, None]) -> None:
    """Run something in a task of its own and wait for it: what its task groups do to their task is not done to ours."""
    task = asyncio.create_task(work)
    try:
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


def was_cancelled() -> bool:
    """Whether the running task was asked to stop. An error on the way out may have hidden it: then a loop must not go on.

    Only where nothing but `apart` was awaited: Python 3.11 counts a task group's failing child as if its task had been cancelled.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _first(group: BaseExceptionGroup[E]) -> E:
    """The first error, however deep."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first

"""Work on the log that several processes share: done on the partitions that this one is given, and again after each setback."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import structlog

from commands.ports import LogAway, Place
from commands.routing.ports import Assignments
from events.admission import Fence
from events.codec import Codec
from events.records import AdmittedBatch
from projections.ports import LogReader, Superseded
from projections.queries import RowsUnavailable
from projections.runner import apart, was_cancelled

log = structlog.get_logger()

# Who was superseded leaves the field for a while: to a rebuild, or to another process.
_AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
_WELL_SECONDS = 60.0


async def keep(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run for ever, again after each time that another took over, or the log or the tables were away."""
    failures = 0
    while True:
        begun = time.monotonic()
        try:
            await apart(run())
        except* (Superseded, LogAway, RowsUnavailable) as causes:
            failures = 0 if time.monotonic() - begun > _WELL_SECONDS else failures + 1
            log.warning("read-side-started-again", reason=str(causes.exceptions))
        if was_cancelled():
            raise asyncio.CancelledError
        await asyncio.sleep(_AGAIN_SECONDS[min(max(failures, 1), len(_AGAIN_SECONDS)) - 1])


async def share(members: Assignments | None, work: Callable[[frozenset[Place] | None], Coroutine[Any, Any, None]]) -> None:
    """Do the work on the places of the newest assignment, or (None) on all of them where there are no other members.

    When it begins, the work on the places of the assignment before has ended.
    """
    if members is None:
        await work(None)
        return
    given: frozenset[Place] | None = None
    under_way: asyncio.Task[None] | None = None
    async with asyncio.TaskGroup() as tasks, aclosing(members.changes()) as changes:
        async for assignment in changes:
            if assignment.places == given:
                continue
            given = assignment.places
            if under_way is not None:
                under_way.cancel()
                await asyncio.wait([under_way])
            log.info("partitions-shared", given=len(given))
            under_way = tasks.create_task(work(given), name="work on the partitions given")


class PartOfTheLog:
    """`projections.ports.LogReader` for a part of the partitions: there are no others for who reads by it."""

    def __init__(self, reader: LogReader, places: Collection[tuple[str, int]]) -> None:
        self._reader = reader
        self._places = frozenset(places)

    @property
    def codec(self) -> Codec:
        return self._reader.codec

    def batches(
        self,
        topics: Sequence[str],
        start: Mapping[tuple[str, int], tuple[int, Fence]],
        *,
        stop_at_end: bool = False,
        places: Collection[tuple[str, int]] | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:
        wanted = self._places if places is None else self._places & frozenset(places)
        return self._reader.batches(topics, start, stop_at_end=stop_at_end, places=wanted)

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        ends = await self._reader.end_offsets(topics)
        return {place: end for place, end in ends.items() if place in self._places}

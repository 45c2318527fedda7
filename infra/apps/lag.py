"""How far the tables are behind the log, for `/health`, `aybiza status` and the collector of figures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from commands.ports import HistoryLost, LogAway
from events.rooms import ROOMS
from events.streams import topic_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.postgres.connections import Pool
from infra.adapters.postgres.progress import Progress
from infra.apps.alongside import alongside
from infra.apps.cold_parts import cold_parts
from infra.apps.gauges import running_gauges
from infra.settings import Settings
from projections.journal import JOURNAL
from projections.ports import StoreUnavailable, TopicOf
from projections.queries import RowsUnavailable
from projections.registry import STORED
from realtime.loop.figures import JOURNAL_COLD, JOURNAL_LAG, PROJECTION_LAG

_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 5.0
# Longer than a look that was broken off in time; one that holds a connection to a silent database may take for ever to be broken off.
_LONG_SECONDS = 15.0


class LagUnknown(Exception):
    """The log or the tables do not answer; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Records of the log that are not written yet: into the journal, and by the slowest of all projections.

    `cold`: parts of the journal that nothing is appended to any more and that are not packed; `packing`: the one that is being packed.
    """

    journal: int
    slowest: int
    cold: int = 0
    packing: str = ""


async def lag_of(reader: KafkaLogReader, pool: Pool, topic_of: TopicOf = topic_of) -> Lag:
    """As it is now. Raises LagUnknown."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            # The tables first: what is appended meanwhile is behind, not ahead.
            reached = [await Progress(pool, projections).read() for projections in ([JOURNAL], STORED)]
            ends = await reader.end_offsets([topic_of(room) for room in ROOMS])
            cold = await cold_parts(pool)
    except (HistoryLost, LogAway, OSError, RowsUnavailable, StoreUnavailable, TimeoutError) as cause:
        raise LagUnknown(str(cause) or "there was no answer in time") from cause
    journal, slowest = (sum(max(0, end - each.get(place, (0, None))[0]) for place, end in ends.items()) for each in reached)
    return Lag(journal=journal, slowest=slowest, cold=cold.parts, packing=cold.packing)


class SeenLag:
    """The lag as it was seen a moment ago: who asks how a process is has no time to ask a broker."""

    def __init__(self) -> None:
        self.last: Lag | None = None
        self.why = "nobody has looked yet"

    def journal(self) -> int:
        return 0 if self.last is None else self.last.journal

    def slowest(self) -> int:
        return 0 if self.last is None else self.last.slowest

    def cold(self) -> int:
        return 0 if self.last is None else self.last.cold

    async def follow(self, reader: KafkaLogReader, pool: Pool) -> None:
        """Look every few seconds, until cancelled. What was seen is not known any more while a look does not come back."""
        async with asyncio.TaskGroup() as looks:
            while True:
                look = looks.create_task(self._look(reader, pool), name="look how far the tables are")
                if not (await asyncio.wait([look], timeout=_LONG_SECONDS))[0]:
                    self.last, self.why = None, "the tables are silent"
                    await asyncio.wait([look])
                await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, reader: KafkaLogReader, pool: Pool) -> None:
        try:
            self.last, self.why = await lag_of(reader, pool), ""
        except LagUnknown as cause:
            self.last, self.why = None, str(cause)


@asynccontextmanager
async def seen_lag(settings: Settings, reader: KafkaLogReader, pool: Pool) -> AsyncIterator[SeenLag]:
    """Looked at for as long as the context lasts, and told to a collector where the environment names one."""
    async with AsyncExitStack() as stack:
        seen = SeenLag()
        await stack.enter_async_context(alongside({"read side: lag": lambda: seen.follow(reader, pool)}))
        await stack.enter_async_context(
            running_gauges(settings, {JOURNAL_LAG: seen.journal, PROJECTION_LAG: seen.slowest, JOURNAL_COLD: seen.cold})
        )
        yield seen

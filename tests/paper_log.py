"""A partition on paper: what was appended in its order, for owners and readers that are tested without a broker."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from enum import Enum

from commands.ports import BATCH_BYTES, AppendInDoubt, HistoryLost, LogAway, NewRecord, Place
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.records import RawRecord, read_header


class PaperLog:
    """Takes batches whole. Knows nothing of claims: who may write is its readers' business."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.records: list[RawRecord] = []

    def append(self, records: Sequence[NewRecord]) -> int:
        base = len(self.records)
        for offset, (key, value, timestamp_ms, headers) in enumerate(records, base):
            self.records.append(RawRecord(*self.place, offset, timestamp_ms, key, value, *read_header(headers)))
        return base

    def scribble(self) -> int:
        """A record of someone who knows nothing of us."""
        self.records.append(RawRecord(*self.place, len(self.records), 0, b"", b"", "", None))
        return len(self.records) - 1

    def read(self, start: int, stop: int) -> list[RawRecord]:
        return self.records[start:stop]

    def admitted(self, start: int = 0, fence: Fence = UNCLAIMED) -> list[RawRecord]:
        """What every reader takes from here on."""
        taken = []
        for raw in self.records[start:]:
            fence, verdict = admit(fence, raw.header)
            if verdict is Verdict.ADMITTED:
                taken.append(raw)
        return taken


class Mishap(Enum):
    """What may become of an append."""

    LANDS_UNANSWERED = "lands-unanswered"
    LOST = "lost"
    LANDS_WITHOUT_OFFSET = "lands-without-offset"
    NOT_SENT = "not-sent"


class PaperKafka:
    """`commands.ports.Log` on paper, held to the same contract as the real one. `mishaps` befall the next appends, in their order.

    While `open` is cleared, appends wait. `begun` counts them.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.mishaps: deque[Mishap] = deque()
        self.severed: list[Place] = []
        self.open = asyncio.Event()
        self.open.set()
        self._partitions: dict[Place, PaperLog] = {}
        self._appended = asyncio.Condition()

    def partition(self, place: Place) -> PaperLog:
        return self._partitions.setdefault(place, PaperLog(place))

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        mishap = self.mishaps.popleft() if self.mishaps else None
        self.begun += 1
        await self.open.wait()
        if mishap is Mishap.NOT_SENT:
            raise LogAway("paper is away")
        if mishap is Mishap.LOST:
            raise AppendInDoubt("paper was lost")
        if sum(len(record.key) + len(record.value) for record in records) > BATCH_BYTES:
            raise ValueError("the records do not fit a batch")
        base = self.partition(place).append(records)
        async with self._appended:
            self._appended.notify_all()
        if mishap is Mishap.LANDS_UNANSWERED:
            raise AppendInDoubt("nobody said that it landed")
        return -1 if mishap is Mishap.LANDS_WITHOUT_OFFSET else base

    async def sever(self, place: Place) -> None:
        self.severed.append(place)

    async def read(self, place: Place, start: int, stop: int) -> AsyncGenerator[Sequence[RawRecord], None]:
        log = self.partition(place)
        if start > len(log.records):
            raise HistoryLost(f"{place} has no offset {start}")
        while start < stop:
            async with self._appended:
                await self._appended.wait_for(lambda start=start: len(log.records) > start)  # type: ignore[misc]
            part = log.read(start, stop)
            start += len(part)
            yield part

    async def end_offset(self, place: Place) -> int:
        return len(self.partition(place).records)

"""A call's facts, whole: from the journal as far as it has come and from the log behind it, or from the log alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import structlog

from commands.ports import Histories, HistoryAway, HistoryDamaged, HistoryLost, Log, Place, SchemaRegister, Since
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.codec import Codec, mark_of
from events.headers import Kind
from events.positions import Position
from events.recorded import Recorded
from events.records import RawRecord, recorded
from events.registry import Fact
from events.streams import StreamId

log = structlog.get_logger()

# A caller waits: the journal is asked for no longer than the log would take for a usual call.
_JOURNAL_SECONDS = 0.25


class LogHistory:
    """`realtime.carrier.ports.CallHistory`. What it returns is every version without a gap, wherever it was read."""

    def __init__(self, log: Log, histories: Histories, schemas: SchemaRegister, codec: Codec) -> None:
        self._log, self._histories, self._schemas, self._codec = log, histories, schemas, codec

    async def __call__(self, stream: StreamId, until: Position, version: int, since: Position | None) -> Sequence[Recorded[Fact]]:
        """As the port says. Raises LogAway or HistoryLost."""
        ways = (self._by_journal(stream.key, until), self._from(since, stream.key, until), self._from(None, stream.key, until))
        for way in ways:
            found = [raw async for raw in way]
            versions = [raw.header.version for raw in found if raw.header is not None]
            if versions == list(range(1, version + 1)):
                await self._schemas.learn({mark for raw in found if (mark := mark_of(raw.value))})
                return [recorded(raw, self._codec) for raw in found]
        raise HistoryLost(f"{stream} has {version} facts, and not all of them can be found")

    async def _by_journal(self, key: bytes, until: Position) -> AsyncIterator[RawRecord]:
        place = Place(until.topic, until.partition)
        try:
            async with asyncio.timeout(_JOURNAL_SECONDS):
                history = await self._histories.load(place, {key: Since()})
        except (HistoryAway, HistoryDamaged, TimeoutError) as cause:
            log.info("history-without-journal", cause=str(cause) or "too slow")
            return
        for raw in history.records.get(key, ()):
            if raw.kind is Kind.EVENT and raw.offset <= until.offset:
                yield raw
        if history.reached.offset <= until.offset:
            async for raw in self._read(key, history.reached.offset, history.reached.fence, until):
                yield raw

    def _from(self, since: Position | None, key: bytes, until: Position) -> AsyncIterator[RawRecord]:
        if since is None or (since.topic, since.partition) != (until.topic, until.partition) or since.offset > until.offset:
            return self._read(key, 0, UNCLAIMED, until)
        return self._read(key, since.offset, since.fence, until)

    async def _read(self, key: bytes, offset: int, fence: Fence, until: Position) -> AsyncIterator[RawRecord]:
        place = Place(until.topic, until.partition)
        async with aclosing(self._log.read(place, offset, until.offset + 1)) as parts:
            async for part in parts:
                for raw in part:
                    fence, verdict = admit(fence, raw.header)
                    if verdict is Verdict.ADMITTED and raw.key == key and raw.kind is Kind.EVENT:
                        yield raw

"""Brings streams into memory: from the journal when it is far enough, else from the partition itself, read by the rule."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from commands.dispatch import LogUnavailable
from commands.ownership.owner import Owner
from commands.ownership.remembering import pack_answered
from commands.ownership.streams import CannotOwn, NotUnderstood, Stream
from commands.ports import Histories, History, HistoryAway, HistoryDamaged, HistoryLost, Log, LogAway, Place, SchemaRegister, Since
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.codec import UnknownSchema, mark_of
from events.headers import Kind
from events.records import RawRecord

log = structlog.get_logger()

# Folded in one go on the event loop: a few milliseconds' worth.
_AT_ONCE = 256
_NOT_UNDERSTOOD_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingPatience:
    """How long each source of a stream is waited for.

    `whole_records`: a partition no longer than that is read whole by who claims it. `far_records`: a journal that is farther than that
    behind the last known claim is not waited for.
    """

    start_seconds: float = 0.3
    journal_seconds: float = 1.0
    again_seconds: float = 0.05
    schema_seconds: float = 2.0
    refresh_seconds: float = 1.0
    whole_records: int = 2_000
    far_records: int = 20_000


DEFAULT_LOADING = LoadingPatience()


class Base(Protocol):
    """A state to go on from, confirmed by the record at `offset`, which was written under `fence`."""

    @property
    def offset(self) -> int: ...
    @property
    def fence(self) -> Fence: ...
    @property
    def version(self) -> int: ...
    def stream(self) -> Stream:
        """A new one each time."""


class Bases:
    """Where folding begins: at the beginning, unless somebody knows better."""

    async def find(self, keys: Sequence[bytes], before: int) -> Mapping[bytes, Base]:
        """For each key the last state that is known, from before an offset. Raises nothing: what cannot be had is not needed."""
        return {}


class Loader:
    """Loads streams of one owner's partition. At most one scan of the partition is under way; it serves all who wait then."""

    def __init__(
        self, owner: Owner, kafka: Log, schemas: SchemaRegister, histories: Histories | None, bases: Bases, patience: LoadingPatience
    ) -> None:
        self._owner = owner
        self._streams = owner.streams
        self._log = kafka
        self._schemas = schemas
        self._histories = histories
        self._bases = bases
        self._patience = patience
        self._journal_away = False
        self._scanning = asyncio.Lock()

    async def load(self, keys: Sequence[bytes]) -> Mapping[bytes, LogUnavailable]:
        """Bring streams into memory; returns those that cannot be, and why."""
        refused: dict[bytes, LogUnavailable] = {}
        wanted = list(keys)
        if self._histories is not None:
            wanted = await self._from_journal(self._histories, wanted, refused)
        if wanted:
            async with self._scanning:
                await self._from_partition([key for key in wanted if self._streams.get(key) is None], refused)
        return refused

    async def record(self, offset: int) -> RawRecord | None:
        """What lies at an offset of the partition. Raises LogAway or HistoryLost."""
        async with aclosing(self._log.read(self._owner.place, offset, offset + 1)) as parts:
            async for records in parts:
                for raw in records:
                    if raw.offset == offset:
                        return raw
        return None

    async def recall(self, key: bytes, command_id: bytes) -> LogUnavailable | None:
        """Look a command up that its stream may have taken long ago; returns why that cannot be said now."""
        stream = self._streams.get(key)
        if stream is None:
            return None
        if self._histories is not None and await self._recalled(self._histories, key, command_id, stream.last_offset):
            return None
        found: RawRecord | None = None
        try:
            async with self._scanning:
                scan = Scan(self._log, self._owner.place)
                async for records in scan.to(self._owner.next_offset):
                    for raw in records:
                        if raw.key == key and raw.header is not None and raw.header.command_id == command_id:
                            found = raw
        except (LogAway, HistoryLost) as error:
            return LogUnavailable(str(error))
        self._streams.recalled(key, command_id, _answered(found))
        return None

    async def _recalled(self, histories: Histories, key: bytes, command_id: bytes, last_offset: int) -> bool:
        async for _ in self._attempts():
            try:
                reached, found = await histories.answered(self._owner.place, key, command_id)
            except HistoryAway:
                self._journal_away = True
                continue
            except HistoryDamaged as error:
                self._damaged(error)
                return False
            self._journal_away = False
            # Only a journal that has all of the stream can say that there was no such command.
            if found is not None or reached.offset > last_offset:
                self._streams.recalled(key, command_id, _answered(found))
                return True
        return False

    async def _from_journal(self, histories: Histories, wanted: list[bytes], refused: dict[bytes, LogUnavailable]) -> list[bytes]:
        """Returns the keys for which the journal is not good enough."""
        owner, streams = self._owner, self._streams
        bases = await self._bases.find(wanted, owner.next_offset)
        async for _ in self._attempts():
            try:
                since = {key: Since(bases[key].offset, bases[key].version) if key in bases else Since() for key in wanted}
                history = await histories.load(owner.place, since)
            except HistoryAway as error:
                if not self._journal_away:
                    log.warning("journal-away", topic=owner.place.topic, partition=owner.place.partition, reason=str(error))
                self._journal_away = True
                continue
            except HistoryDamaged as error:
                self._damaged(error)
                return wanted
            self._journal_away = False
            streams.journal_reached(history.reached.offset)
            if history.reached.offset >= streams.horizon:
                wanted = await self._fold(history, wanted, bases, refused)
            if not wanted:
                break
        return wanted

    async def _fold(
        self, history: History, wanted: Sequence[bytes], bases: Mapping[bytes, Base], refused: dict[bytes, LogUnavailable]
    ) -> list[bytes]:
        # What we have not read yet will be read, and folded then.
        reached, left = min(history.reached.offset, self._owner.next_offset), []
        await self._learn(raw for records in history.records.values() for raw in records)
        for key in wanted:
            try:
                stream = bases[key].stream() if key in bases else self._streams.blank(key)
                records = [raw for raw in history.records.get(key, ()) if raw.offset < reached]
                for at in range(0, len(records), _AT_ONCE):
                    self._take(stream, records[at : at + _AT_ONCE])
                    await asyncio.sleep(0)
                if not self._streams.install(key, stream, reached, "snapshot" if key in bases else "journal"):
                    left.append(key)
            except (NotUnderstood, UnknownSchema) as error:
                refused[key] = self._not_understood(key, error)
            except CannotOwn as error:
                self._damaged(error)
                left.append(key)
        return left

    async def _from_partition(self, wanted: Sequence[bytes], refused: dict[bytes, LogUnavailable]) -> None:
        """Fold the streams from the log. What comes on meanwhile is read as well, until memory has the rest."""
        owner, streams = self._owner, self._streams
        bases = await self._bases.find(wanted, owner.next_offset)
        folding: dict[bytes, Stream] = {}
        for key in wanted:
            try:
                folding[key] = bases[key].stream() if key in bases else streams.blank(key)
            except NotUnderstood as error:
                refused[key] = self._not_understood(key, error)
        offset, fence = min(
            ((bases[key].offset, bases[key].fence) if key in bases else (-1, UNCLAIMED) for key in folding), default=(-1, UNCLAIMED)
        )
        scan, names = Scan(self._log, owner.place, offset + 1, fence), streams.names
        try:
            while folding:
                async for records in scan.to(owner.next_offset):
                    if names.wanted and offset < 0:
                        # So it is read from its beginning once only for streams that are new.
                        for raw in records:
                            names.add(raw.key)
                    await self._fold_part([raw for raw in records if raw.key in folding], folding, refused)
                if offset < 0:
                    names.told = max(names.told, scan.offset)
                for key, stream in list(folding.items()):
                    try:
                        if streams.install(key, stream, scan.offset, "snapshot" if key in bases else "partition"):
                            del folding[key]
                    except CannotOwn as error:
                        del folding[key]
                        refused[key] = self._not_understood(key, error)
        except (LogAway, HistoryLost) as error:
            log.warning("streams-not-loaded", topic=owner.place.topic, partition=owner.place.partition, reason=str(error))
            refused.update(dict.fromkeys(folding, LogUnavailable(str(error))))

    async def _fold_part(self, records: Sequence[RawRecord], folding: dict[bytes, Stream], refused: dict[bytes, LogUnavailable]) -> None:
        await self._learn(records)
        for raw in records:
            stream = folding.get(raw.key)
            if stream is None or raw.offset <= stream.last_offset:
                continue
            try:
                self._take(stream, [raw])
            except (CannotOwn, UnknownSchema) as error:
                del folding[raw.key]
                refused[raw.key] = self._not_understood(raw.key, error)

    def _take(self, stream: Stream, records: Iterable[RawRecord]) -> None:
        for raw in records:
            header = raw.header
            if header is not None and header.kind in {Kind.EVENT, Kind.RECEIPT}:
                self._streams.take(stream, raw, header, Fence(header.term, header.claim_id))

    async def _learn(self, records: Iterable[RawRecord]) -> None:
        codec = self._streams.codec
        marks = {mark_of(raw.value): None for raw in records if raw.header is not None and raw.header.kind is Kind.EVENT}
        unknown = [mark for mark in marks if mark is not None and not codec.knows(mark)]
        if unknown:
            # What is still unknown then refuses the streams that it is in.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.schema_seconds):
                    await self._schemas.learn(unknown)

    async def _attempts(self) -> AsyncGenerator[None, None]:
        """Now, and again while a journal that answered the last time may catch up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (0 if self._journal_away else self._patience.journal_seconds)
        while True:
            yield
            if loop.time() >= deadline:
                return
            await asyncio.sleep(self._patience.again_seconds)

    def _damaged(self, error: Exception) -> None:
        log.error("journal-damaged", topic=self._owner.place.topic, partition=self._owner.place.partition, reason=str(error))

    def _not_understood(self, key: bytes, error: Exception) -> LogUnavailable:
        log.error("stream-not-understood", stream=key.decode("ascii", "replace"), reason=str(error))
        return LogUnavailable(f"this program cannot decide about the stream: {error}", _NOT_UNDERSTOOD_MS)


class Scan:
    """The admitted records of a partition from `offset` on, where `fence` holds; it goes on where it stopped."""

    def __init__(self, kafka: Log, place: Place, offset: int = 0, fence: Fence = UNCLAIMED) -> None:
        self.offset = offset
        self._fence = fence
        self._log = kafka
        self._place = place

    async def to(self, stop: int) -> AsyncGenerator[Sequence[RawRecord], None]:
        """Up to an offset, in parts. Raises LogAway or HistoryLost."""
        if self.offset >= stop:
            return
        async with aclosing(self._log.read(self._place, self.offset, stop)) as parts:
            async for records in parts:
                admitted = []
                for raw in records:
                    self._fence, verdict = admit(self._fence, raw.header)
                    if verdict is Verdict.ADMITTED:
                        admitted.append(raw)
                yield admitted
        self.offset = stop


def _answered(raw: RawRecord | None) -> bytes | None:
    if raw is None or raw.header is None:
        return None
    header = raw.header
    return pack_answered(header.digest, raw.offset, header.version, Fence(header.term, header.claim_id))

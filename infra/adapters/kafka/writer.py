"""The owners' log on Kafka: batches appended whole and once, and partitions read back."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self, TypeAlias

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from commands.ports import BATCH_BYTES, AppendInDoubt, LogAway, NewRecord, Place
from events.records import RawRecord
from infra.adapters.kafka.fetching import TryElsewhere, end_offsets, fetch, records_in
from infra.adapters.kafka.link import Connection, Link
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity
from infra.adapters.kafka.sending import Broker, Sending

_MAGIC = 2
Compression: TypeAlias = Literal["none", "lz4", "zstd"]
_CODECS: Mapping[Compression, int] = {"none": 0, "lz4": 3, "zstd": 4}
_RETRY_SECONDS = 0.05


class KafkaLog:
    """`commands.ports.Log`. Batches for one broker that are ready while a request is under way go together in the next one.

    No batch is ever sent twice, so it needs no idempotent producer: what has no clean answer is in doubt, and the owner's
    next claim settles it.

    Compressed, eight records of ours take a quarter of the bytes and twice the time to append; sixty-four take an eighth, and with zstd
    a third more time.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        batch_bytes: int = BATCH_BYTES,
        append_seconds: float = 2.0,
        read_seconds: float = 5.0,
        security: KafkaSecurity = IN_CLEAR,
        compression: Compression = "none",
    ) -> None:
        # Shorter than our own patience, so that a connection to a host that vanished is cut and another one tried.
        self._writing = Link(bootstrap_servers, "owner-writes", request_timeout_ms=3_000, security=security)
        self._reading = Link(bootstrap_servers, "owner-reads", request_timeout_ms=2_000, security=security)
        self._batch_bytes = batch_bytes
        self._codec = _CODECS[compression]
        self._append_seconds = append_seconds
        self._read_seconds = read_seconds
        self._tasks = asyncio.TaskGroup()
        self._brokers: dict[int, Broker] = {}
        self._doubtful: dict[Place, Connection] = {}
        self._sent: dict[Sending, None] = {}
        self._expiry: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Raises KafkaUnreachable."""
        await self._writing.__aenter__()
        try:
            await self._reading.__aenter__()
        except BaseException:
            await self._writing.__aexit__(None, None, None)
            raise
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        # Cut first: nobody waits for an answer any more.
        await self._writing.__aexit__(None, None, None)
        await self._reading.__aexit__(None, None, None)
        # Our caller's own error passes by as it is; a cancellation may be the group's, which knows its cause.
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        await self._tasks.__aexit__(None if cancelled is None else type(cancelled), cancelled, None)

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        """As the port says. Raises ValueError for records that do not fit one batch."""
        loop, buffer = asyncio.get_running_loop(), self.batch(records)
        deadline = loop.time() + self._append_seconds
        node = self._writing.leader_known(*place)
        if node is None:
            try:
                async with asyncio.timeout_at(deadline):
                    node = await self._leader(self._writing, place)
            except TimeoutError:
                raise LogAway(f"{place}: no leader took the batch within {self._append_seconds} s") from None
        sending = Sending(place, buffer, loop.create_future(), deadline)
        self._sent[sending] = None
        if self._expiry is None or self._expiry.when() > deadline:
            self._expire_at(deadline)
        self._send(node, sending)
        try:
            return await sending.answer
        finally:
            del self._sent[sending]
            # Given up, by deadline or by cancellation: what was not taken yet is never sent.
            if sending.connection is not None and (sending.answer.cancelled() or sending.answer.exception() is not None):
                self._doubtful[place] = sending.connection

    def _send(self, node: int, sending: Sending) -> None:
        broker = self._brokers.get(node)
        if broker is None:
            timeout_ms = int(self._append_seconds * 1000)
            broker = self._brokers[node] = Broker(node, self._writing, self._tasks, timeout_ms, self._send)
        broker.add(sending)

    def _expire_at(self, deadline: float) -> None:
        """One timer for all batches: setting one for each costs as much as encoding it."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now, later = asyncio.get_running_loop().time(), []
        for sending in self._sent:
            if sending.deadline > now:
                later.append(sending.deadline)
            elif sending.taken:
                sending.fail(AppendInDoubt(f"{sending.place}: no answer within {self._append_seconds} s"))
            else:
                sending.fail(LogAway(f"{sending.place}: no leader took the batch within {self._append_seconds} s"))
        if later:
            self._expire_at(min(later))

    async def sever(self, place: Place) -> None:
        connection = self._doubtful.pop(place, None)
        if connection is not None:
            connection.sever()

    async def read(self, place: Place, start: int, stop: int) -> AsyncGenerator[Sequence[RawRecord], None]:
        deadline = asyncio.get_running_loop().time() + self._read_seconds
        while start < stop:
            try:
                async with asyncio.timeout_at(deadline):
                    node = await self._leader(self._reading, place)
                    fetched = await fetch(self._reading, node, {place: start}, wait_ms=50)
            except TimeoutError:
                raise LogAway(f"{place}: offset {start} of {stop} could not be read within {self._read_seconds} s") from None
            except TryElsewhere:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for part in fetched:
                records, start = records_in(part, stop)
                deadline = asyncio.get_running_loop().time() + self._read_seconds
                yield records

    async def end_offset(self, place: Place) -> int:
        try:
            async with asyncio.timeout(self._read_seconds):
                while True:
                    node = await self._leader(self._reading, place)
                    try:
                        return (await end_offsets(self._reading, node, [place]))[place]
                    except TryElsewhere:
                        await asyncio.sleep(_RETRY_SECONDS)
        except TimeoutError:
            raise LogAway(f"{place}: nobody said where it ends within {self._read_seconds} s") from None

    async def _leader(self, link: Link, place: Place) -> int:
        while (leader := await link.leader_of(*place)) is None:  # noqa: ASYNC110 - a broker cannot set our event
            await asyncio.sleep(_RETRY_SECONDS)
        return leader

    def batch(self, records: Sequence[NewRecord]) -> bytes:
        """The record batch as it is sent. Raises ValueError for records that do not fit one."""
        builder = DefaultRecordBatchBuilder(_MAGIC, self._codec, 0, -1, -1, -1, self._batch_bytes)
        for at, (key, value, timestamp_ms, headers) in enumerate(records):
            if builder.append(at, timestamp_ms, key, value, headers) is None:
                raise ValueError(f"{len(records)} records do not fit a batch of {self._batch_bytes} bytes")
        return bytes(builder.build())

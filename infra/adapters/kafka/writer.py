"""The owners' log on Kafka: batches appended whole and once, and partitions read back."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from commands.ports import BATCH_BYTES, AppendInDoubt, LogAway, NewRecord, Place
from events.records import RawRecord
from infra.adapters.kafka.fetching import TryElsewhere, end_offsets, fetch, records_in
from infra.adapters.kafka.link import Connection, Link, NotAsked, Unanswered

log = structlog.get_logger()

_ALL_REPLICAS = -1
_MAGIC = 2
_NO_COMPRESSION = 0
# Answers by which the broker says that it took nothing: MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, TOPIC_AUTHORIZATION_FAILED.
# NOT_LEADER is not among them: a leader that resigned while it waited for its replicas says so of records that may survive.
_TOOK_NOTHING = frozenset({10, 18, 29})
_RETRY_SECONDS = 0.05


class _Sending:
    """A batch on its way."""

    __slots__ = ("answer", "buffer", "connection", "place", "taken")

    def __init__(self, place: Place, buffer: bytes, answer: asyncio.Future[int]) -> None:
        self.place = place
        self.buffer = buffer
        self.answer = answer
        self.taken = False
        self.connection: Connection | None = None

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # Whoever waited may have given up.
            self.answer.exception()


class KafkaLog:
    """`commands.ports.Log`. Batches for one broker that are ready while a request is under way go together in the next one.

    No batch is ever sent twice, so it needs no idempotent producer: what has no clean answer is in doubt, and the owner's
    next claim settles it.
    """

    def __init__(
        self, bootstrap_servers: str, *, batch_bytes: int = BATCH_BYTES, append_seconds: float = 2.0, read_seconds: float = 5.0
    ) -> None:
        # Shorter than our own patience, so that a connection to a host that vanished is cut and another one tried.
        self._writing = Link(bootstrap_servers, "owner-writes", request_timeout_ms=3_000)
        self._reading = Link(bootstrap_servers, "owner-reads", request_timeout_ms=2_000)
        self._batch_bytes = batch_bytes
        self._append_seconds = append_seconds
        self._read_seconds = read_seconds
        self._tasks = asyncio.TaskGroup()
        self._waiting: defaultdict[int, list[_Sending]] = defaultdict(list)
        self._pumping: set[int] = set()
        self._doubtful: dict[Place, Connection] = {}
        self._away: set[int] = set()

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
        # Cut first: nobody waits for an answer any more, and the pumps end with their connections.
        await self._writing.__aexit__(None, None, None)
        await self._reading.__aexit__(None, None, None)
        # Our caller's own error passes by as it is; a cancellation may be the group's, which knows its cause.
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        await self._tasks.__aexit__(None if cancelled is None else type(cancelled), cancelled, None)

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        """As the port says. Raises ValueError for records that do not fit one batch."""
        sending = _Sending(place, self._batch(records), asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self._append_seconds):
                node = await self._leader(self._writing, place)
                self._waiting[node].append(sending)
                if node not in self._pumping:
                    self._pumping.add(node)
                    self._tasks.create_task(self._pump(node), name=f"produce to broker {node}")
                return await sending.answer
        except TimeoutError:
            if not sending.taken:
                raise LogAway(f"{place}: no leader took the batch within {self._append_seconds} s") from None
            raise AppendInDoubt(f"{place}: no answer within {self._append_seconds} s") from None
        finally:
            # Given up, by deadline or by cancellation: what was not taken yet is never sent.
            if not sending.answer.done():
                sending.answer.cancel()
            if sending.connection is not None and (sending.answer.cancelled() or sending.answer.exception() is not None):
                self._doubtful[place] = sending.connection

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

    def _batch(self, records: Sequence[NewRecord]) -> bytes:
        builder = DefaultRecordBatchBuilder(_MAGIC, _NO_COMPRESSION, 0, -1, -1, -1, self._batch_bytes)
        for at, (key, value, timestamp_ms, headers) in enumerate(records):
            if builder.append(at, timestamp_ms, key, value, headers) is None:
                raise ValueError(f"{len(records)} records do not fit a batch of {self._batch_bytes} bytes")
        return bytes(builder.build())

    async def _pump(self, node: int) -> None:
        """Send what waits for a broker, one request at a time, until nothing does."""
        try:
            while any(not sending.answer.done() for sending in self._waiting[node]):
                await self._produce(node)
        finally:
            self._waiting[node].clear()
            self._pumping.discard(node)

    async def _produce(self, node: int) -> None:
        try:
            connection = await self._writing.connection(node)
        except NotAsked as error:
            if node not in self._away:
                log.warning("kafka-broker-away", broker=node, reason=str(error))
            self._away.add(node)
            # The batches stay until their own deadline: the broker may come back, or another may lead.
            await asyncio.sleep(_RETRY_SECONDS)
            await self._move(node)
            return
        self._away.discard(node)
        batches = {sending.place: sending for sending in self._waiting[node] if not sending.answer.done()}
        self._waiting[node] = [sending for sending in self._waiting[node] if batches.get(sending.place) is not sending]
        by_topic: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for sending in batches.values():
            sending.taken = True
            sending.connection = connection
            by_topic[sending.place.topic].append((sending.place.partition, sending.buffer))
        timeout_ms = int(self._append_seconds * 1000)
        request = ProduceRequest(transactional_id=None, required_acks=_ALL_REPLICAS, timeout=timeout_ms, topics=list(by_topic.items()))
        try:
            response = await connection.ask(request)
        except (NotAsked, Unanswered) as error:
            self._writing.outdated()
            for sending in batches.values():
                sending.fail(AppendInDoubt(f"{sending.place}: {error}"))
            return
        self._answer(batches, response)

    async def _move(self, node: int) -> None:
        """Hand batches over whose partitions another broker leads by now."""
        for sending in list(self._waiting[node]):
            leader = await self._writing.leader_of(*sending.place)
            if leader is None or leader == node or sending.answer.done():
                continue
            self._waiting[node].remove(sending)
            self._waiting[leader].append(sending)
            if leader not in self._pumping:
                self._pumping.add(leader)
                self._tasks.create_task(self._pump(leader), name=f"produce to broker {leader}")

    def _answer(self, batches: dict[Place, _Sending], response: Any) -> None:
        for topic, partitions in response.topics:
            for partition, code, offset, *_rest in partitions:
                sending = batches.pop(Place(topic, partition))
                if code in _TOOK_NOTHING:
                    sending.connection = None
                    sending.fail(LogAway(f"{sending.place}: the broker refused the batch: {for_code(code).__name__}"))
                elif code:
                    self._writing.outdated()
                    sending.fail(AppendInDoubt(f"{sending.place}: {for_code(code).__name__}"))
                elif not sending.answer.done():
                    sending.answer.set_result(offset)
        for sending in batches.values():
            sending.fail(AppendInDoubt(f"{sending.place}: the broker's answer leaves it out"))

"""Connections to Kafka's brokers that we can cut ourselves: one request, one answer, no retries behind our back.

aiokafka's producer retries for ever, forgets a batch after its sequence was taken, and does not return from `stop()` while a
broker is frozen; its consumer may jump over lost history. So only its protocol layer is used here, and its client for metadata.
"""

import asyncio
from collections import defaultdict
from types import TracebackType
from typing import Any, Self, TypeAlias

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from events.reading import LogAway
from infra.adapters.kafka.requests import Answer, WireRequest
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity

Request: TypeAlias = Any
Response: TypeAlias = Any
_OPENING_SECONDS = 1.0


class KafkaUnreachable(LogAway):
    """No broker answered; the text says which addresses were tried."""


class NotAsked(Exception):
    """The request was not sent, for there is no connection to the broker."""


class Unanswered(Exception):
    """The request was handed to a socket, and no answer came back."""


class Connection:
    """One socket to one broker. Requests are answered in their order."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    @property
    def alive(self) -> bool:
        return bool(self._conn.connected())

    async def ask(self, request: Request) -> Response:
        """Raises NotAsked or Unanswered; after the latter the connection is cut."""
        if not self.alive:
            raise NotAsked("the connection is closed")
        try:
            return await self._conn.send(request)
        except (TimeoutError, KafkaError, OSError) as error:
            self.sever()
            raise Unanswered(f"{type(error).__name__}: {error}") from error

    def post(self, request: WireRequest[Answer], client_id: bytes) -> asyncio.Future[Answer]:
        """Send without waiting, several on their way at once; their answers come in their order. Raises NotAsked.

        The future fails with KafkaError when the connection is closed, by `sever` at the latest. It has no deadline of its own.
        """
        conn = self._conn
        if not self.alive:
            raise NotAsked("the connection is closed")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # As conn.send() does, which offers no way to give it bytes, or to wait without a timer and two tasks' turns.
        correlation_id = conn._next_correlation_id()  # noqa: SLF001
        conn._requests.append((correlation_id, request, answer))  # noqa: SLF001
        conn._writer.write(request.frame(correlation_id, client_id))  # noqa: SLF001
        return answer

    def sever(self) -> None:
        """Close at once, without sending what still waits in the socket's buffer. Idempotent."""
        # close() alone would go on flushing to a frozen broker; the transport has no public way in.
        writer = self._conn._writer  # noqa: SLF001
        if writer is not None:
            writer.transport.abort()
        self._conn.close()


async def bootstrap(client: AIOKafkaClient) -> None:
    """Open the client's first connection. Raises KafkaError."""
    opening = asyncio.create_task(client.bootstrap(), name="open a connection to Kafka")
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        # Cancelled itself, it would forget a connection that stays open, and uvloop does not close while there is one.
        await asyncio.wait([opening], timeout=_OPENING_SECONDS)
        opening.cancel()
        await asyncio.wait([opening])
        raise


class Link:
    """A client of one purpose, with at most one connection per broker, or per broker and topic. Use it as an async context manager."""

    def __init__(
        self, bootstrap_servers: str, purpose: str, *, request_timeout_ms: int = 5_000, security: KafkaSecurity = IN_CLEAR
    ) -> None:
        self.client_id = f"aybiza-{purpose}".encode()
        self._bootstrap_servers = bootstrap_servers
        self._security = security
        self._request_timeout_ms = request_timeout_ms
        self._client: Any = None
        # Rises with each new knowledge of who leads what.
        self.knowledge = 0
        self._connections: dict[tuple[int, str], Connection] = {}
        self._connecting: defaultdict[tuple[int, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __aenter__(self) -> Self:
        """Raises KafkaUnreachable."""
        # The library says in its log what we say in our errors.
        client = AIOKafkaClient(
            bootstrap_servers=self._bootstrap_servers, client_id=self.client_id.decode(), request_timeout_ms=self._request_timeout_ms,
            **self._security.options(),
        )  # fmt: skip
        try:
            await bootstrap(client)
        except asyncio.CancelledError:
            await client.close()
            raise
        except KafkaError as error:
            await client.close()
            raise KafkaUnreachable(
                f"Kafka does not answer at {self._bootstrap_servers}. Start it (aybiza up), or set KAFKA_BOOTSTRAP_SERVERS"
            ) from error
        self._client = client
        client.cluster.add_listener(self._learnt)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for connection in self._connections.values():
            connection.sever()
        await self._client.close()

    async def partitions_of(self, topic: str) -> int | None:
        """How many partitions a topic has, or None when there is no such topic (or nobody to ask)."""
        # A refresh that was under way already does not ask for a topic that joined meanwhile: the second one does.
        for _ in range(2):
            found = self._client.cluster.partitions_for_topic(topic)
            if found is not None:
                return len(found)
            await self.refresh(topic)
        found = self._client.cluster.partitions_for_topic(topic)
        return None if found is None else len(found)

    async def leader_of(self, topic: str, partition: int) -> int | None:
        """The broker that leads a partition as far as we know, after asking once when we do not. None: it has no leader now."""
        leader = self.leader_known(topic, partition)
        if leader is None:
            await self.refresh(topic)
            leader = self.leader_known(topic, partition)
        return leader

    def leader_known(self, topic: str, partition: int) -> int | None:
        """The broker that leads a partition as far as we know, without asking."""
        leader: int | None = self._client.cluster.leader_for_partition(TopicPartition(topic, partition))
        return None if leader is None or leader < 0 else leader

    def connected(self, node: int, topic: str = "") -> Connection | None:
        """The connection to a broker, or the one for a topic, where there is one."""
        known = self._connections.get((node, topic))
        return known if known is not None and known.alive else None

    def post(self, connection: Connection, request: WireRequest[Answer]) -> asyncio.Future[Answer]:
        """As `Connection.post`, and who is silent for too long is cut off."""
        answer = connection.post(request, self.client_id)
        watch = asyncio.get_running_loop().call_later(self._request_timeout_ms / 1000, connection.sever)
        answer.add_done_callback(lambda _answer: watch.cancel())
        return answer

    async def refresh(self, topic: str) -> None:
        """Ask for the metadata anew. Returns when it has been tried."""
        self._client.add_topic(topic)
        await self._client.force_metadata_update()

    def _learnt(self, _cluster: Any) -> None:
        self.knowledge += 1

    def outdated(self) -> None:
        """What we know of leaders was wrong: ask anew, in the background."""
        self._client.force_metadata_update()

    async def connection(self, node: int, topic: str = "") -> Connection:
        """The connection to a broker, or the one for a topic; a new one where there was none or it was cut. Raises NotAsked."""
        if (known := self.connected(node, topic)) is not None:
            return known
        async with self._connecting[node, topic]:
            if (known := self.connected(node, topic)) is not None:
                return known
            broker = self._client.cluster.broker_metadata(node)
            if broker is None:
                raise NotAsked(f"broker {node} is not known")
            try:
                conn = await create_conn(
                    broker.host, broker.port, client_id=self.client_id.decode(), request_timeout_ms=self._request_timeout_ms,
                    **self._security.options(),
                )  # fmt: skip
            except (TimeoutError, KafkaError, OSError) as error:
                self.outdated()
                raise NotAsked(f"{broker.host}:{broker.port}: {error}") from error
            connection = self._connections[node, topic] = Connection(conn)
            return connection

"""Which partitions a process should own or read: membership in one of Kafka's consumer groups, from which nothing is ever fetched.

Only aiokafka's group coordinator is used. Its consumer would bring a fetcher, which looks for offsets that nobody committed and may
leave the group of a process that reads nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from typing import Any

import structlog
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from commands.ports import Place
from commands.routing.ports import Assignment
from infra.adapters.kafka.link import bootstrap
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity

log = structlog.get_logger()

_HEARTBEATS_PER_SESSION = 10
# By a heartbeat's answer a member learns that another came or went, however long the session.
_HEARTBEAT_MS = 500
_AGAIN_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_LEAVE_SECONDS = 2.0
# A process that fetches nothing would be taken for one that hangs.
_NEVER_MS = 10**15


class GroupAssignments:
    """`commands.routing.ports.Assignments` by a consumer group.

    All members of `group` share the partitions of `topics`, each partition with one member, and as few as possible move when a member
    comes or goes. Who vanishes without leaving is missed after the session. With an `instance` a member that is started again within
    the session gets its partitions back and nobody else notices.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group: str,
        topics: Collection[str],
        *,
        session_seconds: float = 3.0,
        instance: str | None = None,
        security: KafkaSecurity = IN_CLEAR,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group = group
        self._topics = sorted(topics)
        self._session_ms = int(session_seconds * 1000)
        self._instance = instance
        self._security = security
        # The library keeps what a member had on the class: shared by all groups of a process, one would ask for another's partitions.
        self._assignor: Any = type("StickyPartitionAssignor", (StickyPartitionAssignor,), {})

    async def changes(self) -> AsyncGenerator[Assignment, None]:
        """Each assignment as the group decides it, with a generation that only grows.

        While the broker is away there is none: the last one stands. Close it to leave the group (`contextlib.aclosing`).
        """
        generation, away = 0, False
        while True:
            try:
                async with self._membership() as member, aclosing(member.assignments()) as assignments:
                    async for counted, places in assignments:
                        # A group that stood empty is forgotten, and counts from 1 again.
                        generation, away = max(generation + 1, counted), False
                        yield Assignment(generation=generation, places=places)
            except (KafkaError, TimeoutError, OSError) as error:
                if not away:
                    log.warning("group-away", group=self._group, reason=f"{type(error).__name__}: {error}")
                away = True
            await asyncio.sleep(_AGAIN_SECONDS)

    @asynccontextmanager
    async def _membership(self) -> "AsyncIterator[_Member]":
        # A rebalance is answered when all members have come, or the session of the missing ones is over.
        client = AIOKafkaClient(
            bootstrap_servers=self._bootstrap_servers, client_id="aybiza-membership", request_timeout_ms=2 * self._session_ms + 2_000,
            **self._security.options(),
        )  # fmt: skip
        try:
            await bootstrap(client)
            await client.set_topics(self._topics)
            subscription = SubscriptionState()
            member = _Member(self._assignor)
            subscription.subscribe(topics=set(self._topics), listener=member)
            coordinator = GroupCoordinator(
                client, subscription, group_id=self._group, group_instance_id=self._instance, session_timeout_ms=self._session_ms,
                heartbeat_interval_ms=min(self._session_ms // _HEARTBEATS_PER_SESSION, _HEARTBEAT_MS), enable_auto_commit=False,
                assignors=(self._assignor,), max_poll_interval_ms=_NEVER_MS, rebalance_timeout_ms=self._session_ms,
            )  # fmt: skip
            member.coordinator = coordinator
            try:
                yield member
            finally:
                await _leave(coordinator)
        finally:
            await _close(client)


class _Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Hears what the group decides. Only the newest counts."""

    def __init__(self, assignor: Any) -> None:
        self.coordinator: Any = None
        self._assignor = assignor
        self._news = asyncio.Event()
        self._newest: tuple[int, frozenset[Place]] = (0, frozenset())

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Said before every rebalance, also to who keeps them: nothing follows from it."""

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        places = frozenset(Place(topic, partition) for topic, partition in assigned)
        self._newest = (self.coordinator.generation, places)
        # The library never tells its assignor, so that an older memory of a partition would weigh as much as the last one.
        self._assignor.on_generation_assignment(self.coordinator.generation)
        self._news.set()

    async def assignments(self) -> AsyncGenerator[tuple[int, frozenset[Place]], None]:
        """Raises KafkaError when the membership has to be begun anew."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._news.wait()
            self.coordinator.check_errors()
            if self._news.is_set():
                self._news.clear()
                yield self._newest


async def _leave(coordinator: Any) -> None:
    """Say that we leave, unless the broker is away or frozen: then the session tells it."""
    try:
        async with asyncio.timeout(_LEAVE_SECONDS):
            await coordinator.close()
    except (KafkaError, TimeoutError) as error:
        log.info("group-not-left", reason=f"{type(error).__name__}: {error}")
        # close() was on its way to these; there is no public way to end them.
        await coordinator._stop_heartbeat_task()  # noqa: SLF001
        await coordinator._stop_commit_offsets_refresh_task()  # noqa: SLF001


async def _close(client: Any) -> None:
    """Close every socket at once, without flushing to a broker that may be frozen."""
    for connection in client._conns.values():  # noqa: SLF001 - as in link.py, the transport has no public way in
        if connection._writer is not None:  # noqa: SLF001
            connection._writer.transport.abort()  # noqa: SLF001
    await client.close()


class FixedAssignments:
    """`commands.routing.ports.Assignments` without a group: a person has decided once who owns what."""

    def __init__(self, places: Collection[Place], share: "Share") -> None:
        self._assignment = Assignment(generation=1, places=share.of(places))

    async def changes(self) -> AsyncGenerator[Assignment, None]:
        """One assignment, for ever."""
        yield self._assignment


class Share:
    """Which part of all partitions: `all`, or `2/3` for the second of three processes."""

    def __init__(self, text: str) -> None:
        """Raises ValueError with the sentence that mends it."""
        number, slash, of = text.partition("/")
        if text == "all":
            self._number, self._of = 0, 1
        elif slash and number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of):
            self._number, self._of = int(number) - 1, int(of)
        else:
            raise ValueError(f"a share of the partitions is `all` or, for the second of three processes, `2/3`; not {text!r}")

    def of(self, places: Collection[Place]) -> frozenset[Place]:
        """The places whose partition number falls to us."""
        return frozenset(place for place in places if place.partition % self._of == self._number)

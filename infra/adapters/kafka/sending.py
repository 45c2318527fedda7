"""Batches on their way to one broker: what is ready together goes in one request, and no batch is ever sent twice."""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog
from aiokafka.errors import for_code

from commands.ports import AppendInDoubt, LogAway, Place
from infra.adapters.kafka.link import Connection, Link, NotAsked
from infra.adapters.kafka.producing import Produced, ProduceRequest

log = structlog.get_logger()

# Answers by which the broker says that it took nothing: MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, TOPIC_AUTHORIZATION_FAILED.
# NOT_LEADER is not among them: a leader that resigned while it waited for its replicas says so of records that may survive.
_TOOK_NOTHING = frozenset({10, 18, 29})
_RETRY_SECONDS = 0.05
# While the broker works on one request the next one is made, and sent if it is not a small one. More would only be smaller.
_UNDER_WAY = 2
# So many times a batch's own patience.
_SILENT = 1.5
_FORGETTING = 31 / 32


class Sending:
    """One partition's batch. `deadline` is loop time; `taken`: it was handed to a socket, so it may lie on the log."""

    __slots__ = ("answer", "buffer", "connection", "deadline", "place", "taken")

    def __init__(self, place: Place, buffer: bytes, answer: asyncio.Future[int], deadline: float) -> None:
        self.place = place
        self.buffer = buffer
        self.answer = answer
        self.deadline = deadline
        self.taken = False
        self.connection: Connection | None = None

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # Whoever waited may have given up.
            self.answer.exception()


class Broker:
    """The way to one broker. `moved` is given batches whose partitions another broker leads by now."""

    def __init__(self, node: int, link: Link, tasks: asyncio.TaskGroup, timeout_ms: int, moved: Callable[[int, Sending], None]) -> None:
        self._node = node
        self._link = link
        self._tasks = tasks
        self._timeout_ms = timeout_ms
        self._moved = moved
        # Asking for it costs a call into the kernel.
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Sending] = []
        self._under_way = 0
        self._on_their_way = 0
        # How many batches were on their way at once of late. Half of them go at a time, so that neither side waits for the other.
        self._lately = 0.0
        self._scheduled = False
        self._connecting = False
        self._away = False

    def add(self, sending: Sending) -> None:
        """Send it as soon as may be: at once when half of what is usual waits, else with all that comes in this turn of the event loop."""
        self._waiting.append(sending)
        self._lately = max(self._lately, self._on_their_way + len(self._waiting))
        if len(self._waiting) * 2 >= self._lately:
            self._send()
        elif not self._under_way:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._scheduled_send)

    def _scheduled_send(self) -> None:
        self._scheduled = False
        self._send()

    def _send(self) -> None:
        if self._under_way >= _UNDER_WAY:
            return
        batches: dict[Place, Sending] = {}
        later: list[Sending] = []
        for sending in self._waiting:
            if sending.answer.done():
                continue
            if batches.setdefault(sending.place, sending) is not sending:
                later.append(sending)
        if not batches:
            return
        connection = self._link.connected(self._node)
        if connection is None:
            if not self._connecting:
                self._connecting = True
                self._tasks.create_task(self._connect(), name=f"connect to broker {self._node}")
            return
        self._waiting = later
        request = ProduceRequest([(place, sending.buffer) for place, sending in batches.items()], self._timeout_ms)
        for sending in batches.values():
            sending.taken = True
            sending.connection = connection
        self._under_way += 1
        self._on_their_way += len(batches)
        self._lately *= _FORGETTING
        # Whoever waits for a batch severs a connection that is silent; but they may have been cancelled, all of them.
        watch = self._loop.call_later(self._timeout_ms * _SILENT / 1000, connection.sever)
        connection.post(request, self._link.client_id).add_done_callback(partial(self._answered, batches, watch))
        if later:
            self._schedule()

    def _answered(self, batches: dict[Place, Sending], watch: asyncio.TimerHandle, answer: asyncio.Future[list[Produced]]) -> None:
        watch.cancel()
        self._under_way -= 1
        self._on_their_way -= len(batches)
        if self._waiting and (not self._under_way or len(self._waiting) * 2 >= self._lately):
            self._schedule()
        if answer.cancelled() or (error := answer.exception()) is not None:
            self._link.outdated()
            for sending in batches.values():
                sending.fail(AppendInDoubt(f"{sending.place}: {'no answer' if answer.cancelled() else error}"))
            return
        for place, code, offset in answer.result():
            sending = batches.pop(place)
            if not code:
                if not sending.answer.done():
                    sending.answer.set_result(offset)
            elif code in _TOOK_NOTHING:
                sending.connection = None
                sending.fail(LogAway(f"{place}: the broker refused the batch: {for_code(code).__name__}"))
            else:
                self._link.outdated()
                sending.fail(AppendInDoubt(f"{place}: {for_code(code).__name__}"))
        for sending in batches.values():
            sending.fail(AppendInDoubt(f"{sending.place}: the broker's answer leaves it out"))

    async def _connect(self) -> None:
        """Until there is a connection, or nothing waits any more. The batches keep until their own deadline."""
        try:
            while self._waiting:
                try:
                    await self._link.connection(self._node)
                except NotAsked as error:
                    if not self._away:
                        log.warning("kafka-broker-away", broker=self._node, reason=str(error))
                    self._away = True
                    await asyncio.sleep(_RETRY_SECONDS)
                    await self._move()
                else:
                    self._away = False
                    break
        finally:
            self._connecting = False
        self._schedule()

    async def _move(self) -> None:
        """Hand batches over whose partitions another broker leads by now, and forget those that were given up."""
        for sending in self._waiting[:]:
            leader = await self._link.leader_of(*sending.place)
            if sending.answer.done() or leader not in {None, self._node}:
                self._waiting = [each for each in self._waiting if each is not sending]
                if leader is not None and not sending.answer.done():
                    self._moved(leader, sending)

"""A sender of webhooks on a loop of its own, which a test freezes as a process is stopped: sockets stay open, no code of it runs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from commands.decider import CommandRefused, Decider
from commands.dispatch import Committed, Order
from commands.webhooks import RecordDeliveries
from events.rooms import prepared_codec
from events.sealing import KeyRing
from events.streams import StreamId
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.apps.webhooks import Sending, running_webhooks
from tests.faults.sending_webhooks import nowhere
from tests.projections.log import TestLog


class FrozenSender:
    """Sends until it is left. Its commands go to the log's owners on the test's loop, as another process's would by the network.

    `fenced`: it says which turn it has seen. Without that what it says counts, whoever else has told the address meanwhile.
    """

    def __init__(self, log: TestLog, ring: KeyRing, *, fenced: bool = True) -> None:
        self.answers: list[bool] = []
        """Of each time that it said how far it is: whether that counted."""
        self._log = log
        self._ring = ring
        self._fenced = fenced
        self._home = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing of it runs meanwhile."""
        assert self._loop is not None
        stands, thaw = threading.Event(), threading.Event()

        def stand() -> None:
            stands.set()
            thaw.wait()

        self._loop.call_soon_threadsafe(stand)
        stands.wait()
        try:
            yield
        finally:
            thaw.set()

    async def until_answered(self) -> None:
        """Returns when it has been answered how far it is. Raises TimeoutError."""
        async with asyncio.timeout(120):
            while not self.answers:
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        ready = asyncio.Event()
        thread = asyncio.create_task(asyncio.to_thread(asyncio.run, self._send(lambda: self._home.call_soon_threadsafe(ready.set))))
        try:
            await ready.wait()
            yield
        finally:
            if self._loop is not None and self._over is not None:
                self._loop.call_soon_threadsafe(self._over.set)
            await thread

    async def _send(self, ready: Callable[[], object]) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        log = self._log
        async with KafkaLog(log.kafka) as link:
            reader = KafkaLogReader(log.kafka, SchemaTopic(link, prepared_codec(), f"{log.prefix}.schemas"))
            sending = Sending(keyring=self._ring, private=True)
            async with running_webhooks(reader, self._dispatch, nowhere, sending, topic_of=log.topic_of):
                ready()
                await self._over.wait()

    async def _dispatch(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        if isinstance(command, RecordDeliveries) and not self._fenced:
            # Of who says no turn the rule asks none.
            command = replace(command, turn=None)  # type: ignore[arg-type]
        asked = self._log.dispatch(decider, stream, command, order, expected_version=expected_version)
        try:
            committed = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self._home))
        except CommandRefused:
            self.answers.append(False)
            raise
        self.answers.append(True)
        return committed

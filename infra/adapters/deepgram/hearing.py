"""One socket into a recogniser of Deepgram's: audio in pieces of a length, orders in their place between them, one end."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from contextlib import AsyncExitStack
from typing import Any, Final

from infra.adapters.deepgram.connecting import closed
from realtime.audio import BYTES_PER_MS
from realtime.ports import EngineFailed, HearingListener

# A socket that takes no audio for that long has left us.
_MOST_WAITING_BYTES: Final = 10_000 * BYTES_PER_MS


class HearingSocket(ABC):
    """A task that sends and one that reads. Both end with `close` or when the socket breaks.

    `chunk_bytes`: what is gathered before it goes; after `quiet_seconds` without audio or order, `keep_alive`.
    """

    def __init__(
        self, name: str, socket: Any, stack: AsyncExitStack, listener: HearingListener, *, chunk_bytes: int, quiet_seconds: float
    ) -> None:
        self._name, self._socket, self._stack = name, socket, stack
        self._listener: HearingListener | None = listener
        self._chunk_bytes, self._quiet_seconds = chunk_bytes, quiet_seconds
        self._gathered = bytearray()
        self._waiting: deque[bytes | None] = deque()
        self._waiting_bytes = 0
        self._something = asyncio.Event()
        self._given_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._sent_at, self._sign_due = self._loop.time(), False
        self._quiet = self._loop.call_later(quiet_seconds, self._is_quiet)
        self._tasks: tuple[asyncio.Task[None], ...] = (
            asyncio.create_task(self._send(), name=f"{name} send"),
            asyncio.create_task(self._read(), name=f"{name} read"),
        )

    @abstractmethod
    async def keep_alive(self) -> None:
        """Show the provider that we are there."""

    @abstractmethod
    async def ask(self) -> None:
        """Send the order that stands between pieces of audio."""

    @abstractmethod
    def told(self, message: Any) -> None:
        """Take a message of the provider's that is no error."""

    def send(self, mulaw: bytes) -> None:
        if self._listener is None:
            return
        self._gathered += mulaw
        self._given_bytes += len(mulaw)
        if len(self._gathered) >= self._chunk_bytes:
            self.hand_over()
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            self._fail("the socket takes no audio")

    async def close(self) -> None:
        self._listener = None
        self._quiet.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # How a task ended holds us, and we hold it: neither is to wait for a collector.
        self._tasks = ()
        await closed(self._stack)

    def hand_over(self, *, order: bool = False) -> None:
        """All that was given goes now, and the order behind it."""
        if self._gathered:
            self._waiting.append(bytes(self._gathered))
            self._waiting_bytes += len(self._gathered)
            self._gathered.clear()
        if order:
            self._waiting.append(None)
        if self._waiting:
            self._something.set()

    def _is_quiet(self) -> None:
        """Looked at once in `quiet_seconds`, not with each piece: what is sent while somebody talks moves no timer."""
        if self._listener is None:
            return
        left = self._sent_at + self._quiet_seconds - self._loop.time()
        if left <= 0:
            self._sign_due = True
            self._something.set()
            left = self._quiet_seconds
        self._quiet = self._loop.call_later(left, self._is_quiet)

    async def _send(self) -> None:
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                if self._waiting or self._sign_due:
                    self._sent_at = self._loop.time()
                if self._sign_due and not self._waiting:
                    await self.keep_alive()
                self._sign_due = False
                while self._waiting:
                    piece = self._waiting.popleft()
                    if piece is None:
                        await self.ask()
                    else:
                        self._waiting_bytes -= len(piece)
                        await self._socket.send_media(piece)
        except OSError as error:
            self._fail(str(error))

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                # Dispatch is by name: the SDK builds one message's class for another of the same shape.
                if getattr(message, "type", None) == "Error":
                    told = f"{getattr(message, 'code', '')} {getattr(message, 'description', '')}".strip()
                    self._fail(told or "an error without words")
                else:
                    self.told(message)
        except OSError as error:
            self._fail(str(error))
        else:
            self._fail("the provider closed the stream")

    def _fail(self, reason: str) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener(EngineFailed(engine=self._name, reason=reason))

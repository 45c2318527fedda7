"""`commands.routing.ports.Peers` over framed sockets: one connection per pair of processes, many requests under way on it at once.

Not HTTP/2: a request is one frame and its answer another, in any order; more of it would gain a dependency, and cost a request twice
the time. Each side first sends `AYBP` and its version (1); then frames go both ways: length (4, of all that follows), request id (8),
content. What is sent in one turn of the event loop goes out in one write. Both sides prove by TLS that they belong to the platform.
"""

import asyncio
import socket
import ssl
import struct
from collections import defaultdict
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, cast

import structlog

from commands.routing.ports import PeerBusy, Silent, Unreachable

log = structlog.get_logger()

HELLO = b"AYBP\x01"
_HEAD = struct.Struct(">IQ")
_ID_BYTES = 8
# More than a command or the facts of one commit ever have.
_FRAME_BYTES = 4 << 20
_UNSENT_BYTES = 8 << 20
_UNDER_WAY = 8_192
_BUSY_RETRY_MS = 50


class _Framed(asyncio.Protocol):
    """A socket cut into frames. `ready` ends when the other side has said who it is."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.alive = True
        self.transport: asyncio.Transport | None = None
        self.unsent_bytes = 0
        self._unsent: list[bytes] = []
        self._read = bytearray()
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own transports are no subclass.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(HELLO)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self._greeted and not self._greet():
            return
        at, length = 0, len(self._read)
        while length - at >= _HEAD.size:
            size, number = _HEAD.unpack_from(self._read, at)
            if not _ID_BYTES <= size <= _FRAME_BYTES:
                self._refuse(f"a frame of {size} bytes")
                return
            end = at + 4 + size
            if end > length:
                break
            self.received(number, bytes(self._read[at + _HEAD.size : end]))
            at = end
        del self._read[:at]

    def connection_lost(self, _: Exception | None) -> None:
        self.alive = False
        if not self.ready.done():
            self.ready.set_exception(Unreachable("the connection was closed before anything was said"))
            self.ready.exception()

    def send(self, number: int, content: bytes) -> None:
        """Put a frame on its way, with all others of this turn of the loop."""
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent += (_HEAD.pack(len(content) + _ID_BYTES, number), content)

    def received(self, number: int, content: bytes) -> None:
        """A whole frame came."""
        raise NotImplementedError

    def waiting_bytes(self) -> int:
        """What the other side has not taken yet."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def close(self) -> None:
        """At once, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self.transport is not None and self.alive:
            self.transport.write(b"".join(unsent))

    def _greet(self) -> bool:
        if len(self._read) < len(HELLO):
            return False
        said, self._greeted = bytes(self._read[: len(HELLO)]), True
        del self._read[: len(HELLO)]
        if said != HELLO:
            version = f"version {said[-1]}" if said[:-1] == HELLO[:-1] else "something else"
            self._refuse(f"{version}; this process speaks version {HELLO[-1]}: run one version of the program everywhere")
            return False
        if not self.ready.done():
            self.ready.set_result(None)
        return True

    def _refuse(self, what: str) -> None:
        log.error("peer-not-understood", said=what)
        if not self.ready.done():
            self.ready.set_exception(Unreachable(f"the process there speaks {what}"))
            self.ready.exception()
        self.close()


class _Asking(_Framed):
    """Our end of a connection that we opened."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0

    def ask(self, request: bytes) -> tuple[int, asyncio.Future[bytes]]:
        self._number += 1
        answer = self.waiting[self._number] = self.loop.create_future()
        self.send(self._number, request)
        return self._number, answer

    def received(self, number: int, content: bytes) -> None:
        answer = self.waiting.pop(number, None)
        # Who gave up meanwhile hears nothing any more.
        if answer is not None and not answer.done():
            answer.set_result(content)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(Silent("the connection broke"))
                answer.exception()
        self.waiting.clear()


class SocketPeers:
    """Asks other processes. Use it as an async context manager; at its end everything under way is dropped."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._lines: dict[str, _Asking] = {}
        self._connecting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for line in self._lines.values():
            line.close()

    async def ask(self, address: str, request: bytes, seconds: float) -> bytes:
        """As the port says. One connection serves every incarnation at a host and port; the content says which one is meant."""
        try:
            async with asyncio.timeout(seconds):
                line = await self._line(address.partition("/")[0])
                if len(line.waiting) >= _UNDER_WAY or line.waiting_bytes() > _UNSENT_BYTES:
                    raise PeerBusy(_BUSY_RETRY_MS)
                number, answer = line.ask(request)
                try:
                    return await answer
                finally:
                    line.waiting.pop(number, None)
        except TimeoutError:
            raise Silent(f"{address} did not answer within {seconds:.2f} s") from None

    async def _line(self, server: str) -> _Asking:
        line = self._lines.get(server)
        if line is not None and line.alive:
            return line
        async with self._connecting[server]:
            line = self._lines.get(server)
            if line is not None and line.alive:
                return line
            host, _, port = server.rpartition(":")
            try:
                _, line = await asyncio.get_running_loop().create_connection(_Asking, host, int(port), ssl=self._tls)
            except (OSError, ValueError) as error:
                raise Unreachable(f"{server}: {error}") from error
            try:
                await line.ready
            except BaseException:
                line.close()
                raise
            self._lines[server] = line
            return line


class _Answering(_Framed):
    """Our end of a connection that another process opened."""

    def __init__(self, answering: "PeerServer") -> None:
        super().__init__()
        self._server = answering
        self._under_way = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._server.connections.discard(self)

    def received(self, number: int, content: bytes) -> None:
        self._under_way += 1
        if self._under_way == _UNDER_WAY and self.transport is not None:
            self.transport.pause_reading()
        self._server.tasks.create_task(self._answer(number, content), name="answer another process")

    async def _answer(self, number: int, content: bytes) -> None:
        answer = await self._server.serve(content)
        if self._under_way == _UNDER_WAY and self.transport is not None and self.alive:
            self.transport.resume_reading()
        self._under_way -= 1
        self.send(number, answer)


class PeerServer:
    """Answers other processes on a socket that listens. Use it as an async context manager; a bug of `serve` ends the block with it."""

    def __init__(self, serve: Callable[[bytes], Awaitable[bytes]], listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.serve = serve
        self.tasks = asyncio.TaskGroup()
        self.connections: set[_Answering] = set()
        self._listening = listening
        self._tls = tls
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.tasks.__aenter__()
        self._listening.setblocking(False)
        self._server = await asyncio.get_running_loop().create_server(lambda: _Answering(self), sock=self._listening, ssl=self._tls)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        # What is under way is answered by nobody: who asked hears that the connection broke, and asks elsewhere.
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        await self.tasks.__aexit__(None if cancelled is None else type(cancelled), cancelled, None)

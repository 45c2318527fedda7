"""Asks over HTTP for a tenth of what a client costs: who measures shares two processors with what is measured."""

import asyncio
from typing import cast


class Line(asyncio.Protocol):
    """A connection that has one request under way at a time, to a server that names the length of its answers."""

    def __init__(self) -> None:
        self._read = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are of no class of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head = self._read.find(b"\r\n\r\n")
        named = self._read.find(b"content-length: ", 0, max(head, 0))
        if named < 0 or self._answer is None:
            return
        end = head + 4 + int(self._read[named + 16 : self._read.index(b"\r\n", named)])
        if len(self._read) >= end:
            answer, self._answer = self._answer, None
            answer.set_result(bytes(self._read))
            self._read.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._answer is not None:
            self._answer.set_exception(exc or EOFError("the server hung up"))

    async def ask(self, request: bytes) -> bytes:
        """The whole answer, as it came."""
        if self.transport is None:
            raise EOFError("no connection")
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


class Lines:
    """As many connections as there are requests at once, up to `most`; they are used again. The requests may be sent twice."""

    def __init__(self, url: str, most: int = 64) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._address = (host, int(port))
        self._idle: list[Line] = []
        self._free = asyncio.Semaphore(most)

    async def ask(self, method: str, path: str, key: str, body: str = "") -> None:
        """SystemExit where the answer is not what was asked for."""
        host = "{}:{}".format(*self._address)
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        async with self._free:
            answer = await self._answered(f"{head}\r\n{body}".encode())
        if not answer.startswith(b"HTTP/1.1 2"):
            raise SystemExit(f"{method} {path}: {answer.decode()[:400]}")

    async def _answered(self, request: bytes) -> bytes:
        line = self._idle.pop() if self._idle else await self._opened()
        try:
            answer = await line.ask(request)
        except (EOFError, OSError):
            # It was idle for so long that the server hung up.
            line = await self._opened()
            answer = await line.ask(request)
        self._idle.append(line)
        return answer

    def close(self) -> None:
        for line in self._idle:
            if line.transport is not None:
                line.transport.close()

    async def _opened(self) -> Line:
        _, line = await asyncio.get_running_loop().create_connection(Line, *self._address)
        return line

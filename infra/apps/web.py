"""The web server inside the process: uvicorn without its own signal handling, and with an end to its patience."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from infra.apps.alongside import alongside

_STOP_SECONDS = 5
# Nobody says anything to a socket of ours that matters.
_LARGEST_SAID = 16 * 1024


# A request's line and headers come in one packet, or a few; who takes longer holds a socket and nothing else.
_HEAD_SECONDS = 10.0


class Impatient(H11Protocol):
    """Closes a connection whose request has not begun in time. Its body has a time of its own, at the gate."""

    head_seconds: ClassVar[float] = _HEAD_SECONDS
    _waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect()
        else:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _expect(self) -> None:
        # Not put off by every byte that comes: that is what whoever holds many sockets sends.
        if self._waits is None:
            self._waits = asyncio.get_running_loop().call_later(self.head_seconds, self._give_up)

    def _forget(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None

    def _give_up(self) -> None:
        self._waits = None
        if not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: FastAPI, listening: socket.socket, http: type[H11Protocol] = Impatient) -> AsyncIterator[None]:
    """Serve until the block ends; requests under way are finished first."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, timeout_graceful_shutdown=_STOP_SECONDS,
                            http=http, ws="websockets-sansio", ws_max_size=_LARGEST_SAID, server_header=False)  # fmt: skip
    server = _Server(config)

    async def serve() -> None:
        await server.serve(sockets=[listening])

    async with alongside({"web server": serve}, cancel=False):
        try:
            yield
        finally:
            server.should_exit = True

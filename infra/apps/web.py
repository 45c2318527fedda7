"""The web server inside the process: uvicorn without its own signal handling, which belongs to the root."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from infra.apps.alongside import alongside

_STOP_SECONDS = 5
# Nobody says anything to a socket of ours that matters.
_LARGEST_SAID = 16 * 1024


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: FastAPI, listening: socket.socket) -> AsyncIterator[None]:
    """Serve until the block ends; requests under way are finished first."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, timeout_graceful_shutdown=_STOP_SECONDS,
                            ws="websockets-sansio", ws_max_size=_LARGEST_SAID,                            server_header=False)  # fmt: skip
    server = _Server(config)

    async def serve() -> None:
        await server.serve(sockets=[listening])

    async with alongside({"web server": serve}, cancel=False):
        try:
            yield
        finally:
            server.should_exit = True

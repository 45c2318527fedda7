"""The web server inside the process: uvicorn without its own signal handling, which belongs to the root."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from infra.apps.alongside import alongside

_STOP_SECONDS = 5


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class AddressUnavailable(Exception):
    """We cannot listen there; the text says where, why, and which setting to change."""


def listen(host: str, port: int | None, *, setting: str = "the port") -> socket.socket:
    """A listening socket, on a free port when none is named. `setting` names the port's. Raises AddressUnavailable."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port or 0))
    except OSError as cause:
        listening.close()
        where = host if port is None else f"{host}:{port}"
        raise AddressUnavailable(f"Nothing can listen on {where} ({cause.strerror}). Set {setting} to a free port, or unset it") from cause
    listening.listen(1024)
    listening.setblocking(False)
    return listening


@asynccontextmanager
async def serving(app: FastAPI, listening: socket.socket) -> AsyncIterator[None]:
    """Serve until the block ends; requests under way are finished first."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, timeout_graceful_shutdown=_STOP_SECONDS, ws="none",
                            server_header=False)  # fmt: skip
    server = _Server(config)

    async def serve() -> None:
        await server.serve(sockets=[listening])

    async with alongside({"web server": serve}, cancel=False):
        try:
            yield
        finally:
            server.should_exit = True

"""The web server inside the process: uvicorn without its own signal handling, and with an end to its patience."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, cast

import httptools
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from infra.apps.alongside import alongside

log = structlog.get_logger()
_STOP_SECONDS = 5
# Nobody says anything to a socket of ours that matters.
_LARGEST_SAID = 16 * 1024


# A request's line and headers come in one packet, or a few; who takes longer holds a socket and nothing else.
_HEAD_SECONDS = 10.0
# To close a connection is to wait until all is taken that was written: who takes nothing would keep socket and buffer for ever.
_TAKING_SECONDS = 20.0
_LARGEST_HEAD = 64 * 1024
_MOST_WAITING = 32


class Refused(Exception):
    """The request is none that is answered; the text says why. Raised within the parser, which ends the connection."""


class Joined:
    """Where an answer is written: its head waits for the body, and goes alone only where that does not come in the same turn of the loop.

    Each packet costs both sides a call into the kernel, and the reader a turn of its own. It has what uvicorn asks of a transport.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._held is not None:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._held = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is held. Idempotent."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class Impatient(HttpToolsProtocol):
    """Closes a connection whose request has not begun in time, or who takes nothing of an answer. A body's time is seen to at the gate.

    The parser is quick and strict, and bounds nothing: how long a head may be and how many requests may wait for the ones before them
    is seen to here, as is that nothing behind a body is taken for a header, and that only a WebSocket changes what is spoken.
    """

    head_seconds: ClassVar[float] = _HEAD_SECONDS
    taking_seconds: ClassVar[float] = _TAKING_SECONDS
    _waits: asyncio.TimerHandle | None = None
    _takes: asyncio.TimerHandle | None = None
    _unread = 0
    _head = 0
    _hosts = 0
    _complete = False
    _handed_over = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._unread += len(data)
        try:
            self._feed(data)
            refused = self._unread > _LARGEST_HEAD
        except (httptools.HttpParserError, Refused):
            refused = True
        if refused:
            if self.cycle is not None:
                cast(Joined, self.cycle.transport).flush()
            self.send_400_response("Invalid HTTP request received.")
        if self._handed_over or self._answering():
            self._forget()
        else:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = self._hosts = 0
        self._complete = False

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # What stands behind a body was in nobody's sight when the caller was recognised.
        if self._complete:
            return
        self._head += len(name) + len(b": \r\n") + len(value)
        if self._head > _LARGEST_HEAD:
            raise Refused("a head that is too long")
        super().on_header(name, value)
        self._hosts += self.headers[-1][0] == b"host"

    def on_headers_complete(self) -> None:
        # RFC 9112, section 3.2.
        if self._hosts > 1 or (not self._hosts and self.parser.get_http_version() == "1.1"):
            raise Refused("no host, or several")
        if len(self.pipeline) >= _MOST_WAITING:
            raise Refused("too many requests that wait for the ones before them")
        self._complete = True
        self._unread = 0
        if not self.parser.should_upgrade() or self._should_upgrade():
            before = self.cycle
            super().on_headers_complete()
            if self.cycle is not before:
                self.cycle.transport = cast(asyncio.Transport, Joined(self.transport, self.loop))

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._handed_over = True
        super().handle_websocket_upgrade()

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as other:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                data = self._as_it_is(data[other.args[0] :])
            else:
                return

    def _as_it_is(self, rest: bytes) -> bytes:
        """A client that would rather speak something else (`h2c`, as Java's does at first) is answered in what it speaks."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            raise Refused("this is no proxy")
        self.parser = httptools.HttpRequestParser(self)
        kept = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
        return b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, self.url, version, kept, rest)

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _expect(self) -> None:
        # Not put off by every byte that comes: that is what whoever holds many sockets sends.
        if self._waits is None:
            self._waits = asyncio.get_running_loop().call_later(self.head_seconds, self._give_up)

    def _forget(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None

    def _watch(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._takes = asyncio.get_running_loop().call_later(self.taking_seconds, self._look_what_was_taken, left)

    def _look_what_was_taken(self, before: int) -> None:
        # A slow line is none that stands still.
        if self.transport.get_write_buffer_size() < before:
            self._watch()
        else:
            self._takes = None
            log.info("answer-not-taken", seconds=self.taking_seconds)
            self.transport.abort()

    def _taken(self) -> None:
        if self._takes is not None:
            self._takes.cancel()
            self._takes = None

    def _give_up(self) -> None:
        self._waits = None
        if not self.transport.is_closing():
            self.transport.close()


class Refusing(WebSocketsSansIOProtocol):
    """A WebSocket that is refused with an answer was answered: uvicorn would log it as an error, and any stranger could fill the log."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: FastAPI, listening: socket.socket, http: type[HttpToolsProtocol] = Impatient) -> AsyncIterator[None]:
    """Serve until the block ends; requests under way are finished first."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, timeout_graceful_shutdown=_STOP_SECONDS,
                            http=http, ws=Refusing, ws_max_size=_LARGEST_SAID, server_header=False)  # fmt: skip
    server = _Server(config)

    async def serve() -> None:
        await server.serve(sockets=[listening])

    async with alongside({"web server": serve}, cancel=False):
        try:
            yield
        finally:
            server.should_exit = True


def settle() -> None:
    """What a process is made of stays: to look all of it through for garbage would stop every request for a tenth of a second."""
    gc.collect()
    gc.freeze()

"""The sockets that Deepgram's SDK speaks through, on picows: one TLS context for a process, and no cost but for what is sent.

The SDK takes them by its own option `transport_factory`. Its own choice builds a TLS context for each socket: 16 ms, in which no
call of the process moves.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

_LARGEST_FRAME: Final = 1 << 20
# A reader that is so far behind does not read any more: minutes of speech, or hours of words.
_MOST_WAITING: Final = 4096
_CLOSING_SECONDS: Final = 1.0
# One TLS record each way. What comes as a default is half a megabyte for a socket, twice for a call, and never filled by speech.
_RECORD_BYTES: Final = 16_384 + 64
_TLS_BUFFERS: Final[Mapping[str, Any]] = {"ssl_incoming_bio_size": _RECORD_BYTES, "ssl_outgoing_bio_size": _RECORD_BYTES}


class SocketClosed(ConnectionError):
    """The peer has closed the socket, or is gone; the text says with which code and reason."""


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Frames(WSListener):
    """What comes in, message by message."""

    def __init__(self) -> None:
        self.messages: deque[str | bytes] = deque()
        self.news = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.closed: str | None = None
        self.closed_well = False
        self._parts = bytearray()
        self._text = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        match frame.msg_type:
            case WSMsgType.TEXT | WSMsgType.BINARY | WSMsgType.CONTINUATION:
                self._take(transport, frame)
            case WSMsgType.CLOSE:
                code, words = frame.get_close_code(), frame.get_close_reason() or ""
                self.closed_well = code == WSCloseCode.OK
                self._close(f"{code:d} {words}".strip())
                transport.send_close(WSCloseCode.OK)
                transport.disconnect()

    def _take(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.CONTINUATION:
            self._text = frame.msg_type == WSMsgType.TEXT
        payload = frame.get_payload_as_bytes()
        if self._parts or not frame.fin:
            self._parts += payload
            if not frame.fin:
                return
            payload = bytes(self._parts)
            self._parts.clear()
        self.messages.append(payload.decode() if self._text else payload)
        self.news.set()
        if len(self.messages) > _MOST_WAITING:
            self._close("nobody reads what comes")
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._close("the connection broke")

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def _close(self, reason: str) -> None:
        if self.closed is None:
            self.closed = reason
        self.news.set()
        self.writable.set()


class SdkSocket:
    """A transport as the SDK wants it. It is dialled after the SDK has made it: its factory cannot wait."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url, self._headers = url, dict(headers)
        self._frames = _Frames()
        self._transport: WSTransport | None = None

    async def dial(self) -> None:
        """Raises OSError, TimeoutError or WSError."""
        tls = _tls() if self._url.startswith("wss") else None
        self._transport, _ = await ws_connect(
            lambda: self._frames, self._url, ssl_context=tls, extra_headers=self._headers, max_frame_size=_LARGEST_FRAME,
            max_redirects=0, read_buffer_init_size=4096, websocket_handshake_timeout=None, **({} if tls is None else _TLS_BUFFERS),
        )  # fmt: skip

    async def send(self, data: str | bytes) -> None:
        """Raises SocketClosed."""
        frames, transport = self._frames, self._transport
        if not frames.writable.is_set():
            await frames.writable.wait()
        if transport is None or frames.closed is not None:
            raise SocketClosed(frames.closed or "not connected")
        if isinstance(data, str):
            transport.send(WSMsgType.TEXT, data.encode())
        else:
            transport.send(WSMsgType.BINARY, data)

    async def recv(self) -> str | bytes:
        """Raises SocketClosed."""
        frames = self._frames
        while not frames.messages:
            if frames.closed is not None:
                raise SocketClosed(frames.closed)
            frames.news.clear()
            await frames.news.wait()
        return frames.messages.popleft()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Ends with a socket that was closed as agreed. Raises SocketClosed for any other end."""
        while True:
            try:
                message = await self.recv()
            except SocketClosed:
                if self._frames.closed_well:
                    return
                raise
            yield message

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is None or transport.is_disconnected:
            return
        if not transport.is_close_frame_sent:
            transport.send_close(WSCloseCode.OK)
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await transport.wait_disconnected()
        except (TimeoutError, WSError):
            # The socket is over either way, and nobody listens to it any more.
            transport.disconnect(graceful=False)


OPENING: ContextVar[list[SdkSocket] | None] = ContextVar("deepgram_sockets_opening", default=None)
"""Where the factory puts what it makes, so that whoever had the SDK make it can dial it."""

UNREACHABLE: Final = (OSError, TimeoutError, WSError)


def sdk_socket(url: str, headers: Mapping[str, str]) -> SdkSocket:
    """The SDK's `transport_factory`: one for a process, because the SDK installs it in its modules."""
    made = SdkSocket(url, headers)
    opening = OPENING.get()
    if opening is not None:
        opening.append(made)
    return made

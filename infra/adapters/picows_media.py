"""The media WebSocket server on picows: hands whole text frames to the call's socket and refuses everything else at the door."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from realtime.carrier.media_socket import MediaSocket, Transport

_LARGEST_FRAME = 65_536
# A peer that does not answer our closing frame is cut off.
_CLOSING_SECONDS = 2.0

Accept = Callable[[Transport], MediaSocket]
HandshakeCheck = Callable[[str], bool]
"""Whether the `X-Twilio-Signature` of a handshake is the carrier's, over our public media address."""


class _Socket(WSListener):
    """One connection. As a `Transport` it closes with a code and a reason, and cuts off a peer that does not answer."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._loop = asyncio.get_running_loop()
        self._transport: WSTransport | None = None
        self._media: MediaSocket | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._media = self._accept(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        media = self._media
        if media is None:
            return
        if frame.msg_type == WSMsgType.TEXT and frame.fin:
            media.text(frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.CONTINUATION):
            # The carrier sends whole text frames; neither bytes nor pieces are its.
            media.binary()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        media, self._media = self._media, None
        if media is not None:
            media.disconnected()

    def send(self, text: bytes) -> None:
        if self._transport is not None and not self._transport.is_close_frame_sent:
            self._transport.send(WSMsgType.TEXT, text)

    def close(self, code: int, reason: str) -> None:
        transport = self._transport
        if transport is None or transport.is_close_frame_sent:
            return
        transport.send_close(WSCloseCode(code), reason.encode()[:120])
        self._loop.call_later(_CLOSING_SECONDS, transport.disconnect, False)


class MediaServer:
    """Listens for media sockets at one path, in the running loop."""

    def __init__(self, accept: Accept, *, path: str, signed: HandshakeCheck, counters: Counter[str]) -> None:
        self._accept, self._path, self._signed, self._counters = accept, path, signed, counters
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: SSLContext | None = None) -> int:
        """Listen; returns the port, which is a free one when `port` is 0. Raises OSError."""
        return await self._serve(tls, host=host, port=port)

    async def start_on(self, listening: socket.socket, tls: SSLContext | None = None) -> int:
        """As `start`, on a socket whose port is known before this server is."""
        return await self._serve(tls, sock=listening)

    async def _serve(self, tls: SSLContext | None, **where: Any) -> int:
        self._server = await ws_create_server(
            self._open, ssl=tls, max_frame_size=_LARGEST_FRAME, websocket_handshake_timeout=5, enable_auto_ping=True,
            auto_ping_idle_timeout=10, auto_ping_reply_timeout=10, **where,
        )  # fmt: skip
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def stop(self) -> None:
        """Accept no more; sockets that are open stay with their calls."""
        if self._server is not None:
            # Not waited for: that would wait for the calls as well.
            self._server.close()

    def _open(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        if urlsplit(request.path.decode("ascii", "replace")).path != self._path:
            return _refused(HTTPStatus.NOT_FOUND)
        signature = request.headers.get("x-twilio-signature")
        if signature is not None and not self._signed(signature):
            self._counters["handshakes-forged"] += 1
            return _refused(HTTPStatus.FORBIDDEN)
        return _Socket(self._accept)


def _refused(status: HTTPStatus) -> WSUpgradeResponseWithListener:
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(status, status.phrase.encode()), None)

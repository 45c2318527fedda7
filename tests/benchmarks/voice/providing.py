"""What the bench's emulated sockets share: the process they live in, its notes with their times, the way to answer and to close."""

import asyncio
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

if TYPE_CHECKING:
    from tests.benchmarks.voice.listening import Listening


@dataclass(slots=True)
class Provided:
    """The providers' process. `notes`: seconds of the machine's clock, what, and of which words."""

    loop: asyncio.AbstractEventLoop
    notes: list[tuple[float, str, list[str]]] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    listening: "list[Listening]" = field(default_factory=list)
    sockets: int = 0
    open_sockets: int = 0

    def note(self, what: str, words: list[str]) -> None:
        self.notes.append((time.monotonic(), what, words))


class Socket(WSListener):
    """One socket of a client's."""

    def __init__(self, house: Provided) -> None:
        self.house = house
        self.request_id = str(uuid.uuid4())
        self._transport: WSTransport | None = None
        house.sockets += 1

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self.house.open_sockets += 1

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        self.house.open_sockets -= 1

    def tell(self, message: bytes, kind: Any = WSMsgType.TEXT) -> None:
        if self._transport is not None and not self._transport.is_close_frame_sent:
            self._transport.send(kind, message)

    def shut(self, code: Any, reason: str) -> None:
        if self._transport is not None and not self._transport.is_close_frame_sent:
            self._transport.send_close(code, reason.encode())
            self._transport.disconnect()

    def closing(self, transport: WSTransport, frame: WSFrame) -> None:
        """The client's closing frame is answered; anything else that is no text is not of the protocol."""
        if not transport.is_close_frame_sent:
            transport.send_close(WSCloseCode.OK if frame.msg_type == WSMsgType.CLOSE else WSCloseCode.UNSUPPORTED_DATA)
        transport.disconnect()

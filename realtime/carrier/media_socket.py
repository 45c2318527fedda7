"""One media socket from its first byte to its last: no token, no call; a wrong frame, no socket."""

import asyncio
from collections import Counter
from typing import Protocol

import structlog

from events.calls.ending import EndedBy
from realtime.carrier.floods import Allowance
from realtime.carrier.media_streams import Dtmf, FrameRefused, Frames, Mark, Media, Message, Session, Start, Stop, Wrong
from realtime.carrier.tokens import TokenRefused
from realtime.loop.conductor import Conductor

log = structlog.get_logger()

# RFC 6455, section 7.4.1.
_NORMAL, _UNSUPPORTED, _POLICY, _GOING_AWAY = 1000, 1003, 1008, 1001


class Transport(Protocol):
    """The socket itself. Nothing blocks; after `close` `send` does nothing."""

    def send(self, text: bytes) -> None:
        """Send one text frame."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake. Idempotent."""


class StartRefused(Exception):
    """The call cannot begin over this socket; `reason` is a counter's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Desk(Protocol):
    """Where a stream that has started becomes a call."""

    def begin(self, start: Start, socket: "MediaSocket") -> Conductor:
        """The call that the start's token opens, under way. Raises TokenRefused or StartRefused."""

    def closing(self, call_id: str, words: str, language: str = "") -> None:
        """The call closes its stream; `words` are to be said when the carrier asks what follows."""


class MediaSocket:
    """Reads what the carrier sends and is the call's `Line` back to it."""

    def __init__(self, transport: Transport, desk: Desk, counters: Counter[str], *, start_within_seconds: float) -> None:
        self._transport, self._desk, self._counters = transport, desk, counters
        loop = asyncio.get_running_loop()
        self._session, self._clock, self._allowance = Session(), loop.time, Allowance(loop.time())
        self._frames: Frames | None = None
        self._call: Conductor | None = None
        self._call_id = ""
        self._closed = False
        self._deadline = loop.call_later(start_within_seconds, self._refuse, "start-overdue", _POLICY)

    # --- from the socket ---

    def text(self, payload: bytes | bytearray | memoryview) -> None:
        """A whole text frame; its memory is not kept."""
        if self._closed:
            return
        if not self._allowance.takes(len(payload), self._clock()):
            self._wrong(Wrong.FLOOD, _POLICY)
            return
        try:
            message = self._session.receive(payload)
        except FrameRefused as refused:
            self._wrong(refused.wrong, _POLICY)
            return
        if type(message) is not Media:
            self._take(message)
        elif self._call is not None:
            self._call.frame(message.timestamp_ms, message.media.payload)

    def binary(self) -> None:
        if not self._closed:
            self._wrong(Wrong.BINARY, _UNSUPPORTED)

    def disconnected(self) -> None:
        """The peer is gone, after a closing handshake or without one."""
        self._over("media-lost", EndedBy.CARRIER, billable=False)
        self._closed = True

    def shut(self, reason: str) -> None:
        """Close from our side because the call cannot go on here."""
        self._close(_GOING_AWAY, reason)

    # --- the call's line ---

    def play(self, mulaw: bytes) -> None:
        if self._frames is not None and not self._closed:
            for frame in self._frames.media(mulaw):
                self._transport.send(frame)

    def mark(self, name: str) -> None:
        if self._frames is not None and not self._closed:
            self._transport.send(self._frames.mark(name))

    def clear(self) -> None:
        if self._frames is not None and not self._closed:
            self._transport.send(self._frames.clear)

    def close(self, *, words: str, language: str = "") -> None:
        if not self._closed:
            self._desk.closing(self._call_id, words, language)
            self._close(_NORMAL, "the call is over")

    # --- within ---

    def _take(self, message: Message) -> None:
        call = self._call
        if isinstance(message, Start):
            self._start(message)
            return
        if call is None:
            return
        match message:
            case Mark(mark=mark):
                call.mark_returned(mark.name)
            case Stop():
                self._over("caller-hung-up", EndedBy.CALLER, billable=True)
                self._close(_NORMAL, "the stream has stopped")
            case Dtmf(dtmf=dtmf):
                call.digit(dtmf.digit)
            case _:
                return

    def _start(self, message: Start) -> None:
        self._deadline.cancel()
        self._frames = Frames(message.stream_sid)
        try:
            self._call = self._desk.begin(message, self)
        except TokenRefused as refused:
            self._refuse(refused.wrong.value, _POLICY)
        except StartRefused as refused:
            self._refuse(refused.reason, _POLICY)
        else:
            self._call_id = self._call.stream.id

    def _refuse(self, reason: str, code: int) -> None:
        self._counters[reason] += 1
        log.info("media socket refused", reason=reason)
        self._close(code, reason)

    def _wrong(self, wrong: Wrong, code: int) -> None:
        # The carrier broke its own protocol, or is not the carrier: the caller is not charged for that.
        self._over(wrong.value, EndedBy.CARRIER, billable=False)
        self._refuse(wrong.value, code)

    def _over(self, reason: str, ended_by: EndedBy, *, billable: bool) -> None:
        self._deadline.cancel()
        self._frames = None
        if self._call is not None:
            call, self._call = self._call, None
            call.media_ended(reason, ended_by, billable=billable)

    def _close(self, code: int, reason: str) -> None:
        self._deadline.cancel()
        if not self._closed:
            self._closed = True
            self._transport.close(code, reason)

"""Twilio's Media Streams protocol without I/O: what may come in, in which order, and how our frames look.

Source: twilio.com/docs/voice/media-streams/websocket-messages. Anything else is refused with a reason that has a name.
"""

from base64 import b64encode
from collections.abc import Mapping
from enum import Enum, StrEnum

import msgspec

_LARGEST_TEXT = 65_536
# A frame of the carrier's is 20 ms; a second in one piece is nobody's.
_LARGEST_AUDIO = 8000
_KEYS = frozenset("0123456789*#ABCD")
# The carrier takes any size; this bounds how much one of our frames holds.
FRAME_BYTES = 1600


class Wrong(StrEnum):
    """Why a frame was refused: the call's end reason, and a counter's name."""

    BINARY = "binary-frame"
    MALFORMED = "malformed-frame"
    UNKNOWN = "unknown-event"
    FOREIGN = "foreign-stream"
    UNTIMELY = "untimely-frame"
    FORMAT = "unsupported-format"
    OVERSIZED = "oversized-frame"
    FLOOD = "flooded"


class FrameRefused(Exception):
    """What came is not what the carrier sends."""

    def __init__(self, wrong: Wrong, detail: str) -> None:
        super().__init__(f"{wrong.value}: {detail}")
        self.wrong = wrong


class _Message(msgspec.Struct, frozen=True, tag_field="event", rename="camel"):
    pass


class Connected(_Message, frozen=True, tag="connected"):
    protocol: str
    version: str = ""


class MediaFormat(msgspec.Struct, frozen=True, rename="camel"):
    encoding: str
    sample_rate: int
    channels: int


class StartBody(msgspec.Struct, frozen=True, rename="camel"):
    stream_sid: str
    call_sid: str
    media_format: MediaFormat
    account_sid: str = ""
    custom_parameters: Mapping[str, str] = msgspec.field(default_factory=dict)


class Start(_Message, frozen=True, tag="start"):
    stream_sid: str
    start: StartBody


class MediaBody(msgspec.Struct, frozen=True, rename="camel"):
    timestamp: str
    payload: bytes
    track: str = "inbound"


class Media(_Message, frozen=True, tag="media"):
    stream_sid: str
    media: MediaBody

    @property
    def timestamp_ms(self) -> int:
        return int(self.media.timestamp)


class MarkBody(msgspec.Struct, frozen=True):
    name: str


class Mark(_Message, frozen=True, tag="mark"):
    stream_sid: str
    mark: MarkBody


class DtmfBody(msgspec.Struct, frozen=True):
    digit: str


class Dtmf(_Message, frozen=True, tag="dtmf"):
    stream_sid: str
    dtmf: DtmfBody


class Stop(_Message, frozen=True, tag="stop"):
    stream_sid: str


Message = Connected | Start | Media | Mark | Dtmf | Stop
_DECODER = msgspec.json.Decoder(Message)


class _Stage(Enum):
    NEW = "new"
    CONNECTED = "connected"
    STARTED = "started"
    STOPPED = "stopped"


class Session:
    """One socket's conversation: `connected`, `start`, then media and marks, then `stop`."""

    def __init__(self) -> None:
        self.stream_sid = ""
        self._stage = _Stage.NEW

    def receive(self, text: bytes | bytearray | memoryview) -> Message:
        """Read a text frame. Raises FrameRefused; the socket is to be closed then."""
        if len(text) > _LARGEST_TEXT:
            raise FrameRefused(Wrong.OVERSIZED, f"{len(text)} bytes")
        try:
            message: Message = _DECODER.decode(text)
        except msgspec.ValidationError as cause:
            raise FrameRefused(Wrong.UNKNOWN if "$.event" in str(cause) else Wrong.MALFORMED, str(cause)) from cause
        except (msgspec.DecodeError, UnicodeDecodeError) as cause:
            raise FrameRefused(Wrong.MALFORMED, str(cause)) from cause
        # Of all that comes, 49 in 50 are this.
        if type(message) is Media and self._stage is _Stage.STARTED and message.stream_sid == self.stream_sid:
            _check_audio(message.media)
        else:
            self._take(message)
        return message

    def _take(self, message: Message) -> None:
        expected = _EXPECTED[self._stage]
        if not isinstance(message, expected):
            raise FrameRefused(Wrong.UNTIMELY, f"{type(message).__name__.lower()} while {self._stage.value}")
        if isinstance(message, Connected):
            self._stage = _Stage.CONNECTED
            return
        if isinstance(message, Start):
            self._started(message)
        elif message.stream_sid != self.stream_sid:
            raise FrameRefused(Wrong.FOREIGN, "another streamSid")
        if isinstance(message, Media):
            _check_audio(message.media)
        elif isinstance(message, Dtmf) and message.dtmf.digit not in _KEYS:
            # What it was is not said: it may be part of what nobody may know.
            raise FrameRefused(Wrong.MALFORMED, "no key of a telephone")
        elif isinstance(message, Stop):
            self._stage = _Stage.STOPPED

    def _started(self, message: Start) -> None:
        form = message.start.media_format
        if message.start.stream_sid != message.stream_sid:
            raise FrameRefused(Wrong.FOREIGN, "two streamSids in one start")
        if (form.encoding, form.sample_rate, form.channels) != ("audio/x-mulaw", 8000, 1):
            raise FrameRefused(Wrong.FORMAT, f"{form.encoding} {form.sample_rate}x{form.channels}")
        self.stream_sid = message.stream_sid
        self._stage = _Stage.STARTED


_EXPECTED: Mapping[_Stage, tuple[type[_Message], ...]] = {
    _Stage.NEW: (Connected,),
    _Stage.CONNECTED: (Start,),
    _Stage.STARTED: (Media, Mark, Dtmf, Stop),
    _Stage.STOPPED: (),
}


def _check_audio(body: MediaBody) -> None:
    if body.track != "inbound":
        raise FrameRefused(Wrong.FOREIGN, "a track that is not ours to hear")
    if len(body.payload) > _LARGEST_AUDIO:
        raise FrameRefused(Wrong.OVERSIZED, f"{len(body.payload)} bytes of audio")
    stamp = body.timestamp
    if not (stamp.isascii() and stamp.isdigit()) or len(stamp) > 12:
        raise FrameRefused(Wrong.MALFORMED, "the timestamp is no number of milliseconds")


class Frames:
    """Our side of the protocol: text frames for one stream, ready to be sent."""

    def __init__(self, stream_sid: str) -> None:
        sid = msgspec.json.encode(stream_sid)
        self._media = b'{"event":"media","streamSid":' + sid + b',"media":{"payload":"'
        self._mark = b'{"event":"mark","streamSid":' + sid + b',"mark":{"name":'
        self.clear = b'{"event":"clear","streamSid":' + sid + b"}"

    def media(self, mulaw: bytes) -> list[bytes]:
        """Frames of at most 200 ms each."""
        return [self._media + b64encode(mulaw[at : at + FRAME_BYTES]) + b'"}}' for at in range(0, len(mulaw), FRAME_BYTES)]

    def mark(self, name: str) -> bytes:
        return self._mark + msgspec.json.encode(name) + b"}}"

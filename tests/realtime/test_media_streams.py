"""The carrier's protocol: what it sends is read, everything else is refused by name."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.carrier.media_streams import FrameRefused, Frames, Mark, Media, Session, Start, Stop, Wrong

CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
START = {
    "event": "start", "sequenceNumber": "1", "streamSid": "MZ1",
    "start": {
        "accountSid": "AC1", "streamSid": "MZ1", "callSid": "CA1", "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": {"token": "t"},
    },
}  # fmt: skip
STOP = {"event": "stop", "sequenceNumber": "9", "streamSid": "MZ1", "stop": {"accountSid": "AC1", "callSid": "CA1"}}
MARK = {"event": "mark", "sequenceNumber": "4", "streamSid": "MZ1", "mark": {"name": "g1:u1:end"}}


def media(payload: bytes = b"\xff" * 160, **changes: Any) -> dict[str, Any]:
    body = {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": base64.b64encode(payload).decode(), **changes}
    return {"event": "media", "sequenceNumber": "3", "streamSid": "MZ1", "media": body}


def text(message: Any) -> bytes:
    return json.dumps(message).encode()


def started() -> Session:
    session = Session()
    session.receive(text(CONNECTED))
    session.receive(text(START))
    return session


def wrong(session: Session, message: Any) -> Wrong:
    with pytest.raises(FrameRefused) as raised:
        session.receive(message if isinstance(message, bytes) else text(message))
    return raised.value.wrong


class TestSession:
    def test_reads_a_call_from_beginning_to_end(self) -> None:
        session = Session()
        session.receive(text(CONNECTED))
        start = session.receive(text(START))
        assert isinstance(start, Start)
        assert (start.start.call_sid, start.start.custom_parameters) == ("CA1", {"token": "t"})
        frame = session.receive(text(media(b"\x01" * 160)))
        assert isinstance(frame, Media)
        assert (frame.timestamp_ms, frame.media.payload) == (20, b"\x01" * 160)
        mark = session.receive(text(MARK))
        assert isinstance(mark, Mark)
        assert mark.mark.name == "g1:u1:end"
        assert isinstance(session.receive(text(STOP)), Stop)

    @pytest.mark.parametrize("message", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"event": "media"}', b'{"event": 7}', b"{}"])
    def test_refuses_what_is_malformed(self, message: bytes) -> None:
        assert wrong(started(), message) in (Wrong.MALFORMED, Wrong.UNKNOWN)

    def test_refuses_an_event_that_the_carrier_has_not(self) -> None:
        assert wrong(started(), {"event": "fax", "streamSid": "MZ1"}) is Wrong.UNKNOWN

    def test_refuses_audio_that_is_no_base64(self) -> None:
        assert wrong(started(), media(payload=b"") | {"media": {"track": "inbound", "timestamp": "1", "payload": "%%%"}}) is Wrong.MALFORMED

    @pytest.mark.parametrize("stamp", ["-1", "1.5", "x", "", "٣", "9" * 30])
    def test_refuses_a_stamp_that_is_no_time(self, stamp: str) -> None:
        assert wrong(started(), media(timestamp=stamp)) is Wrong.MALFORMED

    def test_refuses_another_stream(self) -> None:
        assert wrong(started(), {**media(), "streamSid": "MZ2"}) is Wrong.FOREIGN

    def test_refuses_the_track_that_is_ours(self) -> None:
        assert wrong(started(), media(track="outbound")) is Wrong.FOREIGN

    def test_refuses_audio_of_another_kind(self) -> None:
        session = Session()
        session.receive(text(CONNECTED))
        start = json.loads(text(START))
        start["start"]["mediaFormat"]["sampleRate"] = 16_000
        assert wrong(session, start) is Wrong.FORMAT

    def test_refuses_what_comes_at_the_wrong_time(self) -> None:
        assert wrong(Session(), START) is Wrong.UNTIMELY
        assert wrong(started(), START) is Wrong.UNTIMELY
        stopped = started()
        stopped.receive(text(STOP))
        assert wrong(stopped, media()) is Wrong.UNTIMELY

    def test_refuses_what_is_far_too_large(self) -> None:
        assert wrong(started(), media(b"\xff" * 8001)) is Wrong.OVERSIZED
        assert wrong(started(), b" " * 70_000) is Wrong.OVERSIZED

    @given(st.binary(max_size=300))
    def test_is_never_broken_by_bytes(self, noise: bytes) -> None:
        with pytest.raises(FrameRefused):
            started().receive(noise)


class TestFrames:
    def test_are_the_carriers_own_json(self) -> None:
        frames = Frames("MZ1")
        (frame,) = frames.media(b"\x01\x02")
        assert json.loads(frame) == {"event": "media", "streamSid": "MZ1", "media": {"payload": "AQI="}}
        assert json.loads(frames.mark('g1:"u')) == {"event": "mark", "streamSid": "MZ1", "mark": {"name": 'g1:"u'}}
        assert json.loads(frames.clear) == {"event": "clear", "streamSid": "MZ1"}

    def test_hold_at_most_200_ms_and_lose_nothing(self) -> None:
        audio = bytes(range(256)) * 20
        pieces = [base64.b64decode(json.loads(frame)["media"]["payload"]) for frame in Frames("MZ1").media(audio)]
        assert b"".join(pieces) == audio
        assert max(map(len, pieces)) == 1600

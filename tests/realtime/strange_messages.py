"""Messages as no carrier sends them: malformed, out of order, out of bounds; drawn by a seed, among enough good ones to get far."""

import base64
import json
import random
from dataclasses import dataclass
from typing import Any

_EVENTS = ("connected", "start", "media", "mark", "dtmf", "stop", "clear", "", "dance", "MEDIA", "media\x00")
_ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 2**63, "", "x", "\ud800", "1" * 13, "-5", "1e3", " 1", "٣", [], {}, [[]], {"a": {}}, "g1:u1:end", "\x00",
)  # fmt: skip
_MARKS = ("", "g1:u1:end", "g1:u999999999:end", "g-1:u1:end", "g1:u٣:end", "g1:u1", ":::", "g2:u1:end", "x" * 5000)


@dataclass(slots=True)
class Peer:
    """One socket's other end; `at_ms` is its media clock. An `honest` one begins as a carrier does."""

    draws: random.Random
    call_sid: str
    stream_sid: str
    token: str
    honest: bool = False
    at_ms: int = 0

    def opening(self) -> list[str | bytes]:
        """Mostly what a carrier begins with, else nearly that."""
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        start = {
            "accountSid": "AC", "streamSid": self.stream_sid, "callSid": self.call_sid, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": {"token": self.token},
        }  # fmt: skip
        opening: list[Any] = [connected, {"event": "start", "sequenceNumber": "1", "streamSid": self.stream_sid, "start": start}]
        if self.honest:
            return [json.dumps(message) for message in opening]
        if self.draws.random() < 0.25:
            opening = [self._bent(message) if self.draws.random() < 0.6 else message for message in opening]
        if self.draws.random() < 0.1:
            opening.reverse()
        return [json.dumps(message) for message in opening]

    def message(self) -> str | bytes:
        """What comes next."""
        draw = self.draws.random()
        if draw < 0.9:
            return json.dumps(self._good())
        if draw < 0.96:
            return json.dumps(self._bent(self._good()))
        return self._garbage()

    def _good(self) -> dict[str, Any]:
        kind = self.draws.choices(("media", "mark", "dtmf", "stop"), (80, 12, 7, 1))[0]
        base: dict[str, Any] = {"event": kind, "sequenceNumber": "2", "streamSid": self.stream_sid}
        match kind:
            case "media":
                self.at_ms += self.draws.choice((20, 20, 20, 20, 20, 0, 40, 3000, -400))
                size = self.draws.choice((160, 160, 160, 160, 0, 1, 7999, 8000))
                payload = base64.b64encode(self.draws.randbytes(size)).decode()
                base["media"] = {"track": "inbound", "chunk": "1", "timestamp": str(max(0, self.at_ms)), "payload": payload}
            case "mark":
                base["mark"] = {"name": self.draws.choice(_MARKS)}
            case "dtmf":
                base["dtmf"] = {"track": "inbound_track", "digit": self.draws.choice(("0", "9", "*", "#", "A", "", "12", "é"))}
            case _:
                base["stop"] = {"accountSid": "AC", "callSid": self.call_sid}
        return base

    def _bent(self, message: dict[str, Any]) -> Any:
        """One thing about it is wrong."""
        bent = json.loads(json.dumps(message))
        within = bent
        while True:
            name = self.draws.choice(list(within))
            if not isinstance(within[name], dict) or not within[name] or self.draws.random() < 0.4:
                break
            within = within[name]
        match self.draws.randrange(4):
            case 0:
                del within[name]
            case 1:
                within[name] = self.draws.choice(_ODD)
            case 2:
                bent["event"] = self.draws.choice(_EVENTS)
            case _:
                within[self.draws.choice(("event", "streamSid", "media", "more", ""))] = self.draws.choice(_ODD)
        return bent

    def _garbage(self) -> str | bytes:
        good = json.dumps(self._good())
        match self.draws.randrange(7):
            case 0:
                return good[: self.draws.randrange(len(good))]
            case 1:
                return good + good
            case 2:
                return self.draws.randbytes(self.draws.randrange(400))
            case 3:
                return "[" * self.draws.choice((3, 50_000))
            case 4:
                return json.dumps(self.draws.choice(_ODD))
            case 5:
                return "x" * self.draws.choice((1, 65_537))
            case _:
                at = self.draws.randrange(len(good))
                return good[:at] + chr(self.draws.randrange(0x250)) + good[at + 1 :]

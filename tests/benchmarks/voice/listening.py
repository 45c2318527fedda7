"""The bench's recogniser: Deepgram's `/v1/listen` at fixed delays, which knows the words by the sound that it received, byte for byte."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport

from realtime.audio import BYTES_PER_MS, encode
from tests.benchmarks.voice.providing import Provided, Socket
from tests.benchmarks.voice.thinking import number_in
from tests.benchmarks.voice.words import Dictionary, Reader, Word

RESULT_AFTER_MS: Final = 100
_INTERIM_EVERY_MS: Final = 300
_UNMARKED_SHARE: Final = 0.2
_PATIENCE_SECONDS: Final = 10.0
# After these nobody is at the end of a sentence, and no recogniser puts a full stop.
_OPEN_WORDS: Final = frozenset({"to", "me", "is", "the", "like", "know", "would", "my", "number", "and", "on"})
_QUESTIONS: Final = frozenset({"when", "can", "and"})


class Listening(Socket):
    """One stream. Words count when the whole of them was received; a `Finalize` is answered with those that were."""

    def __init__(self, house: Provided, query: Sequence[tuple[str, str]], dictionary: Dictionary) -> None:
        super().__init__(house)
        asked = dict(query)
        self._linear = asked.get("encoding") == "linear16"
        self._interims = asked.get("interim_results") == "true"
        endpointing = asked.get("endpointing", "10")
        self._pause_ms = int(endpointing) if endpointing.isdigit() else None
        self._reader = Reader(dictionary)
        self._draws = random.Random(house.sockets)
        self._heard: list[Word] = []
        self._segment_bytes = 0
        self._told_words = 0
        self._interim_at_ms = 0
        self._odd = b""
        # Who speaks here, as far as they have said so.
        self._number: tuple[str, ...] = ()
        self._silence = house.loop.call_later(_PATIENCE_SECONDS, self._nothing_came)
        self.received_bytes = 0
        house.listening.append(self)

    @property
    def lost_bytes(self) -> int:
        """What sounded and was no whole word: a byte that was left out or changed on its way shows here."""
        return self._reader.lost_bytes

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            self._alive()
            self._take(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            self._alive()
            self._obey(frame.get_payload_as_bytes())
        else:
            self.closing(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        super().on_ws_disconnected(transport)
        self._silence.cancel()

    def _alive(self) -> None:
        self._silence.cancel()
        self._silence = self.house.loop.call_later(_PATIENCE_SECONDS, self._nothing_came)

    def _nothing_came(self) -> None:
        self.shut(WSCloseCode.INTERNAL_ERROR, "NET-0001: no audio and no message within the timeout window")

    def _obey(self, text: bytes) -> None:
        kind = msgspec.json.decode(text, type=dict[str, Any]).get("type")
        match kind:
            case "KeepAlive":
                return
            case "Finalize":
                self._final(by_request=True)
            case "CloseStream":
                self.shut(WSCloseCode.OK, "")
            case _:
                self.shut(WSCloseCode.POLICY_VIOLATION, "DATA-0000")

    def _take(self, received: bytes) -> None:
        if self._linear:
            received = self._odd + received
            self._odd = received[len(received) & ~1 :]
            received = encode(np.frombuffer(received[: len(received) & ~1], np.int16))
        self.received_bytes += len(received)
        self._heard += self._reader.feed(received)
        self._number = number_in([word.text for word in self._heard]) or self._number
        if not self._heard:
            return
        now_ms = self.received_bytes // BYTES_PER_MS
        if (
            self._pause_ms is not None
            and not self._reader.within_word
            and now_ms - self._heard[-1].end // BYTES_PER_MS >= max(self._pause_ms, 100)
        ):
            self._final(by_request=False)
        elif self._interims and len(self._heard) > self._told_words and now_ms - self._interim_at_ms >= _INTERIM_EVERY_MS:
            self._told_words, self._interim_at_ms = len(self._heard), now_ms
            self._later(self._results(tuple(self._heard), is_final=False, speech_final=False, from_finalize=False))

    def _final(self, *, by_request: bool) -> None:
        marked = by_request and self._draws.random() >= _UNMARKED_SHARE
        words, self._heard, self._told_words = tuple(self._heard), [], 0
        results = self._results(words, is_final=True, speech_final=not by_request, from_finalize=marked)
        self._segment_bytes = self.received_bytes
        self._later(results, final=words)

    def _later(self, results: Mapping[str, Any], final: tuple[Word, ...] = ()) -> None:
        self.house.loop.call_later(RESULT_AFTER_MS / 1000, self._send_results, msgspec.json.encode(results), final)

    def _send_results(self, message: bytes, final: tuple[Word, ...]) -> None:
        self.tell(message)
        if final:
            self.house.note("final", [*self._number, *(word.text for word in final)])

    def _results(self, words: tuple[Word, ...], *, is_final: bool, speech_final: bool, from_finalize: bool) -> dict[str, Any]:
        seconds, began = self.received_bytes / 8000, self._segment_bytes / 8000
        alternative = {
            "transcript": _written(words),
            "confidence": 0.99 if words else 0.0,
            "words": [
                {"word": word.text, "start": word.start / 8000, "end": word.end / 8000, "confidence": 0.99, "punctuated_word": word.text}
                for word in words
            ],
        }
        return {
            "type": "Results", "channel_index": [0, 1], "duration": seconds - began, "start": began, "is_final": is_final,
            "speech_final": speech_final, "channel": {"alternatives": [alternative]},
            "metadata": {
                "request_id": self.request_id, "model_info": {"name": "bench-nova-3", "version": "0", "arch": "nova-3"},
                "model_uuid": "00000000-0000-0000-0000-000000000000",
            },
            **({"from_finalize": True} if from_finalize else {}),
        }  # fmt: skip


def _written(words: Sequence[Word]) -> str:
    if not words:
        return ""
    text = " ".join(word.text for word in words)
    asks = any(word.text in _QUESTIONS for word in words)
    end = "" if words[-1].text in _OPEN_WORDS else "?" if asks else "."
    return text[0].upper() + text[1:] + end

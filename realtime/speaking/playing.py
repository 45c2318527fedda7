"""The agent's sound on its way to the carrier and the recording: sent, kept, thrown away or sent again as the machine says."""

from collections.abc import Callable
from typing import Protocol, assert_never

from realtime.audio import BYTES_PER_MS
from realtime.hearing.echo import Echo
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.recording.recorder import Recorder
from realtime.speaking.keeping import Keeping

# By then a pause is over: its speech has been played again, or is no longer wanted.
_LONGEST_PAUSE_MS = 30_000

Sound = do.Play | do.Keep | do.PausePlayout | do.Replay | do.ClearPlayout


class Outlet(Protocol):
    """The way to the carrier. Nothing blocks."""

    def play(self, mulaw: bytes) -> None: ...
    def clear(self) -> None: ...


class Playing:
    """One call's. Gives WordFound."""

    def __init__(
        self, outlet: Outlet, recorder: Recorder, echo: Echo, give: Callable[[signals.Signal], None], now_ms: Callable[[], int]
    ) -> None:
        self._outlet, self._recorder, self._echo = outlet, recorder, echo
        self._give, self._now_ms = give, now_ms
        self._keeping = Keeping()

    def perform(self, sound: Sound, audio: bytes) -> None:
        """`audio` is what has just arrived from the voice."""
        match sound:
            case do.Play(utterance=utterance, from_sample=from_sample):
                self._send(from_sample, audio)
                self._keeping.add(utterance, audio, at_ms=self._now_ms(), until_sample=from_sample + len(audio))
            case do.Keep(utterance=utterance):
                at_ms = self._now_ms()
                self._keeping.add(utterance, audio, at_ms=at_ms, until_sample=(at_ms + _LONGEST_PAUSE_MS) * BYTES_PER_MS)
            case do.PausePlayout(utterance=utterance, sample=sample):
                self._clear()
                begins = self._keeping.word_begins(utterance, sample)
                self._give(signals.WordFound(at_ms=self._now_ms(), utterance=utterance, sample=begins))
            case do.Replay(utterance=utterance, first=first, samples=samples, from_sample=from_sample):
                self._send(from_sample, self._keeping.piece(utterance, first, samples, until_sample=from_sample + samples))
            case do.ClearPlayout():
                self._clear()
            case _:
                assert_never(sound)

    def _send(self, from_sample: int, mulaw: bytes) -> None:
        self._outlet.play(mulaw)
        self._recorder.agent(from_sample, mulaw)
        self._echo.sent(from_sample, mulaw)

    def _clear(self) -> None:
        self._outlet.clear()
        self._recorder.cut(self._now_ms())
        self._echo.cut(self._now_ms() * BYTES_PER_MS)

"""Spoken calls through the very detector, contour and turn-taking of the product, in virtual time, by a recogniser of fixed delays."""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from infra.adapters.silero.detector import SileroVoiceActivity
from realtime.audio import FRAME_BYTES, FRAME_MS
from realtime.hearing import vad
from realtime.hearing.contours import Contour
from realtime.machine.briefing import Thresholds
from realtime.machine.effects import CancelTimer, FinalizeHearing, SetTimer
from realtime.machine.signals import SpeechStarted, SpeechStopped, Timer, TimerFired, WordsRecognised
from realtime.speaking import playout
from realtime.thinking.speculating import FLUSHES_TO_SPARE
from realtime.turns.phrases import looks_complete
from realtime.turns.turn_taking import (
    Complete,
    Decision,
    Floor,
    FloorEffect,
    FloorSignal,
    GoesOn,
    LikelyOver,
    NotUnderstood,
    TurnOver,
    step,
)
from realtime.turns.turn_taking import ready as turn_ready
from tests.benchmarks.speech.sounds import Spoken
from tests.benchmarks.voice.listening import RESULT_AFTER_MS
from tests.benchmarks.voice.scores import TO_SOUND_MS
from tests.benchmarks.voice.speaking import FIRST_BYTE_AFTER_MS

Windows: TypeAlias = Sequence[tuple[int, float]]

# The detector gathers windows of all calls for so long.
_BATCH_MS: Final = 8
# What the recogniser's own kind does: one final of five does not say that it answers, one of twenty is late.
_UNMARKED_SHARE: Final = 0.2
_LATE_SHARE: Final = 0.05
_LATE_MS: Final = 300
_THINKING_MS: Final = TO_SOUND_MS - FIRST_BYTE_AFTER_MS
_QUESTION: Final = frozenset({"what", "when", "where", "who", "which", "how", "why", "do", "does", "can", "could", "is", "are", "may"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Interims:
    """How soon a recogniser tells words that are not final; `only_new`: not before there is another one."""

    every_ms: int
    lag_ms: int
    only_new: bool = False


SLOW: Final = Interims(every_ms=200, lag_ms=250)
# As in the bench of calls.
PROMPT: Final = Interims(every_ms=300, lag_ms=RESULT_AFTER_MS, only_new=True)


async def heard_windows(calls: Sequence[Spoken]) -> list[Windows]:
    """Silero's probabilities for each call, as the detector gives them."""
    detector, loop = SileroVoiceActivity(), asyncio.get_running_loop()
    heard = [loop.create_future() for _ in calls]
    for call, future in zip(calls, heard, strict=True):
        detector.open(future.set_result).feed(call.mulaw)
    return [tuple(await future) for future in heard]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An answer that was begun ahead; `spoken`: its first sentence is spoken as well, and kept back."""

    asked_ms: int
    spoken: bool

    @property
    def ready_ms(self) -> int:
        return self.asked_ms + _THINKING_MS + (FIRST_BYTE_AFTER_MS if self.spoken else 0)

    def sounds_ms(self, over_ms: int) -> int:
        """When it can be heard, if the turn is over at `over_ms`."""
        return max(over_ms, self.ready_ms) + (0 if self.spoken else FIRST_BYTE_AFTER_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A decision that the turn is over. `draft`: what was thought ahead of it, by the same words, of which the last came at `final_ms`."""

    at_ms: int
    words: str
    draft: Draft | None
    final_ms: int = 0

    @property
    def early(self) -> bool:
        """Whether the answer was begun before the words were final."""
        return self.draft is not None and self.draft.asked_ms < self.final_ms

    @property
    def sounds_ms(self) -> int:
        """When an answer begins to sound, by the providers' fixed delays."""
        return (self.draft or Draft(asked_ms=self.at_ms, spoken=False)).sounds_ms(self.at_ms)


@dataclass(slots=True)
class Listener:
    """One call's floor, with alarm clocks and a recogniser. `draws`: the recogniser's whims."""

    call: Spoken
    thresholds: Thresholds
    hearing: vad.Thresholds
    draws: random.Random
    complete: Complete = looks_complete
    interims: Interims = SLOW
    floor: Floor = field(default_factory=Floor)
    taken: list[Taken] = field(default_factory=list)
    finalizes: int = 0
    misheard: int = 0
    drafts: int = 0
    _now_ms: int = 0
    _order: Iterator[int] = field(default_factory=itertools.count)
    _due: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _timers: dict[Timer, int] = field(default_factory=dict)
    _draft: Draft | None = None
    _drafted: int = 0
    _speech_of_agent: playout.Speech = field(default_factory=playout.Speech)
    _words: list[tuple[int, int, str]] = field(default_factory=list)
    _speech: vad.Activity = vad.SILENT
    _contour: Contour = field(default_factory=Contour)
    _began_ms: int = 0
    _heard_ms: int = 0
    _final_ms: int = 0
    _told: int = 0
    _told_ms: int = 0

    def run(self, windows: Windows) -> list[Taken]:
        """Listen to the call, frame by frame as they arrive; the decisions."""
        self._words = _timed_words(self.call)
        ready = iter(windows)
        window = next(ready, None)
        for index in range(len(self.call.mulaw) // FRAME_BYTES):
            arrived_ms = (index + 1) * FRAME_MS
            self._until(arrived_ms)
            self._heard_ms = arrived_ms
            self._contour.feed(arrived_ms, self.call.mulaw[index * FRAME_BYTES : (index + 1) * FRAME_BYTES])
            while window is not None and window[0] <= arrived_ms:
                self._later(arrived_ms + _BATCH_MS, self._window, window)
                window = next(ready, None)
            if words := self._interim(arrived_ms):
                self._recognised(words, final=False, marked=False, end_ms=words[-1][1])
        return self.taken

    def _later(self, at_ms: int, happen: Callable[..., None], *told: object) -> None:
        heapq.heappush(self._due, (at_ms, next(self._order), lambda: happen(*told)))

    def _until(self, at_ms: int) -> None:
        while self._due and self._due[0][0] <= at_ms:
            self._now_ms, _, happen = heapq.heappop(self._due)
            happen()
        self._now_ms = at_ms

    def _window(self, window: tuple[int, float]) -> None:
        self._speech, changes = vad.steps(self._speech, self.hearing, [window], self._contour.quiet_ms)
        for change in changes:
            if isinstance(change, vad.SpeechStarted):
                self._began_ms = self._contour.began(change.at_ms)
                self._give(SpeechStarted(at_ms=self._now_ms, since_ms=self._began_ms))
            else:
                self._give(SpeechStopped(at_ms=self._now_ms, ended_ms=max(self._contour.ended(change.at_ms), self._began_ms)))

    def _spoken_by(self, at_ms: int) -> list[tuple[int, int, str]]:
        return [word for word in self._words if word[1] <= at_ms]

    def _interim(self, arrived_ms: int) -> list[tuple[int, int, str]]:
        told, words = self.interims, self._spoken_by(arrived_ms - self.interims.lag_ms)
        if not told.only_new:
            return words if arrived_ms % told.every_ms == 0 else []
        if len(words) <= self._told or arrived_ms - self._told_ms < told.every_ms:
            return []
        self._told, self._told_ms = len(words), arrived_ms
        return words

    def _finalize(self) -> None:
        self.finalizes += 1
        given_ms = self._now_ms
        late_ms = _LATE_MS if self.draws.random() < _LATE_SHARE else 0
        self._later(given_ms + RESULT_AFTER_MS + late_ms, self._final, given_ms, self.draws.random() >= _UNMARKED_SHARE)

    def _final(self, given_ms: int, marked: bool) -> None:
        words = self._spoken_by(given_ms)
        self._words = self._words[len(words) :]
        self._told, self._final_ms = 0, self._now_ms
        self._recognised(words, final=True, marked=marked, end_ms=given_ms)

    def _recognised(self, words: Sequence[tuple[int, int, str]], *, final: bool, marked: bool, end_ms: int) -> None:
        text = " ".join(word for _, _, word in words)
        if text and final:
            # Asked for a final, a recogniser ends a sentence, whether it is one or not.
            text += "?" if words[0][2].lower() in _QUESTION else "."
        start_ms = words[0][0] if words else end_ms
        quiet_ms = self._contour.quiet_ms(self._heard_ms) if self.floor.speaking and not final else 0
        self._give(
            WordsRecognised(
                quiet_ms=quiet_ms,
                at_ms=self._now_ms,
                text=text,
                is_final=final,
                from_finalize=marked,
                start_ms=start_ms,
                end_ms=end_ms,
                confidence=0.9,
            )
        )

    def _timer(self, timer: Timer, at_ms: int) -> None:
        if self._timers.get(timer) == at_ms:
            del self._timers[timer]
            self._give(TimerFired(at_ms=at_ms, timer=timer))

    def _give(self, signal: FloorSignal) -> None:
        ahead = self.thresholds.speculation and self.thresholds.answer_within_ms > 0
        self._follow(*step(self.floor, signal, self.thresholds, agent_talks=False, complete=self.complete, ahead=ahead))
        self._look()

    def _look(self) -> None:
        if self.floor.waits and (self._draft is None or self._now_ms >= self._draft.ready_ms):
            self._follow(*turn_ready(self.floor, self._now_ms, self.thresholds, complete=self.complete))

    def _think_ahead(self) -> None:
        """As the machine does, with the same bounds."""
        if self._drafted >= self.thresholds.speculations or not self.thresholds.speculation:
            return
        spoken = self.thresholds.speak_ahead and playout.flushes_left(self._speech_of_agent, self._now_ms) >= FLUSHES_TO_SPARE
        if spoken:
            self._speech_of_agent = playout.flushed(self._speech_of_agent, self._now_ms)
        self._drafted, self.drafts = self._drafted + 1, self.drafts + 1
        self._draft = Draft(asked_ms=self._now_ms, spoken=spoken)
        self._later(self._draft.ready_ms, self._look)

    def _answer(self, words: str) -> None:
        self.taken.append(Taken(at_ms=self._now_ms, words=words, draft=self._draft, final_ms=self._final_ms))
        # Two sentences, of which one may be spoken.
        for _ in range(1 if self._draft is not None and self._draft.spoken else 2):
            self._speech_of_agent = playout.flushed(self._speech_of_agent, self._now_ms)
        self._draft, self._drafted = None, 0

    def _follow(self, floor: Floor, outcome: Sequence[FloorEffect | Decision]) -> None:
        self.floor = floor
        for one in outcome:
            match one:
                case SetTimer(timer=timer, at_ms=at_ms):
                    self._timers[timer] = at_ms
                    self._later(at_ms, self._timer, timer, at_ms)
                case CancelTimer(timer=timer):
                    self._timers.pop(timer, None)
                case FinalizeHearing():
                    self._finalize()
                case LikelyOver():
                    self._think_ahead()
                case GoesOn():
                    self._draft = None
                case TurnOver(words=words):
                    self._answer(words)
                case NotUnderstood():
                    self.misheard += 1
                    self._draft, self._drafted = None, 0


def _timed_words(call: Spoken) -> list[tuple[int, int, str]]:
    """Each word's beginning, end and letters, spread over its piece by their number."""
    words: list[tuple[int, int, str]] = []
    for piece in itertools.chain.from_iterable(call.turns):
        parts = piece.text.split()
        each_ms = (piece.ended_ms - piece.began_ms) / sum(len(part) for part in parts)
        at_ms = float(piece.began_ms)
        for part in parts:
            words.append((round(at_ms), round(at_ms + len(part) * each_ms), part))
            at_ms += len(part) * each_ms
    return words

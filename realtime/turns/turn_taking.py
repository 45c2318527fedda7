"""Who has the floor: when the caller's turn is over, and when they speak over the agent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from realtime.machine.briefing import Thresholds
from realtime.machine.effects import CancelTimer, FinalizeHearing, SetTimer
from realtime.machine.signals import SpeechStarted, SpeechStopped, Timer, TimerFired, WordsRecognised
from realtime.turns.phrases import looks_complete, without_repetition


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOver:
    """The caller said `words` and gave the floor."""

    words: str
    started_ms: int
    ended_ms: int
    recognised_ms: int
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotUnderstood:
    """There was a voice, and no words came of it."""

    started_ms: int
    ended_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokeOver:
    """The caller has spoken over the agent for long enough to mean it."""

    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyOver:
    """The turn is probably over with `words`: worth thinking ahead for, not yet worth answering."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoesOn:
    """It was not: speech or other words came after a LikelyOver, whose words count no more."""


Decision: TypeAlias = TurnOver | NotUnderstood | SpokeOver | LikelyOver | GoesOn
FloorSignal: TypeAlias = SpeechStarted | SpeechStopped | WordsRecognised | TimerFired
FloorEffect: TypeAlias = SetTimer | CancelTimer | FinalizeHearing


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The caller's side of the conversation. `settled_ms` is the call time up to which words belong to turns that are over."""

    speaking: bool = False
    started_ms: int | None = None
    ended_ms: int = 0
    awaiting_final: bool = False
    finals: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    interim: str = ""
    recognised_ms: int | None = None
    settled_ms: int = -1
    settled_words: str = ""

    @property
    def open(self) -> bool:
        """Whether the caller has begun a turn that is not over."""
        return self.started_ms is not None

    @property
    def words(self) -> str:
        """What is known of the open turn: finals, and the interim after them."""
        return " ".join(part for part in (*self.finals, self.interim) if part)

    @property
    def confidence(self) -> float:
        """The mean of the finals'; 0 when there is none."""
        return sum(self.confidences) / len(self.confidences) if self.confidences else 0.0


Outcome: TypeAlias = tuple[Floor, Sequence[FloorEffect | Decision]]


def step(
    floor: Floor, signal: FloorSignal, thresholds: Thresholds, *, agent_talks: bool, complete: Callable[[str], bool] = looks_complete
) -> Outcome:
    """`agent_talks`: the agent has more to say than the tail of a word, so that speech now would be over it.

    `complete`: whether these words need no waiting for more.
    """
    match signal:
        case SpeechStarted():
            return _started(floor, signal, thresholds, agent_talks=agent_talks)
        case SpeechStopped(at_ms=at_ms, ended_ms=ended_ms):
            if not floor.speaking:
                return floor, ()
            stopped = replace(floor, speaking=False, ended_ms=ended_ms, awaiting_final=True)
            wait = SetTimer(timer=Timer.FINAL, at_ms=at_ms + thresholds.final_within_ms)
            return stopped, (CancelTimer(timer=Timer.BARGE_IN), FinalizeHearing(), wait)
        case WordsRecognised():
            return _recognised(floor, signal, thresholds, complete)
        case TimerFired(timer=Timer.BARGE_IN):
            if floor.speaking and agent_talks and floor.started_ms is not None:
                return floor, (SpokeOver(since_ms=floor.started_ms),)
            return floor, ()
        case TimerFired(timer=Timer.FINAL | Timer.PATIENCE, at_ms=at_ms):
            return (floor, ()) if floor.speaking or not floor.open else _over(floor, at_ms)
        case _:
            return floor, ()


def _started(floor: Floor, signal: SpeechStarted, thresholds: Thresholds, *, agent_talks: bool) -> Outcome:
    if floor.speaking:
        return floor, ()
    since_ms = max(signal.since_ms, floor.settled_ms, 0)
    began = floor.started_ms if floor.started_ms is not None else since_ms
    effects: list[FloorEffect | Decision] = [CancelTimer(timer=Timer.FINAL), CancelTimer(timer=Timer.PATIENCE)]
    # A cough is shorter than a word: only sustained speech takes the floor.
    due_ms = since_ms + thresholds.barge_in_after_ms
    if agent_talks:
        effects.append(SpokeOver(since_ms=since_ms) if due_ms <= signal.at_ms else SetTimer(timer=Timer.BARGE_IN, at_ms=due_ms))
    return replace(floor, speaking=True, started_ms=began, awaiting_final=False), effects


def _recognised(floor: Floor, signal: WordsRecognised, thresholds: Thresholds, complete: Callable[[str], bool]) -> Outcome:
    text = signal.text.strip()
    if not signal.is_final:
        return (floor, ()) if signal.end_ms <= floor.settled_ms else (replace(floor, interim=text), ())
    if signal.start_ms < floor.settled_ms:
        # The final of a turn that was decided on its interims: what it repeats is known.
        text = without_repetition(text, floor.settled_words)
        if not text and not floor.open:
            return floor, ()
    began = floor.started_ms if floor.started_ms is not None or not text else max(signal.start_ms, floor.settled_ms, 0)
    heard = replace(
        floor, started_ms=began, interim="", recognised_ms=signal.at_ms, ended_ms=floor.ended_ms if floor.open else signal.end_ms
    )
    if text:
        heard = replace(heard, finals=(*floor.finals, text), confidences=(*floor.confidences, signal.confidence))
    if heard.speaking or not heard.open:
        return heard, ()
    # A recogniser does not always say that a final answers our request: one that reaches the end of speech is as good.
    answered = signal.from_finalize or (heard.awaiting_final and bool(text) and signal.end_ms >= heard.ended_ms)
    if heard.awaiting_final and not answered:
        return heard, ()
    heard = replace(heard, awaiting_final=False)
    if not heard.finals or complete(heard.words):
        return _over(heard, signal.at_ms)
    return heard, (CancelTimer(timer=Timer.FINAL), SetTimer(timer=Timer.PATIENCE, at_ms=signal.at_ms + thresholds.patience_ms))


def _over(floor: Floor, at_ms: int) -> Outcome:
    words, began = floor.words, floor.started_ms or 0
    # Without the recogniser's last word a final of this turn may still come, and must not begin another one.
    unsettled = floor.awaiting_final
    settled_ms = max(at_ms if unsettled else floor.ended_ms, began)
    fresh = Floor(ended_ms=floor.ended_ms, settled_ms=settled_ms, settled_words=words if unsettled else "")
    cancelled = (CancelTimer(timer=Timer.FINAL), CancelTimer(timer=Timer.PATIENCE))
    if not words:
        return fresh, (*cancelled, NotUnderstood(started_ms=began, ended_ms=floor.ended_ms))
    over = TurnOver(
        words=words, started_ms=began, ended_ms=floor.ended_ms, confidence=floor.confidence,
        recognised_ms=floor.recognised_ms if floor.recognised_ms is not None else at_ms,
    )  # fmt: skip
    return fresh, (*cancelled, over)

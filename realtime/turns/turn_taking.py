"""Who has the floor: when the caller's turn is over, and when they speak over the agent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from realtime.hearing.marks import TurnMark
from realtime.machine.briefing import Thresholds
from realtime.machine.effects import CancelTimer, FinalizeHearing, SetTimer
from realtime.machine.signals import SpeechStarted, SpeechStopped, Timer, TimerFired, WordsRecognised
from realtime.turns.patience import Patience
from realtime.turns.phrases import ENGLISH, begins_as_well, looks_complete, plain_words, trails_off, without_repetition


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
    """The turn is probably over with `words`: worth thinking ahead for, not yet worth answering.

    It holds until a GoesOn, or a TurnOver of the same words but for punctuation and case.
    """

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoesOn:
    """It was not: speech or other words came after a LikelyOver, whose words count no more."""


Decision: TypeAlias = TurnOver | NotUnderstood | SpokeOver | LikelyOver | GoesOn
FloorSignal: TypeAlias = SpeechStarted | SpeechStopped | WordsRecognised | TimerFired
FloorEffect: TypeAlias = SetTimer | CancelTimer | FinalizeHearing

# What follows so soon is the same breath: the gap is within a word, or the detector's.
_ONE_BREATH_MS = 200
# As quiet as between two words, behind words that need no other.
_QUIET_BEHIND_WORDS_MS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The caller's side of the conversation. `settled_ms` is the call time up to which words belong to turns that are over.

    `likely`: the words of the LikelyOver that holds; `waits`: the silence is long enough, and the answer to them is not `ready`.
    `judged`: the recogniser follows this turn, and says itself when it is over.
    `pause_ms`: the pause before this stretch of speech, a lesson as soon as words come of it; `paused_whole`: what stood before it looked
    complete.
    """

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
    settled_whole: bool = False
    likely: str = ""
    waits: bool = False
    judged: bool = False
    patience: Patience = field(default_factory=Patience)
    pause_ms: int = 0
    paused_whole: bool = False
    resumed_ms: int = 0

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
Complete: TypeAlias = Callable[[str], bool]
_NO_TIMERS = (CancelTimer(timer=Timer.FINAL), CancelTimer(timer=Timer.PATIENCE), CancelTimer(timer=Timer.STABLE))


def step(
    floor: Floor, signal: FloorSignal, thresholds: Thresholds, *, agent_talks: bool, complete: Complete = looks_complete,
    ahead: bool = False, language: str = ENGLISH,
) -> Outcome:  # fmt: skip
    """`agent_talks`: the agent has more to say than the tail of a word, so that speech now would be over it.

    `complete`: whether these words, of `language`, need no waiting for more. `ahead`: an answer is begun at a LikelyOver, and the turn is
    not over before `ready` says that it can be heard: until then it costs nobody anything to wait for more words.
    """
    match signal:
        case SpeechStarted():
            return _started(floor, signal, thresholds, complete, agent_talks=agent_talks)
        case SpeechStopped():
            return _stopped(floor, signal, thresholds, complete) if floor.speaking else (floor, ())
        case WordsRecognised():
            return _recognised(floor, signal, thresholds, complete, ahead=ahead, language=language)
        case TimerFired(timer=Timer.BARGE_IN):
            if floor.speaking and agent_talks and floor.started_ms is not None:
                return floor, (SpokeOver(since_ms=floor.started_ms),)
            return floor, ()
        case TimerFired(timer=Timer.FINAL, at_ms=at_ms) if floor.judged and floor.open and not floor.speaking and not floor.awaiting_final:
            # The recogniser has had its time to judge: now it is asked to come to an end.
            wait = SetTimer(timer=Timer.FINAL, at_ms=at_ms + thresholds.final_within_ms)
            return replace(floor, awaiting_final=True), (FinalizeHearing(), wait)
        case TimerFired(timer=Timer.STABLE) if floor.speaking and floor.interim and complete(floor.words):
            # The detector hears something still, the recogniser no word any more.
            return _likely(floor, floor.words)
        case TimerFired(timer=Timer.FINAL | Timer.PATIENCE) if floor.speaking or not floor.open:
            return floor, ()
        case TimerFired(timer=Timer.PATIENCE, at_ms=at_ms) if ahead:
            return _when_ready(floor, at_ms, thresholds, complete)
        case TimerFired(timer=Timer.FINAL | Timer.PATIENCE, at_ms=at_ms):
            return _over(floor, at_ms, thresholds, complete)
        case _:
            return floor, ()


def ready(floor: Floor, at_ms: int, thresholds: Thresholds, *, complete: Complete = looks_complete) -> Outcome:
    """The answer that was begun ahead can be heard, or there is none: a turn that waited for it is over."""
    return _over(floor, at_ms, thresholds, complete) if floor.waits else (floor, ())


def _when_ready(floor: Floor, at_ms: int, thresholds: Thresholds, complete: Complete) -> Outcome:
    """The silence is long enough: over when the answer can be heard, and not later than the version allows."""
    until_ms = floor.ended_ms + thresholds.answer_within_ms
    if at_ms >= until_ms or not floor.words:
        return _over(floor, at_ms, thresholds, complete)
    floor, likely = _likely(floor, floor.words)
    wait = SetTimer(timer=Timer.PATIENCE, at_ms=until_ms)
    return replace(floor, waits=True), (CancelTimer(timer=Timer.FINAL), wait, *likely)


def _started(floor: Floor, signal: SpeechStarted, thresholds: Thresholds, complete: Complete, *, agent_talks: bool) -> Outcome:
    if floor.speaking:
        return floor, ()
    since_ms = max(signal.since_ms, floor.settled_ms, 0)
    began = floor.started_ms if floor.started_ms is not None else since_ms
    one_breath = floor.open and since_ms - floor.ended_ms < _ONE_BREATH_MS
    # A cough is shorter than a word: only sustained speech takes the floor.
    over_since_ms = began if one_breath else since_ms
    due_ms = over_since_ms + thresholds.barge_in_after_ms
    floor, effects = _likely(_noting_pause(floor, since_ms, thresholds, complete), "")
    effects = [*_NO_TIMERS, *effects]
    if agent_talks:
        effects.append(SpokeOver(since_ms=over_since_ms) if due_ms <= signal.at_ms else SetTimer(timer=Timer.BARGE_IN, at_ms=due_ms))
    return replace(floor, speaking=True, started_ms=began, awaiting_final=False, waits=False), effects


def _noting_pause(floor: Floor, since_ms: int, thresholds: Thresholds, complete: Complete) -> Floor:
    """Remember the pause that ends here, if it was one within a turn: also when we had taken the turn for over, right before."""
    pause_ms = since_ms - floor.ended_ms
    whole = complete(floor.words) if floor.open else floor.settled_whole
    if not floor.ended_ms or not (floor.words if floor.open else True) or not _ONE_BREATH_MS <= pause_ms <= thresholds.most_patience_ms:
        return floor
    return replace(floor, pause_ms=pause_ms, paused_whole=whole, resumed_ms=since_ms)


def _stopped(floor: Floor, signal: SpeechStopped, thresholds: Thresholds, complete: Complete) -> Outcome:
    stopped = replace(floor, speaking=False, ended_ms=signal.ended_ms, awaiting_final=not floor.judged)
    quiet = CancelTimer(timer=Timer.BARGE_IN)
    if floor.judged:
        return stopped, (quiet, SetTimer(timer=Timer.FINAL, at_ms=signal.at_ms + thresholds.turn_within_ms))
    wait = SetTimer(timer=Timer.FINAL, at_ms=signal.at_ms + thresholds.final_within_ms)
    # Often the interims have it all: thinking can begin while the recogniser's last word is on its way.
    # What was known before a pause says nothing of what was said after it.
    known = floor.interim or floor.recognised_ms is None or floor.recognised_ms > floor.resumed_ms
    stopped, likely = _likely(stopped, stopped.words if known and complete(stopped.words) else "")
    return stopped, (quiet, FinalizeHearing(), wait, *likely)


def _likely(floor: Floor, words: str) -> tuple[Floor, list[FloorEffect | Decision]]:
    """What is to be said when the turn would end with `words`; none: when it goes on."""
    if plain_words(words) == plain_words(floor.likely):
        return floor, []
    taken_back: list[FloorEffect | Decision] = [GoesOn()] if floor.likely else []
    return replace(floor, likely=words), [*taken_back, LikelyOver(words=words)] if words else taken_back


def _recognised(
    floor: Floor, signal: WordsRecognised, thresholds: Thresholds, complete: Complete, *, ahead: bool, language: str
) -> Outcome:  # fmt: skip
    text = signal.text.strip()
    if not signal.is_final:
        return _interim(floor, signal, text, thresholds, complete)
    if signal.start_ms < floor.settled_ms:
        # The final of a turn that was decided on its interims: what it repeats is known.
        text = without_repetition(text, floor.settled_words)
        if not text and not floor.open:
            return floor, ()
    began = floor.started_ms if floor.started_ms is not None or not text else max(signal.start_ms, floor.settled_ms, 0)
    judged = signal.turn is not TurnMark.NONE
    heard = replace(
        floor, started_ms=began, interim="", judged=judged,
        # A final without words, which only answers our question for one, changes nothing of what was known.
        recognised_ms=signal.at_ms if text or floor.recognised_ms is None else floor.recognised_ms,
        ended_ms=floor.ended_ms if floor.open and not (judged and floor.speaking) else signal.end_ms,
    )  # fmt: skip
    if text:
        heard = replace(heard, finals=(*floor.finals, text), confidences=(*floor.confidences, signal.confidence))
        heard = _taught(heard, signal)
    if not heard.open:
        return heard, ()
    if signal.turn is TurnMark.OVER:
        return _over(replace(heard, awaiting_final=False), signal.at_ms, thresholds, complete)
    return (heard, ()) if heard.speaking else _answered(heard, signal, text, thresholds, complete, ahead=ahead, language=language)


def _interim(floor: Floor, signal: WordsRecognised, text: str, thresholds: Thresholds, complete: Complete) -> Outcome:
    if signal.end_ms <= floor.settled_ms:
        return floor, ()
    before = plain_words(floor.words)
    heard = replace(floor, interim=text, judged=signal.turn is not TurnMark.NONE)
    match signal.turn:
        case TurnMark.LIKELY_OVER:
            return _likely(heard, heard.words)
        case TurnMark.GOES_ON:
            return _likely(heard, "")
        case _ if heard.judged or not heard.open or plain_words(heard.words) == before:
            return heard, ()
        case _ if heard.speaking and signal.quiet_ms >= _QUIET_BEHIND_WORDS_MS and complete(heard.words):
            # The detector is behind its time at an end, and so is our question for a final.
            return _likely(heard, heard.words)
        case _ if heard.speaking:
            # What a LikelyOver said of fewer words holds no more.
            heard, taken_back = _likely(heard, "")
            stable = SetTimer(timer=Timer.STABLE, at_ms=signal.at_ms + thresholds.stable_after_ms)
            return heard, (*taken_back, stable) if complete(heard.words) else taken_back
        case _:
            # The last word came after the voice had stopped, and before the final that was asked for.
            return _likely(replace(heard, waits=False), heard.words if complete(heard.words) else "")


def _answered(
    heard: Floor, signal: WordsRecognised, text: str, thresholds: Thresholds, complete: Complete, *, ahead: bool, language: str
) -> Outcome:  # fmt: skip
    """A final while the caller is silent: over at once, or as soon as the silence is long enough for such words."""
    # A recogniser does not always say that a final answers our request: one that reaches the end of speech is as good.
    answered = signal.from_finalize or (heard.awaiting_final and bool(text) and signal.end_ms >= heard.ended_ms)
    if heard.awaiting_final and not answered:
        return heard, ()
    heard = replace(heard, awaiting_final=False, waits=False)
    whole, open_end = complete(heard.words), trails_off(heard.words, language)
    silence_ms = heard.patience.silence_ms(thresholds, whole=whole, open_end=open_end)
    if begins_as_well(heard.words, language):
        silence_ms = max(silence_ms, thresholds.lone_word_ms)
    due_ms = heard.ended_ms + silence_ms
    if not heard.finals or due_ms <= signal.at_ms:
        decide = _when_ready if ahead and heard.finals else _over
        return decide(heard, signal.at_ms, thresholds, complete)
    heard, likely = _likely(heard, "" if open_end and not whole else heard.words)
    return heard, (CancelTimer(timer=Timer.FINAL), SetTimer(timer=Timer.PATIENCE, at_ms=due_ms), *likely)


def _taught(heard: Floor, signal: WordsRecognised) -> Floor:
    """Words came of the speech after a pause: so it was one, and this caller makes such pauses."""
    if not heard.pause_ms or signal.end_ms <= heard.resumed_ms:
        return heard
    return replace(heard, patience=heard.patience.after_pause(heard.pause_ms, whole=heard.paused_whole), pause_ms=0)


def _over(floor: Floor, at_ms: int, thresholds: Thresholds, complete: Complete) -> Outcome:
    words, began = floor.words, floor.started_ms or 0
    # Without the recogniser's last word a final of this turn may still come, and must not begin another one.
    unsettled = floor.awaiting_final
    settled_ms = max(at_ms if unsettled else floor.ended_ms, began)
    whole = complete(words)
    fresh = Floor(
        ended_ms=floor.ended_ms, settled_ms=settled_ms, settled_words=words if unsettled else "", settled_whole=whole,
        patience=floor.patience.after_turn(thresholds, whole=whole),
    )  # fmt: skip
    taken_back = (GoesOn(),) if floor.likely and plain_words(words) != plain_words(floor.likely) else ()
    if not words:
        return fresh, (*_NO_TIMERS, *taken_back, NotUnderstood(started_ms=began, ended_ms=floor.ended_ms))
    over = TurnOver(
        words=words, started_ms=began, ended_ms=floor.ended_ms, confidence=floor.confidence,
        recognised_ms=floor.recognised_ms if floor.recognised_ms is not None else at_ms,
    )  # fmt: skip
    return fresh, (*_NO_TIMERS, *taken_back, over)

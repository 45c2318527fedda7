"""The world of a call as it was, asked again: to the same question it gives the same answer after the same time, and else none.

What the caller said and did comes when it came. Alarm clocks are exact. What the carrier played is given back by its length.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from realtime.audio import BYTES_PER_MS
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.effects import Effect
from realtime.machine.signals import Signal
from realtime.machine.state import CallState, Life
from realtime.machine.stepping import step
from realtime.ports import ModelRequest

Step = tuple[Signal, tuple[Effect, ...]]

_ANSWERS: Final = (
    signals.ModelSaid | signals.ModelThought | signals.ModelWantsTool | signals.ModelDone | signals.ToolReturned | signals.VoiceArrived
    | signals.VoiceDelivered | signals.VoiceReady | signals.WordFound | signals.MarkReturned | signals.TimerFired | signals.CommandAccepted
    | signals.CommandDeclined | signals.LogAway
)  # fmt: skip
_SAMPLES_PER_CHARACTER: Final = 520
# A carrier's way, and a voice's, where this call does not say.
_MARK_MS: Final = 40
_FIRST_BYTE_MS: Final = 150
_MOST_STEPS: Final = 200_000


class OtherWorld(Exception):
    """From here the world would have answered otherwise, and nobody knows how."""


@dataclass(slots=True)
class _Asked:
    at_ms: int
    request: ModelRequest
    answers: list[Signal] = field(default_factory=list)
    used: bool = False


@dataclass(slots=True)
class _Spoken:
    at_ms: int
    pieces: list[tuple[int, int]] = field(default_factory=list)
    whole_ms: int | None = None


class Memory:
    """What the world answered in a call."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.asked: dict[int, _Asked] = {}
        self.spoken: dict[int, _Spoken] = {}
        self.texts: dict[str, deque[_Spoken]] = defaultdict(deque)
        self.ahead: dict[str, int] = {}
        self.tools: dict[str, tuple[int, signals.ToolReturned | None]] = {}
        self.uses: dict[str, str] = {}
        self.outcomes: dict[str, deque[tuple[int, Signal]]] = defaultdict(deque)
        self.fired: dict[tuple[signals.Timer, str, int], int] = {}
        self.mark_ms: dict[str, int] = {}
        self.found: dict[tuple[int, int], int] = {}
        self._paused = (0, 0)
        self._ahead: dict[int, tuple[int, str]] = {}
        self._marks: dict[str, int] = {}
        self._end_ms = 0
        self._requests: dict[int, tuple[int, str]] = {}
        self._due: dict[tuple[signals.Timer, str], int] = {}
        for signal, effects in steps:
            self._told(signal)
            for effect in effects:
                self._done(signal, effect)

    def _told(self, signal: Signal) -> None:
        match signal:
            case signals.ModelSaid() | signals.ModelThought() | signals.ModelWantsTool() | signals.ModelDone():
                self._answered(signal.asked, signal)
            case signals.EngineBroke(engine=signals.Engine.MODEL, asked=asked):
                self._answered(asked, signal)
            case signals.ToolReturned(tool_use_id=of) if of in self.uses:
                self.tools[self.uses[of]] = (self.tools[self.uses[of]][0], signal)
            case signals.MarkReturned(name=name) if signal.at_ms >= self._marks.get(name, signal.at_ms):
                self.mark_ms[name] = signal.at_ms - self._marks.get(name, signal.at_ms)
            case signals.WordFound(sample=sample):
                self.found[self._paused] = sample
            case signals.VoiceDelivered(utterance=utterance) if utterance in self.spoken:
                self.spoken[utterance].whole_ms = signal.at_ms
            case signals.VoiceReady(asked=asked) if asked in self._ahead:
                began_ms, text = self._ahead[asked]
                self.ahead[text] = signal.at_ms - began_ms
            case signals.CommandAccepted(request=request) | signals.CommandDeclined(request=request) | signals.LogAway(request=request):
                at_ms, kind = self._requests.get(request, (signal.at_ms, ""))
                self.outcomes[kind].append((signal.at_ms - at_ms, signal))
            case signals.TimerFired(timer=timer, of=of) if (timer, of) in self._due:
                self.fired[timer, of, self._due[timer, of]] = signal.at_ms
            case _:
                pass

    def _answered(self, asked: int, signal: Signal) -> None:
        if asked in self.asked:
            self.asked[asked].answers.append(signal)

    def _done(self, signal: Signal, effect: Effect) -> None:
        at_ms = signal.at_ms
        match effect:
            case do.AskModel(asked=asked, request=request):
                self.asked[asked] = _Asked(at_ms, request)
            case do.Speak(utterance=utterance, text=text):
                self.spoken[utterance] = _Spoken(at_ms)
                self.texts[text].append(self.spoken[utterance])
            case do.SpeakAhead(asked=asked, text=text):
                self._ahead[asked] = (at_ms, text)
            case do.Play(utterance=utterance, samples=samples, from_sample=from_sample):
                self._end_ms = (from_sample + samples) // BYTES_PER_MS
                if utterance in self.spoken:
                    self.spoken[utterance].pieces.append((at_ms, samples))
            case do.Keep(utterance=utterance) if utterance in self.spoken and isinstance(signal, signals.VoiceArrived):
                self.spoken[utterance].pieces.append((at_ms, signal.samples))
            case do.Replay(samples=samples, from_sample=from_sample):
                self._end_ms = (from_sample + samples) // BYTES_PER_MS
            case do.PausePlayout(utterance=utterance, sample=sample):
                self._paused = (utterance, sample)
            case do.SendMark(name=name):
                self._marks[name] = self._end_ms
            case do.RunTool(use=use):
                self.uses[use.tool_use_id] = use_name(use)
                self.tools[use_name(use)] = (at_ms, None)
            case do.Commit(request=request, command=command):
                self._requests[request] = (at_ms, type(command).__name__)
            case do.SetTimer(timer=timer, at_ms=due, of=of):
                self._due[timer, of] = due
            case _:
                pass


def use_name(use: Any) -> str:
    """A tool with its arguments, by which a run of it is known again."""
    return f"{use.name} {sorted(use.arguments.items(), key=str)}"


class World:
    """A machine in the world of a call as it was. `play` ends with the call, or where the world is not known any more."""

    def __init__(self, memory: Memory, start: CallState, outside: Iterable[Signal]) -> None:
        self.state, self.steps = start, list[Step]()
        self.remarks: dict[str, int] = {}
        self._memory = memory
        self._queue: list[tuple[int, int, str, Signal]] = []
        self._count = 0
        self._gone: dict[str, int] = {}
        self._voice_free_ms = 0
        self._marks: list[str] = []
        self._due: dict[tuple[signals.Timer, str], int] = {}
        self._texts = {text: deque(spoken) for text, spoken in memory.texts.items()}
        self._outcomes = {kind: deque(outcomes) for kind, outcomes in memory.outcomes.items()}
        self._unused = list(memory.asked.values())
        for signal in outside:
            self._later(signal.at_ms, "", signal)

    def play(self) -> None:
        try:
            while self._queue and self.state.life is not Life.OVER and len(self.steps) < _MOST_STEPS:
                at_ms, order, of, signal = heapq.heappop(self._queue)
                if self._gone.get(of, -1) > order or (isinstance(signal, signals.TimerFired) and not self._rings(signal, at_ms)):
                    continue
                told = replace(signal, at_ms=at_ms)
                self.state, effects = step(self.state, told)
                self.steps.append((told, effects))
                for effect in effects:
                    self._follow(at_ms, effect)
        except OtherWorld as end:
            self.remarks[str(end)] = self.steps[-1][0].at_ms

    def _later(self, at_ms: int, of: str, signal: Signal) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at_ms, self._count, of, signal))

    def _forget(self, of: str) -> None:
        self._gone[of] = self._count + 1

    def _rings(self, signal: signals.TimerFired, at_ms: int) -> bool:
        due = self._due.get((signal.timer, signal.of))
        if due is None or self._memory.fired.get((signal.timer, signal.of, due), due) != at_ms:
            return False
        del self._due[signal.timer, signal.of]
        return True

    def _follow(self, at_ms: int, effect: Effect) -> None:
        match effect:
            case do.AskModel(asked=asked, request=request):
                self._ask(at_ms, asked, request)
            case do.CancelModel(asked=asked):
                self._forget(f"model {asked}")
            case do.Speak(utterance=utterance, text=text):
                self._speak(at_ms, utterance, text)
            case do.SpeakAhead(asked=asked, text=text):
                self._later(at_ms + self._memory.ahead.get(text, _FIRST_BYTE_MS), "", signals.VoiceReady(at_ms=0, asked=asked))
            case do.ClearVoice():
                self._forget("voice")
                self._voice_free_ms = at_ms
            case do.SendMark(name=name):
                self._marks.append(name)
                played_ms = self.state.speech.playout_end // BYTES_PER_MS + self._memory.mark_ms.get(name, _MARK_MS)
                self._later(played_ms, f"mark {name}", signals.MarkReturned(at_ms=0, name=name))
            case do.PausePlayout(utterance=utterance, sample=sample):
                self._no_marks()
                found = self._memory.found.get((utterance, sample), sample)
                self._later(at_ms, "", signals.WordFound(at_ms=0, utterance=utterance, sample=found))
            case do.ClearPlayout():
                self._no_marks()
            case do.RunTool(use=use):
                self._run(at_ms, use)
            case do.CancelTool(tool_use_id=of):
                self._forget(f"tool {of}")
            case do.SetTimer(timer=timer, at_ms=due, of=of):
                self._due[timer, of] = due
                rings_ms = self._memory.fired.get((timer, of, due), due)
                self._later(max(rings_ms, at_ms), "", signals.TimerFired(at_ms=0, timer=timer, of=of))
            case do.CancelTimer(timer=timer, of=of):
                self._due.pop((timer, of), None)
            case do.Commit(request=request, command=command):
                self._commit(at_ms, request, type(command).__name__)
            case _:
                pass

    def _no_marks(self) -> None:
        for name in self._marks:
            self._forget(f"mark {name}")
        self._marks.clear()

    def _ask(self, at_ms: int, asked: int, request: ModelRequest) -> None:
        known = next((one for one in self._unused if one.request == request), None)
        if known is None:
            known = next((one for one in self._unused if one.request.messages == request.messages), None)
            if known is None:
                raise OtherWorld("the model is asked what it was not asked in the call: what it would have said is not known")
            self.remarks.setdefault("the model is asked with other instructions: its answers are those that it gave to the old ones", at_ms)
        self._unused.remove(known)
        for answer in known.answers:
            later = cast(Signal, replace(cast(Any, answer), asked=asked))
            self._later(at_ms + answer.at_ms - known.at_ms, f"model {asked}", later)

    def _speak(self, at_ms: int, utterance: int, text: str) -> None:
        known = self._texts.get(text)
        spoken = known.popleft() if known else None
        begins_ms = max(at_ms, self._voice_free_ms)
        if spoken is None or spoken.whole_ms is None:
            self.remarks.setdefault("what was not spoken to its end in the call lasts as long as its letters take", at_ms)
            whole_ms = begins_ms + _FIRST_BYTE_MS
            self._later(whole_ms, "voice", signals.VoiceArrived(at_ms=0, samples=len(text) * _SAMPLES_PER_CHARACTER))
        else:
            begins_ms = at_ms
            for piece_ms, samples in spoken.pieces:
                self._later(
                    max(begins_ms + piece_ms - spoken.at_ms, self._voice_free_ms), "voice", signals.VoiceArrived(at_ms=0, samples=samples)
                )
            whole_ms = max(begins_ms + spoken.whole_ms - spoken.at_ms, self._voice_free_ms)
        self._later(whole_ms, "voice", signals.VoiceDelivered(at_ms=0, utterance=utterance))
        self._voice_free_ms = whole_ms

    def _run(self, at_ms: int, use: Any) -> None:
        began_ms, answer = self._memory.tools.get(use_name(use), (0, None))
        if answer is None:
            raise OtherWorld(f"the tool {use.name} is run as it was not in the call: what it would have answered is not known")
        later = replace(answer, tool_use_id=use.tool_use_id)
        self._later(at_ms + answer.at_ms - began_ms, f"tool {use.tool_use_id}", later)

    def _commit(self, at_ms: int, request: int, kind: str) -> None:
        known = self._outcomes.get(kind)
        if not known:
            raise OtherWorld(f"the log is asked for {kind} as it was not in the call")
        after_ms, outcome = known.popleft()
        later = cast(Signal, replace(cast(Any, outcome), request=request))
        self._later(at_ms + after_ms, "", later)


def outside(taken: Iterable[Signal]) -> list[Signal]:
    """What came without having been asked for."""
    return [
        signal
        for signal in taken
        if not isinstance(signal, _ANSWERS) and not (isinstance(signal, signals.EngineBroke) and signal.engine is signals.Engine.MODEL)
    ]

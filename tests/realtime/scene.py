"""A call in virtual time: the pure machine, with a voice, a carrier's playout, a log and alarm clocks that are exact."""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from commands.calls.orders import EndCall, Witness
from events.calls.ending import EndedBy
from events.sealing import Sealed
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.briefing import Briefing, Thresholds, Wording
from realtime.machine.signals import Signal
from realtime.machine.state import CallState, Life
from realtime.machine.stepping import step
from realtime.ports import ModelRequest, TokenUsage, Tool, ToolSpec, ToolUse

E = TypeVar("E")

VOICE_DELAY_MS = 40
CARRIER_DELAY_MS = 30
CARRIER_LAG_MS = 60
SAMPLES_PER_CHARACTER = 500
USAGE = TokenUsage(input_tokens=100, output_tokens=20)
# Most scenes are about something else than an answer that is thought of before the turn is over.
AT_ONCE = Thresholds(answer_within_ms=0)
WORDING = Wording(disclosure="You are speaking with an AI assistant.", greeting="Welcome to Smile Dental.")


def sealed(text: str) -> Sealed[str]:
    """A seal that a test can see through."""
    return Sealed("AYB-1/caller", text.encode())


def opened(box: Sealed[str]) -> str:
    return box.box.decode()


def tool(name: str, *, idempotent: bool = True, timeout_ms: int = 3000, fillers: tuple[str, ...] = ()) -> Tool:
    spec = ToolSpec(name=name, description=name, input_schema={"type": "object"})
    return Tool(spec=spec, idempotent=idempotent, timeout_ms=timeout_ms, fillers=fillers)


BRIEFING = Briefing(
    call_id="call_1", caller_ref="ref", caller=sealed("+15550199"), worker="w1", recogniser="ears", model_provider="mind", voice="voice",
    embedded=True, system_prompt="Be kind.", wording=WORDING, thresholds=AT_ONCE, models={"default": "m-default", "fast": "m-fast"},
    seal=sealed, tools=(tool("find_slot"), tool("book_slot", idempotent=False)),
)  # fmt: skip


def briefing(**changes: Any) -> Briefing:
    return replace(BRIEFING, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A stretch of an utterance that came to the caller's ear at `from_sample`."""

    utterance: int
    first: int
    samples: int
    from_sample: int


@dataclass(slots=True)
class Scene:
    """`log_answers`: how the log takes commands. `carrier_plays`: whether marks come back."""

    briefing: Briefing = BRIEFING
    at_ms: int = 0
    log_answers: bool = True
    carrier_plays: bool = True
    voice_speaks: bool = True
    effects: list[do.Effect] = field(default_factory=list)
    watchers: list[Callable[[Signal, tuple[do.Effect, ...]], None]] = field(default_factory=list)
    state: CallState = field(init=False)
    _queue: list[tuple[int, int, Callable[[], object]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)
    _timers: dict[tuple[signals.Timer, str], int] = field(default_factory=dict)
    _arriving: int = 0
    _voice_epoch: int = 0
    _playout_end: int = 0
    _marks: list[tuple[int, str]] = field(default_factory=list)
    _versions: int = 1
    _kept_back: str = ""
    _delivered: dict[int, int] = field(default_factory=dict)
    sounds: list[Sound] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = CallState(briefing=self.briefing)

    # --- what happens ---

    def begin(self) -> "Scene":
        """The media stream starts."""
        self.tell(signals.MediaStarted, stream_sid="MZ1")
        return self

    def greeted(self) -> "Scene":
        """The call has begun, and the caller has heard everything up to the question."""
        return self.begin().hears_all()

    def agreed(self) -> "Scene":
        """The caller has allowed the recording and has heard that we are there for them."""
        return self.greeted().says("yes please").wait(10).hears_all()

    def hears_all(self) -> "Scene":
        """Time passes until the agent has nothing more to say."""
        for _ in range(3000):
            if self.state.reply is None or self.state.life is not Life.TALKING:
                return self
            self.wait(20)
        raise AssertionError("the agent never came to an end")

    def tell(self, kind: type[Any], **fields: Any) -> list[do.Effect]:
        """One signal, now; returns its effects."""
        return self.give(kind(at_ms=self.at_ms, **fields))

    def give(self, signal: Signal) -> list[do.Effect]:
        self._arriving = signal.samples if isinstance(signal, signals.VoiceArrived) else 0
        self.state, effects = step(self.state, signal)
        self.effects.extend(effects)
        for watch in self.watchers:
            watch(signal, effects)
        for effect in effects:
            self._follow(effect)
        return list(effects)

    def wait(self, duration_ms: int) -> "Scene":
        """Let time pass, and everything happen that is due in it."""
        until = self.at_ms + duration_ms
        while self._queue and self._queue[0][0] <= until:
            due, _, happen = heapq.heappop(self._queue)
            self.at_ms = max(self.at_ms, due)
            happen()
        self.at_ms = until
        return self

    def says(self, words: str, *, lasting_ms: int = 800, languages: tuple[tuple[str, int], ...] = ()) -> "Scene":
        """The caller speaks, is recognised 100 ms after the detector noticed the end, and is silent until the turn is over."""
        self.starts_speaking().wait(lasting_ms)
        self.falls_silent(words, languages=languages)
        while self.state.floor.open and self.state.life is Life.TALKING:
            self.wait(20)
        return self

    def starts_speaking(self) -> "Scene":
        self.wait(64)
        self.tell(signals.SpeechStarted, since_ms=self.at_ms - 64)
        return self

    def falls_silent(self, words: str, *, from_finalize: bool = True, languages: tuple[tuple[str, int], ...] = ()) -> "Scene":
        ended = self.at_ms
        self.wait(300)
        self.tell(signals.SpeechStopped, ended_ms=ended)
        self.wait(100)
        started = max(0, ended - 800)
        return self.recognised(words, started_ms=started, ended_ms=ended, from_finalize=from_finalize, languages=languages)

    def recognised(
        self, words: str, *, started_ms: int, ended_ms: int, from_finalize: bool = True, is_final: bool = True,
        languages: tuple[tuple[str, int], ...] = (),
    ) -> "Scene":  # fmt: skip
        self.tell(
            signals.WordsRecognised, text=words, is_final=is_final, from_finalize=from_finalize, start_ms=started_ms, end_ms=ended_ms,
            confidence=0.9, languages=languages,
        )  # fmt: skip
        return self

    def model_answers(self, text: str, *uses: ToolUse) -> "Scene":
        """The open question gets this answer, word by word."""
        asked = self.asked
        for word in text.split():
            self.tell(signals.ModelSaid, asked=asked, text=f"{word} ")
        for use in uses:
            self.tell(signals.ModelWantsTool, asked=asked, use=use)
        self.tell(signals.ModelDone, asked=asked, reason="tool_use" if uses else "end_turn", usage=USAGE)
        return self

    def log_goes_away(self) -> "Scene":
        self.log_answers = False
        return self

    def hangs_up(self) -> "Scene":
        self.tell(signals.MediaEnded, reason="caller-hung-up", ended_by=EndedBy.CALLER, billable=True)
        return self

    # --- what can be seen ---

    @property
    def asked(self) -> int:
        return self.all(do.AskModel)[-1].asked

    @property
    def request(self) -> ModelRequest:
        return self.all(do.AskModel)[-1].request

    @property
    def spoken(self) -> list[str]:
        """Everything given to the voice."""
        return [effect.text for effect in self.all(do.Speak)]

    @property
    def facts(self) -> list[Any]:
        """What the machine put on the log of the call, awaited or not."""
        commands = [effect.command for effect in self.effects if isinstance(effect, do.Note | do.Commit)]
        return [command.fact if isinstance(command, Witness) else command for command in commands]

    @property
    def over(self) -> bool:
        return self.state.life is Life.OVER

    @property
    def end(self) -> do.Finish:
        (finish,) = self.all(do.Finish)
        return finish

    def all(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def fact(self, kind: type[E]) -> list[E]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    # --- the world ---

    def _later(self, at_ms: int, happen: Callable[[], object]) -> None:
        heapq.heappush(self._queue, (at_ms, next(self._order), happen))

    def _follow(self, effect: do.Effect) -> None:
        match effect:
            case do.SetTimer(timer=timer, at_ms=at_ms, of=of):
                self._timers[timer, of] = at_ms
                self._later(at_ms, lambda: self._fire(timer, of, at_ms))
            case do.CancelTimer(timer=timer, of=of):
                self._timers.pop((timer, of), None)
            case do.Speak(utterance=utterance, text=text) if self.voice_speaks:
                epoch, known = self._voice_epoch, text == self._kept_back
                self._kept_back = ""
                self._later(self.at_ms + (0 if known else VOICE_DELAY_MS), lambda: self._deliver(epoch, utterance, text))
            case do.SpeakAhead(asked=asked, text=text) if self.voice_speaks:
                self._kept_back = text
                self._later(self.at_ms + VOICE_DELAY_MS, lambda: self.tell(signals.VoiceReady, asked=asked))
            case do.ForgetAhead():
                self._kept_back = ""
            case do.ClearVoice():
                self._voice_epoch += 1
            case do.Keep(utterance=utterance):
                self._delivered[utterance] = self._delivered.get(utterance, 0) + self._arriving
            case do.Play(samples=samples) | do.Replay(samples=samples):
                self._sounds(effect)
                self._playout_end = max(self._playout_end, self.at_ms * 8) + samples
            case do.SendMark(name=name) if self.carrier_plays:
                self._marks.append((self._playout_end, name))
                self._later(self._playout_end // 8 + CARRIER_DELAY_MS, self._return_marks)
            case do.ClearPlayout() | do.PausePlayout():
                self._cut()
                self._playout_end = min(self._playout_end, self.at_ms * 8)
                self._marks = [(self._playout_end, name) for _, name in self._marks]
                self._later(self.at_ms + CARRIER_DELAY_MS, self._return_marks)
            case do.Commit(request=request, declinable=declinable):
                if self.log_answers:
                    self._versions += 1
                    version = self._versions
                    self._later(self.at_ms + 2, lambda: self._accept(request, version))
                elif declinable:
                    self._later(self.at_ms + 2000, lambda: self._accept(request, None))
            case _:
                return

    def _fire(self, timer: signals.Timer, of: str, set_for_ms: int) -> None:
        if self._timers.get((timer, of)) == set_for_ms:
            del self._timers[timer, of]
            self.tell(signals.TimerFired, timer=timer, of=of)

    def _deliver(self, epoch: int, utterance: int, text: str) -> None:
        if epoch == self._voice_epoch:
            self.tell(signals.VoiceArrived, samples=len(text) * SAMPLES_PER_CHARACTER)
            self.tell(signals.VoiceDelivered, utterance=utterance)

    def _sounds(self, effect: do.Play | do.Replay) -> None:
        """As the caller's ear has it, the carrier's way later."""
        first = self._delivered.get(effect.utterance, 0) if isinstance(effect, do.Play) else effect.first
        if isinstance(effect, do.Play):
            self._delivered[effect.utterance] = first + effect.samples
        begins = effect.from_sample + CARRIER_LAG_MS * 8
        self.sounds.append(Sound(utterance=effect.utterance, first=first, samples=effect.samples, from_sample=begins))

    def _cut(self) -> None:
        now = self.at_ms * 8
        self.sounds = [replace(one, samples=min(one.samples, now - one.from_sample)) for one in self.sounds if one.from_sample < now]

    def _return_marks(self) -> None:
        due = [name for end, name in self._marks if end // 8 + CARRIER_DELAY_MS <= self.at_ms]
        self._marks = [(end, name) for end, name in self._marks if name not in due]
        for name in due:
            self.tell(signals.MarkReturned, name=name)

    def _accept(self, request: int, version: int | None) -> None:
        if version is None:
            self.tell(signals.LogAway, request=request)
        else:
            self.tell(signals.CommandAccepted, request=request, version=version)


def end_command(scene: Scene) -> EndCall:
    """The command that the shell makes of the end."""
    end = scene.end
    return EndCall(
        reason=end.reason, ended_by=end.ended_by, stage=end.stage, billable=end.billable, duration_ms=end.duration_ms, recognition_ms=0
    )  # fmt: skip

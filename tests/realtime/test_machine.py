"""The machine is total and keeps its promises whatever happens, in whatever order."""

import itertools
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.calls.orders import StartRecording, Witness
from commands.consents import GrantConsent, RevokeConsent
from events.calls.control import HangUpOrdered, HoldEndOrdered, HoldOrdered, TransferOrdered
from events.calls.ending import CallEnded, EndedBy, Stage
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.talking import AgentTurn
from realtime.hearing.marks import TurnMark
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.briefing import Thresholds
from realtime.machine.signals import Engine, Signal, Timer
from realtime.machine.state import CallState, Life
from realtime.machine.stepping import step
from realtime.ports import Message, ToolUse
from realtime.speaking.playout import Purpose
from realtime.thinking.drafts import Draft
from tests.realtime.scene import USAGE, briefing, opened

# Of a recogniser that follows turns, and of one that does not.
MARKS = (*TurnMark, TurnMark.NONE, TurnMark.NONE)
WORDS = (
    "", "yes", "yes please", "no", "yes and what are your hours", "hm", "please stop recording", "goodbye", "one two three",
    "I need a slot on friday please.", "no please stop recording me", "don't stop recording",
)  # fmt: skip
TEXTS = ("We are open. ", "from nine", " to five, and ", "   ", "!", "", "A long sentence, that has a clause in it, and goes on. Done. ")
TOOLS = ("find_slot", "book_slot", "end_call", "withdraw_recording_consent", "nothing", "capture_digits", "transfer_call")
ARGUMENTS = {"label": "card", "digits": 4, "destination": "desk"}
AGENT = briefing(thresholds=Thresholds(), captures_digits=True, digits_as_words=True, destinations={"desk": "+15550111"})
STARTED = RecordingStarted(caller_ref="ref", consent_version=2, at_ms=0)
FACTS = (
    STARTED, RecordingStopOrdered(reason="revoked", revoked_version=1), RecordingStopped(caller_ref="ref", reason="x", at_ms=0),
    TransferOrdered(destination="desk", reason="x"), HoldOrdered(reason="x"), HoldEndOrdered(reason="x"), HangUpOrdered(reason="x"),
    CallEnded(reason="x", ended_by=EndedBy.PLATFORM, stage=Stage.CONVERSATION, billable=True, duration_ms=1, recognition_ms=1),
)  # fmt: skip


# Timers that end a call: seldom, or no call would get far.
_LAST_RESORTS = (Timer.LENGTH, Timer.VOICE, Timer.SILENCE)


def acceptable(messages: Sequence[Message]) -> bool:
    """As Converse wants it: a user's entry first and last, roles in turn, nothing blank, each tool use answered right after it."""
    roles = [message.role for message in messages]
    if not messages or roles[0] != "user" or roles[-1] != "user" or any(one == two for one, two in pairwise(roles)):
        return False
    asked: list[str] = []
    for message in messages:
        if not (message.text.strip() or message.tool_uses or message.tool_outcomes) or (message.text and not message.text.strip()):
            return False
        if sorted(outcome.tool_use_id for outcome in message.tool_outcomes) != sorted(asked):
            return False
        asked = [use.tool_use_id for use in message.tool_uses]
    return not asked


def uses_of(draft: Draft) -> list[ToolUse]:
    return [held.use for held in draft.held if isinstance(held, signals.ModelWantsTool)]


def subsequence(words: Sequence[str], of: Sequence[str]) -> bool:
    rest = iter(of)
    return all(word in rest for word in words)


@dataclass(slots=True)
class Watchman:
    """Drives a machine, and looks after what it does."""

    state: CallState = field(default_factory=lambda: CallState(briefing=AGENT))
    at_ms: int = 0
    speaks: list[do.Speak] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    commits: list[do.Commit] = field(default_factory=list)
    tools: list[ToolUse] = field(default_factory=list)
    timers: dict[tuple[Timer, str], None] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    numbers: int = 0
    version: int = 0
    played_until: int = 0
    played_generation: int = 0
    sent: int = 0
    kept: dict[int, int] = field(default_factory=dict)
    arriving: int = 0
    ahead: list[int] = field(default_factory=list)
    granted: bool = False
    taping: bool = False
    ends: int = 0

    def give(self, signal: Signal) -> None:
        before = self.state
        self.arriving = signal.samples if isinstance(signal, signals.VoiceArrived) else 0
        self.state, effects = step(before, signal)
        if before.life is Life.OVER:
            assert effects == ()
            assert self.state == before
        assert sum(isinstance(effect, do.Play | do.Keep) for effect in effects) <= isinstance(signal, signals.VoiceArrived)
        purposes = [utterance.purpose for utterance in self.state.speech.utterances]
        assert (Purpose.FILLER, Purpose.FILLER) not in itertools.pairwise(purposes), "two fillers in a row"
        for effect in effects:
            self.check(effect)

    def check(self, effect: do.Effect) -> None:  # noqa: PLR0915 - as long as the union of effects
        match effect:
            case do.Speak(text=text):
                assert text.strip()
                self.speaks.append(effect)
            case do.ClearVoice() | do.ChangeVoice():
                self.speaks.clear()
            case do.SpeakAhead(asked=asked, text=text):
                assert self.state.reply is None, "something kept back while something is said"
                self.ahead = [asked]
            case do.ForgetAhead():
                self.ahead = []
            case do.Keep(utterance=utterance):
                self.kept[utterance] = self.kept.get(utterance, 0) + self.arriving
            case do.PausePlayout(utterance=utterance, sample=sample):
                assert self.state.speech.generation > self.played_generation, "speech after a pause would be of an older generation"
                assert sample <= self.kept.get(utterance, 0)
                self.played_until = min(self.played_until, self.at_ms * 8)
            case do.Play() | do.Replay():
                assert self.state.speech.pause is None, "speech in a pause"
                if isinstance(effect, do.Play):
                    self.kept[effect.utterance] = self.kept.get(effect.utterance, 0) + self.arriving
                else:
                    assert effect.first + effect.samples == self.kept[effect.utterance], "not all that was kept is played"
                    assert effect.samples > 0 <= effect.first
                assert effect.generation == self.state.speech.generation >= self.played_generation
                assert effect.from_sample >= self.played_until, "two voices at once"
                self.played_generation = effect.generation
                self.played_until = effect.from_sample + effect.samples
                self.sent += effect.samples
            case do.ClearPlayout():
                assert self.state.speech.generation > self.played_generation, "speech after a clear would be of an older generation"
                self.played_until = min(self.played_until, self.at_ms * 8)
            case do.SendMark(name=name):
                self.marks.append(name)
            case do.AskModel(asked=asked, request=request):
                drained = {drain.asked for drain in self.state.drains}
                assert self.open <= drained, "two questions at once whose answers are wanted"
                assert acceptable(request.messages), request.messages
                self.open.add(asked)
            case do.CancelModel(asked=asked):
                self.open.remove(asked)
            case do.RunTool(use=use):
                assert self.state.draft is None or use not in uses_of(self.state.draft), "a tool of a draft"
                self.tools.append(use)
            case do.SetTimer(timer=timer, of=of):
                self.timers[timer, of] = None
            case do.CancelTimer(timer=timer, of=of):
                self.timers.pop((timer, of), None)
            case do.Commit(command=command):
                self.granted = self.granted or isinstance(command, GrantConsent)
                self.commits.append(effect)
            case do.Note(command=command):
                self.noted(command)
            case do.StartRecorder():
                assert self.granted, "a recording without consent"
                assert not self.taping
                self.taping = True
            case do.StopRecorder():
                assert self.taping
                self.taping = False
            case do.Finish() | do.Abandon():
                self.ends += 1
                assert self.ends == 1
                assert not self.taping
            case _:
                return

    def noted(self, command: object) -> None:
        if isinstance(command, RevokeConsent):
            assert not self.taping, "still recording after a withdrawal"
            self.granted = False
        if isinstance(command, Witness) and isinstance(command.fact, AgentTurn):
            said, heard = opened(command.fact.said), opened(command.fact.heard)
            assert subsequence(heard.split(), said.split()), "something heard that was not said"
            assert self.sent or not heard, "something heard of which nothing was sent"

    def question(self, choice: int) -> int:
        """One of the open questions, the newest mostly; 0 when there is none."""
        return (max(self.open) if choice % 4 else min(self.open)) if self.open else 0

    def act(self, kind: int, choice: int, later_ms: int) -> None:  # noqa: PLR0915 - as long as the list of what can happen
        """One thing that happens: sensible answers to what the machine asked for, and things out of the blue."""
        self.at_ms += later_ms
        at = self.at_ms
        match kind:
            case 0 | 1:
                if self.speaks:
                    speak = self.speaks.pop(0)
                    self.give(signals.VoiceArrived(at_ms=at, samples=1 + choice * 97 % 16_000))
                    self.give(signals.VoiceDelivered(at_ms=at, utterance=speak.utterance))
            case 2 | 3:
                if self.marks:
                    self.at_ms = at = max(at, self.played_until // 8 + choice % 100)
                    self.give(signals.MarkReturned(at_ms=at, name=self.marks.pop(0)))
            case 4:
                self.give(signals.MarkReturned(at_ms=at, name=f"g{choice % 4}:u{choice % 7}:end" if choice % 3 else "whatever"))
            case 5:
                self.give(signals.SpeechStarted(at_ms=at, since_ms=at - choice % 300))
            case 6:
                self.give(signals.SpeechStopped(at_ms=at, ended_ms=at - choice % 400))
            case 7 | 8:
                text, final = WORDS[choice % len(WORDS)], choice % 5 != 0
                self.give(
                    signals.WordsRecognised(
                        at_ms=at, text=text, is_final=final, from_finalize=final and choice % 2 == 0, start_ms=at - 1000, end_ms=at,
                        confidence=0.5, turn=MARKS[choice % len(MARKS)],
                    )
                )  # fmt: skip
            case 9 | 10:
                self.give(signals.ModelSaid(at_ms=at, asked=self.question(choice), text=TEXTS[choice % len(TEXTS)]))
            case 11:
                self.numbers += 1
                use = ToolUse(
                    tool_use_id=f"t{self.numbers if choice % 5 else 1}",
                    name=TOOLS[choice % len(TOOLS)],
                    arguments={"n": choice, **ARGUMENTS},
                )
                self.give(signals.ModelWantsTool(at_ms=at, asked=self.question(choice), use=use))
            case 12 | 13:
                asked = self.question(choice)
                self.open.discard(asked)
                self.give(signals.ModelDone(at_ms=at, asked=asked, reason="end_turn", usage=USAGE))
            case 14 | 15:
                if self.tools:
                    use = self.tools.pop(choice % len(self.tools))
                    self.give(signals.ToolReturned(at_ms=at, tool_use_id=use.tool_use_id, content={"n": choice}, failed=choice % 3 == 0))
            case 16 | 17:
                due = [(timer, of) for timer, of in self.timers if timer not in _LAST_RESORTS or choice % 97 == 0]
                if due:
                    timer, of = due[choice % len(due)]
                    del self.timers[timer, of]
                    self.give(signals.TimerFired(at_ms=at, timer=timer, of=of))
            case 18:
                timer = list(Timer)[choice % len(Timer)]
                if timer not in _LAST_RESORTS or choice % 97 == 0:
                    self.give(signals.TimerFired(at_ms=at, timer=timer, of=f"t{choice % 5}"))
            case 19 | 20 | 21:
                self.answer(choice)
            case 22:
                self.version += 1
                fact = FACTS[choice % (len(FACTS) if choice % 11 == 0 else 3)]
                self.give(signals.FactRecorded(at_ms=at, fact=fact, version=self.version))
            case 23:
                if choice % 4 == 0:
                    engine = list(Engine)[choice % 3] if choice % 8 == 0 else Engine.MODEL
                    asked = self.question(choice) if engine is Engine.MODEL else 0
                    self.open.discard(asked)
                    self.give(signals.EngineBroke(at_ms=at, engine=engine, name="x", reason="y", asked=asked))
                elif choice % 4 == 1:
                    engine = list(Engine)[choice % 3]
                    if engine is Engine.VOICE:
                        self.speaks.clear()
                    self.give(signals.EngineTaken(at_ms=at, engine=engine, name="x", instead_of="z", reason="y"))
            case 24 if choice % 3 == 0:
                pause = self.state.speech.pause
                found = choice % 5 if pause is None else pause.utterance
                self.give(signals.WordFound(at_ms=at, utterance=found, sample=choice * 13 % 20_000))
            case 24:
                if choice % 2:
                    self.control(choice)
                else:
                    self.give(signals.VoiceArrived(at_ms=at, samples=1 + choice % 3000))
                self.give(signals.VoiceReady(at_ms=at, asked=self.ahead[0] if self.ahead and choice % 3 else choice % 5))
            case _:
                if choice % 20 == 0:
                    self.give(signals.MediaEnded(at_ms=at, reason="caller-hung-up", ended_by=EndedBy.CALLER, billable=True))

    def control(self, choice: int) -> None:
        """Keys, and the carrier's word on a transfer."""
        at = self.at_ms
        happens: tuple[Signal, ...] = (
            signals.DigitPressed(at_ms=at, digit="1"), signals.DigitSealed(at_ms=at, count=choice % 9),
            signals.DigitsKept(at_ms=at, capture=choice % 3, count=4, reference="r" * (choice % 2)),
            signals.PutThrough(at_ms=at, failure="x" * (choice % 4 // 2)),
        )  # fmt: skip
        self.give(happens[choice // 2 % len(happens)])

    def begin(self, *, smoothly: bool) -> None:
        """The stream starts; `smoothly`: the caller hears the greeting, agrees to be recorded, and is recorded."""
        self.give(signals.MediaStarted(at_ms=0, stream_sid="MZ1"))
        if smoothly:
            for kind, choice in ((0, 50), (0, 50), (0, 50), (2, 0), (2, 0), (2, 0), (5, 0), (6, 0), (7, 14), (19, 1), (19, 1), (19, 1)):
                self.act(kind, choice, 500)

    def answer(self, choice: int) -> None:
        if not self.commits:
            return
        commit = self.commits.pop(choice % len(self.commits))
        self.version += 1
        if choice % 6 == 0:
            self.give(signals.LogAway(at_ms=self.at_ms, request=commit.request))
        elif choice % 17 == 0:
            self.give(signals.CommandDeclined(at_ms=self.at_ms, request=commit.request, code="refused"))
        else:
            if isinstance(commit.command, StartRecording) and choice % 2:
                self.give(signals.FactRecorded(at_ms=self.at_ms, fact=STARTED, version=self.version))
            self.give(signals.CommandAccepted(at_ms=self.at_ms, request=commit.request, version=self.version))


# How often each kind of happening comes in a long call: answers to the machine mostly.
_LIKELY = (6, 6, 6, 6, 1, 3, 3, 4, 4, 4, 4, 2, 3, 3, 4, 4, 3, 3, 0.3, 4, 4, 4, 1, 0.6, 1, 0.3)
HAPPENINGS = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 10_000), st.integers(0, 900)), max_size=150)


class TestMachine:
    def test_is_recording_after_a_smooth_beginning(self) -> None:
        watchman = Watchman()
        watchman.begin(smoothly=True)
        assert watchman.taping

    @settings(
        max_examples=int(os.environ.get("MACHINE_EXAMPLES", "400")),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(HAPPENINGS, st.booleans())
    def test_keeps_its_promises_whatever_happens(self, happenings: list[tuple[int, int, int]], smoothly: bool) -> None:
        watchman = Watchman()
        watchman.begin(smoothly=smoothly)
        for happening in happenings:
            watchman.act(*happening)

    @pytest.mark.parametrize("seed", range(100))
    def test_keeps_its_promises_through_long_calls(self, seed: int) -> None:
        draw = random.Random(seed)
        watchman = Watchman()
        watchman.begin(smoothly=seed % 2 == 0)
        for _ in range(400):
            (kind,) = draw.choices(range(26), weights=_LIKELY)
            watchman.act(kind, draw.randrange(10_000), int(draw.random() ** 3 * 900))

    @settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(HAPPENINGS, st.booleans())
    def test_comes_to_exactly_one_end_once_the_caller_is_gone(self, happenings: list[tuple[int, int, int]], smoothly: bool) -> None:
        watchman = Watchman()
        watchman.begin(smoothly=smoothly)
        for happening in happenings:
            watchman.act(*happening)
        watchman.give(signals.MediaEnded(at_ms=watchman.at_ms, reason="gone", ended_by=EndedBy.CALLER, billable=True))
        for _ in range(2):
            for timer, of in list(watchman.timers):
                watchman.give(signals.TimerFired(at_ms=watchman.at_ms, timer=timer, of=of))
            for commit in list(watchman.commits):
                watchman.give(signals.CommandAccepted(at_ms=watchman.at_ms, request=commit.request, version=99))
        for timer, of in list(watchman.timers):
            watchman.give(signals.TimerFired(at_ms=watchman.at_ms, timer=timer, of=of))
        assert watchman.ends == 1

    @given(HAPPENINGS)
    def test_does_nothing_before_the_stream_has_started(self, happenings: list[tuple[int, int, int]]) -> None:
        watchman = Watchman()
        for happening in happenings:
            watchman.act(*happening)
        assert watchman.state == CallState(briefing=AGENT)

    @settings(max_examples=50)
    @given(HAPPENINGS)
    def test_does_the_same_again_from_the_same_signals(self, happenings: list[tuple[int, int, int]]) -> None:
        one, two = Watchman(), Watchman()
        for watchman in (one, two):
            watchman.begin(smoothly=True)
            for happening in happenings:
                watchman.act(*happening)
        assert one.state == two.state

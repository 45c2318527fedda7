"""One call on a worker: the thin loop that brings the world's signals to the pure machine and does what it answers.

Audio takes no detour: a frame goes from the socket's callback to detector, recogniser and recorder, without a task or a queue.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never, cast

import structlog

from commands.calls.orders import EndCall, Witness
from commands.dispatch import Watch
from commands.rates import RateTable
from events.calls.ending import EndedBy
from events.calls.every import CallEvent
from events.calls.ringing import CallResumed
from events.recorded import Recorded
from events.registry import Fact
from realtime.audio import BYTES_PER_MS
from realtime.control.keypad import Keypad
from realtime.control.ports import CapturedDigits, Checks, no_checks
from realtime.hearing import vad
from realtime.hearing.ears import Ears
from realtime.hearing.echo import Echo
from realtime.hearing.echo import Thresholds as EchoThresholds
from realtime.loop.errands import Alarms, Errands
from realtime.loop.facts_queue import FactsQueue, Outcome, told_as
from realtime.loop.in_hand import CallInHand, TakesOver
from realtime.loop.observing import Observing, Watched
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.state import CallState
from realtime.machine.stepping import step
from realtime.ports import LanguageModel, RecordingStore, SpeechToText, Telephony, TextToSpeech, VoiceActivity
from realtime.recording.recorder import Recorder
from realtime.recording.shelving import Shelving
from realtime.speaking.mouth import Mouth
from realtime.speaking.playing import Playing
from realtime.speaking.prepared import Prepared
from realtime.thinking import tooling

log = structlog.get_logger()


class CallBroken(Exception):
    """A bug: the call's task ends with it, and nothing but this call."""


class Line(Protocol):
    """The carrier's media stream of one call, as seen from here. Nothing blocks; after `close` everything else does nothing."""

    def play(self, mulaw: bytes) -> None: ...
    def mark(self, name: str) -> None: ...
    def clear(self) -> None: ...
    def close(self, *, words: str, language: str = "") -> None:
        """`words`: what the carrier is to say afterwards, in their `language`, when it asks what follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What every call of a process shares."""

    recogniser: SpeechToText
    model: LanguageModel
    voice: TextToSpeech
    activity: VoiceActivity
    telephony: Telephony
    recordings: RecordingStore
    watch: Watch
    digits: CapturedDigits | None = None
    prices: RateTable | None = None
    prepared: Prepared | None = None
    observing: tuple[Observing, ...] = ()
    checks: Checks = no_checks


class Conductor:
    """Runs one call from the start of its media to its end on the log. Call times come from the loop's clock."""

    def __init__(
        self, call: CallInHand, engines: Engines, facts: FactsQueue, line: Line, counters: Counter[str], takes_over: TakesOver | None = None
    ) -> None:  # fmt: skip
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time() - call.began_ms / 1000
        self._takes_over, self._recognised_ms = takes_over, 0
        self._call, self._engines, self._facts, self._line, self._counters = call, engines, facts, line, counters
        self.state = CallState(briefing=call.briefing)
        limits = call.briefing.thresholds
        echo = Echo(EchoThresholds(likeness=limits.echo_likeness, below_db=limits.echo_below_db))
        self._ears = Ears(engines.recogniser, engines.activity, call.hearing, self.give, self.now_ms, self._windows)
        self._ears.echo = echo
        prepared = None if engines.prepared is None else engines.prepared.take
        self._mouth = Mouth(engines.voice, self.give, self.now_ms, prepared, first=call.voice)
        self._shelving = Shelving(
            engines.recordings, call.seal_piece, lambda fact: facts.note(Witness(fact=fact), essential=True), counters,
            call_id=call.stream.id, stream_sid=call.stream_sid,
        )  # fmt: skip
        self._recorder = Recorder(self._shelving.take)
        self._keypad = Keypad(self.give, self.now_ms, self._keep_digits, words=call.briefing.digits_as_words)
        self._playing = Playing(line, self._recorder, echo, self.give, self.now_ms)
        self._inbox: deque[tuple[signals.Signal, bytes]] = deque()
        # Held until the call runs: what the socket brings before that is taken after the start.
        self._stepping = True
        self._alarms = Alarms(self._loop, self._began, self._fire)
        self._errands: Errands | None = None
        self._finished: asyncio.Future[do.Finish | do.Leave | None] = self._loop.create_future()
        self._log = log.bind(tenant_id=call.stream.tenant, call_id=call.stream.id)
        watched = Watched(
            stream=call.stream, run=call.stream_sid, state=self.state, hearing=call.hearing, agent_version_hash=call.agent_version_hash,
            flags=call.flags, rang_at=call.rang_at, witness=lambda fact: facts.note(Witness(fact=fact), essential=False), counters=counters,
        )  # fmt: skip
        self._observers = [observe(watched) for observe in engines.observing]
        self.stream, self.call_sid, self.stream_sid = call.stream, call.call_sid, call.stream_sid

    def now_ms(self) -> int:
        return int((self._loop.time() - self._began) * 1000)

    async def run(self) -> None:
        """The whole call. Returns when its end, and all that was told of it, is on the log; cancelling it leaves the rest unsaid."""
        try:
            await self._run_whole()
        finally:
            # The parts of a call hold each other: without this all its sound and words would wait for a collector that seldom comes.
            self._finished.cancel()
            self._errands, self._observers = None, []
            del self._ears, self._mouth, self._shelving, self._recorder, self._keypad, self._playing, self._alarms

    async def _run_whole(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            faults = self._engines.checks(tooling.offered(self._call.briefing))
            self._errands = Errands(tasks, self._engines.model, self._call.tools, self.give, self.now_ms, faults)
            sending = tasks.create_task(self._facts.run(), name="facts")
            shelving = tasks.create_task(self._shelving.run(), name="recording")
            looking = [tasks.create_task(observer.run(), name="observer") for observer in self._observers]
            forget = self._engines.watch(self._call.stream, self._recorded)
            connecting = (
                tasks.create_task(self._mouth.keep(), name="voice"),
                tasks.create_task(self._ears.keep(language=self._call.language, vocabulary=self._call.vocabulary), name="recogniser"),
            )
            try:
                await self._begin()
                finish = await self._finished
            finally:
                forget()
                self._alarms.cancel_all()
                self._errands.cancel_all()
                for task in (*connecting, *looking):
                    task.cancel()
                await self._ears.close()
                await self._mouth.close()
                for observer in self._observers:
                    await observer.close()
            await self._end(finish)
            shelving.cancel()
            await self._facts.drained()
            sending.cancel()

    async def _begin(self) -> None:
        first: signals.Signal = signals.MediaStarted(at_ms=0, stream_sid=self._call.stream_sid)
        if self._takes_over is not None:
            past = await self._takes_over()
            if past is None:
                self._finish(None)
                return
            known = past.version
            self._inbox = deque(one for one in self._inbox if not (isinstance(one[0], signals.FactRecorded) and one[0].version <= known))
            first = signals.MediaResumed(at_ms=self.now_ms(), stream_sid=self._call.stream_sid, past=past)
            self._recognised_ms = past.recognised_ms
        self._inbox.appendleft((first, b""))
        self._take_all()

    @property
    def goes_on(self) -> bool:
        """Whether this stream is done with a call that is not over."""
        end = self._finished
        return end.done() and not end.cancelled() and end.exception() is None and not isinstance(end.result(), do.Finish)

    def leave(self, reason: str) -> None:
        self.give(signals.LeaveCall(at_ms=self.now_ms(), reason=reason))

    def frame(self, at_ms: int, mulaw: bytes) -> None:
        """The caller's audio; `at_ms` is the carrier's stamp."""
        if not self._finished.done():
            at_ms += self._call.began_ms
            mulaw = self._keypad.muted(mulaw)
            made = self._ears.frame(at_ms, mulaw)
            if made:
                self._recorder.caller(at_ms, mulaw)
                for observer in self._observers:
                    observer.heard(at_ms + len(mulaw) // BYTES_PER_MS, made)

    def digit(self, digit: str) -> None:
        if not self._finished.done():
            self._keypad.pressed(digit)

    def mark_returned(self, name: str) -> None:
        self.give(signals.MarkReturned(at_ms=self.now_ms(), name=name))

    def media_ended(self, reason: str, ended_by: EndedBy, *, billable: bool) -> None:
        """The socket is gone, or is about to be."""
        self.give(signals.MediaEnded(at_ms=self.now_ms(), reason=reason, ended_by=ended_by, billable=billable))

    def give(self, signal: signals.Signal, audio: bytes = b"") -> None:
        """Let the machine take a signal. What its effects give rise to at once is taken after it, not within it."""
        if self._finished.done():
            return
        self._inbox.append((signal, audio))
        if not self._stepping:
            self._take_all()

    def _take_all(self) -> None:
        self._stepping = True
        whole = False
        try:
            while self._inbox:
                signal, audio = self._inbox.popleft()
                for observer in self._observers:
                    observer.given(signal)
                self.state, effects = step(self.state, signal)
                for observer in self._observers:
                    observer.did(effects)
                for effect in effects:
                    self._perform(effect, audio)
            whole = True
        finally:
            self._stepping = False
            if not whole and not self._finished.done():
                # Whoever called us has the error itself; the call cannot go on from half a step.
                self._finished.set_exception(CallBroken("a step of the call failed"))

    def _perform(self, effect: do.Effect, audio: bytes) -> None:
        match effect:
            case do.Play() | do.Keep() | do.PausePlayout() | do.Replay() | do.ClearPlayout():
                self._playing.perform(effect, audio)
            case do.Speak() | do.SpeakAhead() | do.ForgetAhead() | do.UseVoice() | do.ClearVoice() | do.ChangeVoice():
                self._mouth.perform(effect)
            case do.HearLanguage(language=language):
                self._ears.change_language(language)
            case do.SendMark(name=name):
                self._line.mark(name)
            case do.FinalizeHearing():
                self._ears.finalize()
            case do.SetTimer(timer=timer, at_ms=at_ms, of=of):
                self._alarms.set(timer, of, at_ms)
            case do.CancelTimer(timer=timer, of=of):
                self._alarms.cancel(timer, of)
            case do.AskModel() | do.CancelModel() | do.RunTool() | do.CancelTool() | do.HangUp() | do.Transfer():
                self._run(effect)
            case do.BeginCapture():
                self._keypad.begin(effect)
            case do.EndCapture():
                self._keypad.end()
            case do.Commit(request=request, command=command, declinable=declinable):
                self._facts.commit(command, lambda outcome: self._told(request, outcome), declinable=declinable)
            case do.Note(command=command, essential=essential):
                self._facts.note(command, essential=essential)
            case do.StartRecorder(at_ms=at_ms):
                self._recorder.start(at_ms)
            case do.StopRecorder(at_ms=at_ms):
                self._recorder.stop(at_ms)
            case do.CloseMedia(words=words, language=language):
                self._line.close(words=words, language=language)
            case do.Finish() | do.Leave():
                self._finish(effect)
            case do.Abandon():
                self._finish(None)
            case _:
                assert_never(effect)

    def _run(self, effect: do.AskModel | do.CancelModel | do.RunTool | do.CancelTool | do.HangUp | do.Transfer) -> None:
        if self._errands is None:
            raise RuntimeError("a call acts only while it runs")
        match effect:
            case do.AskModel(asked=asked, request=request):
                self._errands.ask(asked, request)
            case do.CancelModel(asked=asked):
                self._errands.cancel_question(asked)
            case do.RunTool(use=use, idempotency_key=key):
                self._errands.run_tool(use, key)
            case do.CancelTool(tool_use_id=tool_use_id):
                self._errands.cancel_tool(tool_use_id)
            case do.HangUp():
                self._errands.hang_up(self._engines.telephony, self._call.call_sid)
            case do.Transfer(number=number):
                self._errands.transfer(self._engines.telephony, self._call.call_sid, number, told_at=self._call.told_at)
            case _:
                assert_never(effect)

    def _keep_digits(self, capture: int, digits: bytearray) -> None:
        if self._errands is not None:
            self._errands.keep_digits(self._engines.digits, self._call.stream.id, capture, bytearray(digits))

    def _windows(self, origin_ms: int, windows: Sequence[tuple[int, float]], changes: Sequence[vad.SpeechChange]) -> None:
        for observer in self._observers:
            observer.windows(origin_ms, windows, changes)

    def _finish(self, finish: do.Finish | do.Leave | None) -> None:
        if not self._finished.done():
            self._finished.set_result(finish)

    def _fire(self, timer: signals.Timer, of: str) -> None:
        self.give(signals.TimerFired(at_ms=self.now_ms(), timer=timer, of=of))

    def _told(self, request: int, outcome: Outcome) -> None:
        self.give(told_as(outcome, request, self.now_ms()))

    def _recorded(self, recorded: Recorded[Fact]) -> None:
        # The call's stream holds facts of its room and no others.
        if isinstance(recorded.fact, CallResumed) and recorded.fact.stream_sid == self._call.stream_sid:
            return
        self.give(signals.FactRecorded(at_ms=self.now_ms(), fact=cast(CallEvent, recorded.fact), version=recorded.version))

    async def _end(self, finish: do.Finish | do.Leave | None) -> None:
        await self._shelving.finish()
        if not isinstance(finish, do.Finish):
            self._line.close(words="")
            return
        self._facts.note(
            EndCall(
                reason=finish.reason, ended_by=finish.ended_by, stage=finish.stage, billable=finish.billable,
                duration_ms=finish.duration_ms, recognition_ms=self._recognised_ms + self._ears.heard_ms,
                recording=self._call.stream.id if self._shelving.kept else "",
            ),
            essential=True,
        )  # fmt: skip
        self._log.info("call ended", reason=finish.reason, duration_ms=finish.duration_ms)

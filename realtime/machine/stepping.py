"""A phone call as a pure state machine: `step(state, signal)` gives the next state and what is to be done.

No clock, no I/O, no randomness: the same signals give the same call. It is total: any signal may come in any state.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

from commands.calls.orders import AnswerCall
from events.calls.control import HangUpOrdered, HoldEndOrdered, HoldOrdered, TransferOrdered
from events.calls.ending import CallEnded, EndedBy
from events.calls.every import CallEvent
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallResumed
from realtime.consent import recording_consent
from realtime.control import capping, capturing, holding, transferring
from realtime.machine import closing, failing, returning, silence
from realtime.machine.effects import Effect
from realtime.machine.signals import (
    CommandAccepted,
    CommandDeclined,
    DigitPressed,
    DigitSealed,
    DigitsKept,
    Engine,
    EngineBroke,
    EngineTaken,
    FactRecorded,
    LeaveCall,
    LogAway,
    MarkReturned,
    MediaEnded,
    MediaResumed,
    MediaStarted,
    ModelDone,
    ModelSaid,
    ModelThought,
    ModelWantsTool,
    PutThrough,
    Signal,
    SpeechStarted,
    SpeechStopped,
    Timer,
    TimerFired,
    ToolReturned,
    VoiceArrived,
    VoiceDelivered,
    VoiceReady,
    WordFound,
    WordsRecognised,
)
from realtime.machine.state import Awaited, CallState, Ending, Life, Moment
from realtime.speaking import replying
from realtime.thinking import accounting, asking, speculating, tooling
from realtime.turns import interrupting, listening

__all__ = ["step"]

_HUNG_UP = Ending(reason="hung-up-by-operator", ended_by=EndedBy.OPERATOR, billable=True)
_ENDED_ELSEWHERE = Ending(reason="ended-elsewhere", ended_by=EndedBy.PLATFORM, billable=True)
_SILENCE = Ending(reason="silence", ended_by=EndedBy.AGENT, billable=True)


def step(state: CallState, signal: Signal) -> tuple[CallState, tuple[Effect, ...]]:
    """The call after the signal, and what the shell is to do, in order."""
    moment = Moment(state=state, at_ms=signal.at_ms)
    match state.life:
        case Life.WAITING:
            if isinstance(signal, MediaStarted):
                _start(moment, signal)
                silence.look(moment, signal)
            elif isinstance(signal, MediaResumed):
                returning.resume(moment, signal)
                silence.look(moment, signal)
        case Life.TALKING:
            _talk(moment, signal)
            listening.look(moment)
            capping.look(moment)
            silence.look(moment, signal)
            if (ended := moment.state.ended) is not None:
                if ended.transfer and moment.state.transfer is None:
                    transferring.begin(moment, ended)
                else:
                    closing.conclude(moment, ended)
        case Life.CLOSING:
            _close(moment, signal)
        case Life.OVER:
            pass
        case _:
            assert_never(state.life)
    return moment.state, tuple(moment.effects)


def _start(moment: Moment, signal: MediaStarted) -> None:
    """The disclosure is the first sentence, whatever else is said."""
    briefing = moment.state.briefing
    moment.change(life=Life.TALKING)
    answer = AnswerCall(
        stream_sid=signal.stream_sid, worker=briefing.worker, recogniser=briefing.recogniser, model_provider=briefing.model_provider,
        voice=briefing.voice, embedded=briefing.embedded,
    )  # fmt: skip
    moment.commit(answer, Awaited.ANSWER, declinable=False)
    capping.begin(moment)
    replying.begin(moment)
    replying.say(moment, briefing.wording.greeting)
    if briefing.ask_to_record:
        replying.ask_permission(moment)


def _talk(moment: Moment, signal: Signal) -> None:  # noqa: PLR0915 - as long as the union of signals
    match signal:
        case SpeechStarted() | SpeechStopped() | WordsRecognised():
            listening.listen(moment, signal)
        case VoiceArrived():
            replying.voice_arrived(moment, signal)
        case VoiceDelivered():
            replying.voice_delivered(moment, signal)
        case VoiceReady():
            speculating.voice_ready(moment, signal)
        case WordFound():
            interrupting.word_found(moment, signal)
        case MarkReturned():
            replying.mark_returned(moment, signal)
        case ModelSaid() | ModelThought() | ModelWantsTool() | ModelDone():
            interrupting.model_spoke(moment, signal)
        case ToolReturned():
            _tool_settled(moment, tooling.returned(moment, signal))
        case EngineBroke(engine=Engine.MODEL):
            asking.model_broke(moment, signal)
        case EngineBroke():
            closing.engine_broke(moment, signal)
        case EngineTaken():
            failing.engine_taken(moment, signal)
        case DigitPressed():
            capturing.pressed(moment, signal)
        case DigitSealed():
            capturing.sealed(moment, signal)
        case DigitsKept():
            _tool_settled(moment, capturing.kept(moment, signal))
        case PutThrough():
            transferring.answered(moment, signal)
        case TimerFired():
            _timer(moment, signal)
        case FactRecorded():
            _fact(moment, signal.fact, signal.version)
        case CommandAccepted():
            _accepted(moment, signal)
        case CommandDeclined() | LogAway():
            _declined(moment, signal)
        case LeaveCall(reason=reason):
            closing.leave(moment, reason)
        case MediaEnded(reason="media-lost") if moment.state.briefing.resumable and moment.state.transfer is None:
            # The carrier asks what follows, and whoever answers goes on.
            closing.leave(moment, signal.reason)
        case MediaEnded():
            gone = Ending(reason=signal.reason, ended_by=signal.ended_by, billable=signal.billable)
            closing.conclude(moment, transferring.ending_of(moment, gone), media_open=False)
        case MediaStarted() | MediaResumed():
            pass
        case _:
            assert_never(signal)


def _close(moment: Moment, signal: Signal) -> None:
    """Nobody listens any more; only what cannot be undone is still waited for."""
    match signal:
        case ToolReturned():
            tooling.returned(moment, signal)
        case TimerFired(timer=Timer.TOOL, of=tool_use_id):
            tooling.overdue(moment, tool_use_id)
        case PutThrough():
            transferring.answered(moment, signal)
        case TimerFired(timer=Timer.TRANSFER):
            transferring.answered(moment, PutThrough(at_ms=signal.at_ms, failure="no-answer-in-time"))
        case CommandAccepted(request=request):
            if (pending := moment.settled(request)) is not None and pending.awaited is Awaited.TOOL:
                tooling.request_on_log(moment, pending)
        case CommandDeclined(request=request) | LogAway(request=request):
            if (pending := moment.settled(request)) is not None and pending.awaited is Awaited.TOOL:
                tooling.request_not_on_log(moment, pending)
        case _:
            return
    closing.finish_when_possible(moment)


_ON_TIMER: Mapping[Timer, Callable[[Moment], None]] = {
    Timer.FILLER: asking.filler_due,
    Timer.MODEL: asking.model_overdue,
    Timer.PLAYOUT: replying.playout_overdue,
}


def _timer(moment: Moment, signal: TimerFired) -> None:
    match signal.timer:
        case Timer.BARGE_IN | Timer.FINAL | Timer.PATIENCE | Timer.STABLE:
            listening.listen(moment, signal)
        case Timer.PAUSE:
            interrupting.due(moment)
        case Timer.FILLER | Timer.MODEL | Timer.PLAYOUT if moment.state.speech.pause is not None:
            interrupting.postpone(moment, signal.timer)
        case Timer.FILLER | Timer.MODEL | Timer.PLAYOUT:
            _ON_TIMER[signal.timer](moment)
        case Timer.TOOL:
            _tool_settled(moment, tooling.overdue(moment, signal.of))
        case Timer.DRAIN:
            accounting.overdue(moment, signal.of)
        case Timer.VOICE:
            failing.voice_due(moment)
        case Timer.SPEECHLESS:
            silence.due(moment)
        case Timer.SILENCE:
            _silence(moment)
        case Timer.KEYS:
            if (over := capturing.said(moment)) is not None:
                listening.turn_over(moment, over)
        case Timer.CAPTURE:
            _tool_settled(moment, capturing.overdue(moment))
        case Timer.HOLD:
            holding.end(moment, "waited-long-enough")
        case Timer.TRANSFER:
            transferring.overdue(moment)
        case Timer.LENGTH:
            capping.length_due(moment)
        case _:
            assert_never(signal.timer)


def _silence(moment: Moment) -> None:
    state = moment.state
    if state.reply is not None or state.floor.open or state.capture is not None:
        return
    if state.held:
        holding.remind(moment)
        return
    words = state.briefing.wording
    if state.reminders:
        closing.say_and_end(moment, words.silent_goodbye, _SILENCE)
    else:
        moment.change(reminders=1)
        replying.begin(moment)
        replying.say(moment, words.still_there)


def _tool_settled(moment: Moment, awaited: bool) -> None:
    """The reply goes on with a tool's answer; one that comes late is told as soon as nobody is speaking."""
    if not awaited:
        return
    if moment.state.reply is not None:
        asking.go_on(moment)
    elif not moment.state.floor.open and not moment.state.held:
        replying.begin(moment)
        asking.ask(moment)


def _fact(moment: Moment, fact: CallEvent, version: int) -> None:
    match fact:
        case RecordingStarted() | RecordingStopOrdered() | RecordingStopped():
            recording_consent.recorded(moment, fact, version)
        case HangUpOrdered():
            closing.conclude(moment, _HUNG_UP)
        case TransferOrdered(destination=destination):
            transferring.ordered(moment, destination)
        case HoldOrdered():
            holding.begin(moment)
        case HoldEndOrdered():
            holding.end(moment, "ordered")
        case CallEnded():
            closing.conclude(moment, _ENDED_ELSEWHERE)
        case CallResumed():
            # Our own came before our first word: this is another's, who has the call now.
            closing.abandon(moment)
        case _:
            # The call's own words about itself: it knows them already.
            return


def _accepted(moment: Moment, signal: CommandAccepted) -> None:
    pending = moment.settled(signal.request)
    if pending is None:
        return
    match pending.awaited:
        case Awaited.GRANT:
            recording_consent.granted(moment, pending, signal.version)
        case Awaited.RECORDING:
            recording_consent.started(moment, signal.version)
            listening.permission_settled(moment, pending, recording=moment.state.tape.on)
        case Awaited.TOOL:
            tooling.request_on_log(moment, pending)
        case Awaited.RECORDING_AGAIN:
            recording_consent.started(moment, signal.version)
        case Awaited.ANSWER:
            pass
        case _:
            assert_never(pending.awaited)


def _declined(moment: Moment, signal: CommandDeclined | LogAway) -> None:
    pending = moment.settled(signal.request)
    if pending is None:
        return
    match pending.awaited:
        case Awaited.GRANT | Awaited.RECORDING:
            recording_consent.declined(moment)
            listening.permission_settled(moment, pending, recording=False)
        case Awaited.TOOL:
            _tool_settled(moment, tooling.request_not_on_log(moment, pending))
        case Awaited.RECORDING_AGAIN:
            recording_consent.closed(moment)
        case Awaited.ANSWER:
            closing.abandon(moment)
        case _:
            assert_never(pending.awaited)

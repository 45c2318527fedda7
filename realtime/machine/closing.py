"""How a call ends: once, for a reason that has a name, and not before what cannot be undone has been accounted for."""

from events.calls.ending import EndedBy, EngineFailure
from events.calls.ringing import CallLeft
from events.calls.talking import CallerTurn
from realtime.machine.effects import Abandon, CloseMedia, Finish, HangUp, Leave, StopRecorder
from realtime.machine.signals import EngineBroke
from realtime.machine.state import Ending, Life, Moment
from realtime.speaking import replying
from realtime.speaking.playout import Purpose
from realtime.thinking import accounting, speculating, toolruns


def conclude(moment: Moment, ending: Ending, *, media_open: bool = True, words: str = "", hang_up: bool = True) -> None:
    """The talk is over. `words`: what the carrier is to say after us; without them it hangs up, unless the caller is in its hands."""
    state = moment.state
    if state.life is not Life.TALKING:
        return
    _keep_last_words(moment)
    replying.cut(moment)
    toolruns.give_up(moment)
    speculating.drop(moment, speculating.CALL_ENDED)
    accounting.give_up(moment)
    if state.tape.on:
        moment.do(StopRecorder(at_ms=moment.at_ms))
    if media_open:
        moment.do(CloseMedia(words=words, language=state.briefing.language if words else ""))
        if not words and hang_up:
            moment.do(HangUp())
    moment.change(life=Life.CLOSING, ended=ending, ended_ms=moment.at_ms)
    finish_when_possible(moment)


def leave(moment: Moment, reason: str) -> None:
    """The call goes on elsewhere: what was heard so far is told, and what cannot be undone is waited for; it is not ended."""
    ending = Ending(reason=reason, ended_by=EndedBy.PLATFORM, billable=True, leaves=True)
    conclude(moment, ending, media_open=False)


def _keep_last_words(moment: Moment) -> None:
    """What the caller had said of a turn that nobody will answer any more."""
    floor = moment.state.floor
    if not floor.words:
        return
    began_ms = floor.started_ms or 0
    moment.note(
        CallerTurn(
            turn=moment.state.talk.turn + 1, words=moment.state.briefing.seal(floor.words), started_ms=began_ms,
            ended_ms=max(floor.ended_ms, began_ms), confidence=floor.confidence,
            recognised_ms=floor.recognised_ms if floor.recognised_ms is not None else moment.at_ms,
        ),
        essential=True,
    )  # fmt: skip


def finish_when_possible(moment: Moment) -> None:
    """A tool whose effect is for ever is waited for within its time, so that its answer stands in the record of the call."""
    state = moment.state
    if state.life is not Life.CLOSING or state.tools or state.ended is None or (state.transfer is not None and not state.transfer.done):
        return
    moment.change(life=Life.OVER)
    ended = state.ended
    if ended.leaves:
        moment.note(CallLeft(reason=ended.reason, at_ms=state.ended_ms), essential=True)
        moment.do(Leave())
        return
    moment.do(Finish(reason=ended.reason, ended_by=ended.ended_by, stage=state.stage, billable=ended.billable, duration_ms=state.ended_ms))


def abandon(moment: Moment) -> None:
    """The call goes on over another stream, or ended before this one began: leave it as it is."""
    if moment.state.life in (Life.CLOSING, Life.OVER):
        return
    moment.change(life=Life.OVER, reply=None, tools=())
    if moment.state.tape.on:
        moment.do(StopRecorder(at_ms=moment.at_ms))
    moment.do(CloseMedia(), Abandon())


def say_and_end(moment: Moment, text: str, ending: Ending) -> None:
    """Whatever was being said, these are the last words."""
    replying.begin(moment, ending=ending)
    replying.say(moment, text, Purpose.FAREWELL)


def engine_broke(moment: Moment, signal: EngineBroke) -> None:
    """Without ears we say so and end; without a voice the carrier's says it for us."""
    state = moment.state
    moment.note(EngineFailure(turn=state.talk.turn, engine=signal.name, reason=signal.reason, at_ms=signal.at_ms), essential=True)
    ending = Ending(reason=f"{signal.engine.value}-failed", ended_by=EndedBy.PLATFORM, billable=False, firm=True)
    if signal.engine == "voice":
        conclude(moment, ending, words=state.briefing.wording.cannot_go_on)
    elif state.reply is None or state.reply.ending is None:
        say_and_end(moment, state.briefing.wording.cannot_hear, ending)

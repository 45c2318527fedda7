"""No silence over five seconds while the agent owes a word: whatever engine hangs, the caller hears something."""

from realtime.audio import BYTES_PER_MS
from realtime.consent.permission import Standing
from realtime.machine import closing
from realtime.machine.effects import CancelModel, ClearPlayout, SetTimer
from realtime.machine.signals import Engine, EngineBroke, Signal, SpeechStopped, Timer, TimerFired
from realtime.machine.state import CallState, Life, Moment
from realtime.speaking import replying
from realtime.speaking.playout import Purpose
from realtime.thinking import asking, toolruns
from realtime.turns import listening

_SILENT = "silent for too long"
# Apologies in a row for one answer; a model that has not come by then has left us.
_MOST_APOLOGIES = 3


def owes(state: CallState) -> bool:
    """Whether the caller is waiting for us: not while they speak, nor when all has been said."""
    if state.life is not Life.TALKING or state.floor.speaking or (state.held and state.reply is None):
        return False
    if state.floor.open:
        return True
    if state.reply is None:
        return state.permission.standing is Standing.GRANTING
    return state.reply.asked != 0 or toolruns.waiting(state) or not state.speech.all_delivered


def look(moment: Moment, signal: Signal) -> None:
    """After each step: since when something is owed. One alarm clock at a time looks after it, and moves by itself."""
    state = moment.state
    if not owes(state):
        if state.owing_since_ms is not None:
            moment.change(owing_since_ms=None, apologies=0)
        return
    begins = state.owing_since_ms is None
    if begins:
        moment.change(owing_since_ms=signal.ended_ms if isinstance(signal, SpeechStopped) else moment.at_ms)
    due_ms = _silent_since_ms(moment.state) + state.briefing.thresholds.apology_after_ms
    # What was to play until then may have been thrown away since the alarm clock was set.
    sooner = begins or any(isinstance(effect, ClearPlayout) for effect in moment.effects)
    if state.watched_until_ms is None or (sooner and due_ms < state.watched_until_ms):
        _watch_until(moment, due_ms)


def due(moment: Moment) -> None:
    """The alarm clock: if it has been silent for long, say something; if there is no voice to say it, the carrier's does."""
    moment.change(watched_until_ms=None)
    state, thresholds = moment.state, moment.state.briefing.thresholds
    if not owes(state) or state.owing_since_ms is None:
        return
    since_ms = _silent_since_ms(state)
    if moment.at_ms < since_ms + thresholds.apology_after_ms:
        _watch_until(moment, since_ms + thresholds.apology_after_ms)
    elif state.speech.all_delivered:
        _say_something(moment)
        _watch_until(moment, since_ms + thresholds.silence_within_ms)
    elif moment.at_ms < since_ms + thresholds.silence_within_ms:
        _watch_until(moment, since_ms + thresholds.silence_within_ms)
    else:
        broke = EngineBroke(at_ms=moment.at_ms, engine=Engine.VOICE, name=state.briefing.voice, reason=_SILENT)
        closing.engine_broke(moment, broke)


def _silent_since_ms(state: CallState) -> int:
    return max(state.owing_since_ms or 0, state.speech.playout_end // BYTES_PER_MS)


def _watch_until(moment: Moment, at_ms: int) -> None:
    at_ms = max(at_ms, moment.at_ms + 1)
    moment.change(watched_until_ms=at_ms)
    moment.do(SetTimer(timer=Timer.SPEECHLESS, at_ms=at_ms))


def _say_something(moment: Moment) -> None:
    state, words = moment.state, moment.state.briefing.wording
    if state.floor.open:
        # The recogniser does not come back with its last word: what is known of the turn has to do.
        listening.listen(moment, TimerFired(at_ms=moment.at_ms, timer=Timer.PATIENCE))
        state = moment.state
        if not owes(state) or not state.speech.all_delivered:
            return
    reply = state.reply
    moment.change(apologies=state.apologies + 1)
    if reply is not None and reply.asked and state.apologies >= _MOST_APOLOGIES and not reply.still_thinks:
        moment.do(CancelModel(asked=reply.asked))
        name = state.briefing.model_provider
        asking.model_broke(moment, EngineBroke(at_ms=moment.at_ms, engine=Engine.MODEL, name=name, reason=_SILENT, asked=reply.asked))
        return
    if reply is None:
        replying.begin(moment)
    replying.say(moment, words.still_working if state.apologies % 2 else words.please_wait, Purpose.APOLOGY)

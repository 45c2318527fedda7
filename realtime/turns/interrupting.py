"""The caller makes a sound while the agent talks: the agent is silent at once, and goes on unless it was an interruption."""

from events.calls.talking import Dismissal, InterruptionDismissed
from realtime.audio import BYTES_PER_MS
from realtime.consent.recording_consent import heard_enough
from realtime.machine.effects import CancelTimer, PausePlayout, Replay, SetTimer
from realtime.machine.signals import SpeechStopped, Timer, WordFound, WordsRecognised
from realtime.machine.state import CallState, Moment
from realtime.speaking import pausing, playout, replying
from realtime.speaking.playout import Purpose
from realtime.thinking import asking
from realtime.thinking.drafts import Held
from realtime.turns.back_channels import is_back_channel, question_put
from realtime.turns.repeating import repeats_agent
from realtime.turns.turn_taking import TurnOver


def spoken_over(moment: Moment, since_ms: int) -> None:
    """The caller's voice is over the agent's: nothing plays from now on. Last words of a firm ending are said whatever happens."""
    state = moment.state
    if state.reply is None or (state.reply.ending is not None and state.reply.ending.firm):
        return
    if state.speech.pause is None:
        speech = pausing.paused(state.speech, since_ms, moment.at_ms)
        moment.change(speech=speech)
        moment.do(CancelTimer(timer=Timer.PLAYOUT), CancelTimer(timer=Timer.FILLER))
        if speech.pause is not None and speech.pause.unplayed:
            moment.do(PausePlayout(utterance=speech.pause.utterance, sample=speech.pause.sample))
    moment.do(SetTimer(timer=Timer.PAUSE, at_ms=since_ms + state.briefing.thresholds.interruption_after_ms))
    words_known(moment)


def word_found(moment: Moment, signal: WordFound) -> None:
    """By its sound, this is where the word begins that was cut."""
    moment.change(speech=pausing.word_begins(moment.state.speech, signal.utterance, signal.sample))


def model_spoke(moment: Moment, signal: Held) -> None:
    """What the model says and wants in a pause waits: if the caller means it, none of it is said, and no tool is run for it."""
    reply = moment.state.reply
    if moment.state.speech.pause is not None and reply is not None and reply.answers(signal.asked):
        moment.change_reply(held=(*reply.held, signal))
    else:
        asking.take(moment, signal)


def words_known(moment: Moment) -> None:
    """Words of the caller while nothing plays: more than a listener's end the agent's turn."""
    state = moment.state
    if state.speech.pause is not None and state.floor.words and not of_a_listener(state, state.floor.words, moment.at_ms):
        _interrupt(moment)


def own_words(moment: Moment, signal: WordsRecognised) -> bool:
    """Whether the words are the agent's own, come back over the line: they interrupt nothing, and end no turn."""
    state = moment.state
    if not repeats_agent(state.speech, signal, signal.at_ms, voice_noticed=state.floor.open):
        return False
    if signal.is_final and not state.floor.speaking and state.speech.pause is not None:
        _dismiss(moment, "", state.speech.pause.since_ms, why=Dismissal.ECHO)
    return True


def voice_stopped(moment: Moment, signal: SpeechStopped) -> None:
    if moment.state.speech.pause is not None:
        moment.do(SetTimer(timer=Timer.PAUSE, at_ms=signal.at_ms + moment.state.briefing.thresholds.resume_after_ms))


def due(moment: Moment) -> None:
    """The voice goes on, or it has stopped and no words have come: an interruption the one, none the other."""
    state = moment.state
    pause, floor = state.speech.pause, state.floor
    if pause is None:
        return
    if not floor.speaking:
        _dismiss(moment, floor.words, pause.since_ms if floor.started_ms is None else floor.started_ms)
    elif floor.words and moment.at_ms < pause.since_ms + 2 * state.briefing.thresholds.interruption_after_ms:
        moment.do(SetTimer(timer=Timer.PAUSE, at_ms=moment.at_ms + state.briefing.thresholds.interruption_after_ms))
    else:
        _interrupt(moment)


def postpone(moment: Moment, timer: Timer) -> None:
    """Nobody is waiting for the agent while the caller makes a sound."""
    moment.do(SetTimer(timer=timer, at_ms=moment.at_ms + moment.state.briefing.thresholds.resume_after_ms))


def dismissed(moment: Moment, over: TurnOver) -> bool:
    """Whether a turn of the caller's was none, but a listener's sign; the agent goes on then."""
    state = moment.state
    if state.reply is None or not replying.agent_talks(state, moment.at_ms) or not of_a_listener(state, over.words, moment.at_ms):
        return False
    _dismiss(moment, over.words, over.started_ms)
    return True


def no_words(moment: Moment, started_ms: int) -> None:
    """A sound, and no words came of it."""
    if moment.state.speech.pause is not None:
        _dismiss(moment, "", started_ms)


def of_a_listener(state: CallState, words: str, at_ms: int) -> bool:
    """Whether the words go with what the agent is saying. After a question they answer it; before a sound was heard they go on."""
    parts = playout.heard(state.speech, at_ms)
    if not any(part.samples for part in parts) or not is_back_channel(words, state.briefing.wording.back_channels):
        return False
    if any(part.utterance.purpose is Purpose.PERMISSION and heard_enough(part.share) for part in parts):
        return False
    return not question_put([part.utterance.text for part in parts], [part.words for part in parts])


def _interrupt(moment: Moment) -> None:
    pause = moment.state.speech.pause
    if pause is not None:
        replying.cut(moment, spoke_over_since_ms=pause.since_ms)


def _dismiss(moment: Moment, words: str, started_ms: int, *, why: Dismissal = Dismissal.NO_WORDS) -> None:
    state = moment.state
    pause, reply = state.speech.pause, state.reply
    if reply is None:
        return
    repeated = 0
    if pause is not None:
        cut = state.speech.named(pause.utterance)
        repeated = 0 if cut is None else max(0, cut.reached - pause.sample)
    # The interims may have said it before the final did.
    if pause is not None or reply.dismissed_ms != started_ms:
        fact = InterruptionDismissed(
            turn=reply.turn, why=Dismissal.BACK_CHANNEL if words else why,
            words=state.briefing.seal(words) if words else None, speech_started_ms=started_ms,
            cleared_ms=None if pause is None else pause.at_ms, resumed_ms=moment.at_ms, repeated_ms=repeated // BYTES_PER_MS,
        )  # fmt: skip
        moment.note(fact)
    if words:
        moment.change_reply(dismissed_ms=started_ms)
    if pause is not None:
        _resume(moment)


def _resume(moment: Moment) -> None:
    """Go on from the beginning of the word that was cut; then with what the model has said and asked for meanwhile."""
    speech, pieces = pausing.resumed(moment.state.speech, moment.at_ms)
    moment.change(speech=speech)
    moment.do(CancelTimer(timer=Timer.PAUSE))
    for piece in pieces:
        if piece.samples:
            replying.on_wire(moment)
            moment.do(
                Replay(
                    generation=speech.generation, utterance=piece.utterance.id, first=piece.first, samples=piece.samples,
                    from_sample=piece.from_sample,
                )
            )  # fmt: skip
        if piece.utterance.delivered:
            replying.await_mark(moment, piece.utterance)
    reply = moment.state.reply
    if reply is None:
        return
    if reply.asked:
        moment.do(SetTimer(timer=Timer.FILLER, at_ms=moment.at_ms + moment.state.briefing.thresholds.filler_after_ms))
    held = reply.held
    moment.change_reply(held=())
    for signal in held:
        asking.take(moment, signal)
    replying.settle(moment)

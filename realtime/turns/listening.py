"""What the caller's words lead to: an answer to our question, a withdrawal that needs no model, or a question to the model."""

from collections.abc import Sequence
from dataclasses import replace

from events.calls.talking import CallerTurn, Latency
from realtime.consent import recording_consent
from realtime.consent.answers import answer_to_question, withdraws
from realtime.consent.permission import Standing
from realtime.machine.briefing import Briefing
from realtime.machine.effects import CancelTimer
from realtime.machine.signals import SpeechStarted, SpeechStopped, Timer, TimerFired, WordsRecognised
from realtime.machine.state import CallState, Moment, Pending
from realtime.speaking import replying, tongues
from realtime.thinking import asking, conversation, speculating
from realtime.turns import interrupting, turn_taking
from realtime.turns.back_channels import is_back_channel
from realtime.turns.phrases import Answer, asks_more, asks_more_than_withdrawal, looks_complete, says_goodbye
from realtime.turns.turn_taking import Complete, Decision, Floor, FloorEffect, GoesOn, LikelyOver, NotUnderstood, SpokeOver, TurnOver

# Noise can go on; we do not ask about it for ever.
_MOST_MISHEARD = 2
# A cough: shorter than any word that we would ask for again.
_SHORTEST_WORD_MS = 150


def listen(moment: Moment, signal: SpeechStarted | SpeechStopped | WordsRecognised | TimerFired) -> None:
    """Everything that concerns the caller's side goes through here."""
    if isinstance(signal, SpeechStarted):
        moment.do(CancelTimer(timer=Timer.SILENCE))
    wording = moment.state.briefing.wording
    if isinstance(signal, WordsRecognised) and signal.is_final and moment.state.tape.on and withdraws(signal.text, wording):
        recording_consent.withdraw(moment, "the caller's words")
    if isinstance(signal, WordsRecognised) and interrupting.own_words(moment, signal):
        # The recogniser's last word may be waited for.
        signal = replace(signal, text="")
    if isinstance(signal, WordsRecognised) and signal.languages:
        tongues.heard(moment, signal)
    talks = replying.agent_talks(moment.state, signal.at_ms)
    thresholds = moment.state.briefing.thresholds
    if isinstance(signal, SpeechStopped):
        interrupting.voice_stopped(moment, signal)
    floor, outcome = turn_taking.step(
        moment.state.floor, signal, thresholds, agent_talks=talks, complete=_complete(moment.state, talks=talks),
        ahead=thresholds.speculation and thresholds.answer_within_ms > 0 and not talks, language=moment.state.briefing.language,
    )  # fmt: skip
    _take(moment, floor, outcome)
    if isinstance(signal, WordsRecognised):
        interrupting.words_known(moment)


def look(moment: Moment) -> None:
    """After each step: a turn that waits for its answer is over when the answer can be heard, or when none is in the making."""
    state = moment.state
    if state.floor.waits and not speculating.in_the_making(state):
        complete = _complete(state, talks=replying.agent_talks(state, moment.at_ms))
        _take(moment, *turn_taking.ready(state.floor, moment.at_ms, state.briefing.thresholds, complete=complete))


def _complete(state: CallState, *, talks: bool) -> Complete:
    ours = _answers_us if state.permission.standing is Standing.ASKED else _needs_no_more
    briefing = state.briefing
    listed = briefing.wording.back_channels if talks else ""
    return lambda words: ours(words, briefing) or is_back_channel(words, listed)


def _take(moment: Moment, floor: Floor, outcome: Sequence[FloorEffect | Decision]) -> None:
    moment.change(floor=floor)
    for one in outcome:
        match one:
            case TurnOver():
                turn_over(moment, one)
            case NotUnderstood():
                _not_understood(moment, one)
                speculating.settled(moment)
            case SpokeOver(since_ms=since_ms):
                interrupting.spoken_over(moment, since_ms)
            case LikelyOver(words=words):
                # Nobody answers a caller who is on hold.
                if not moment.state.held:
                    speculating.likely_over(moment, words)
            case GoesOn():
                speculating.goes_on(moment)
            case _:
                moment.do(one)


def _needs_no_more(words: str, briefing: Briefing) -> bool:
    return looks_complete(words, briefing.language) or withdraws(words, briefing.wording)


def _answers_us(words: str, briefing: Briefing) -> bool:
    return _needs_no_more(words, briefing) or answer_to_question(words, briefing.wording) is not Answer.UNCLEAR


def turn_over(moment: Moment, over: TurnOver) -> None:
    """The caller has said something, by voice or by key."""
    _turn_over(moment, over)
    speculating.settled(moment)


def _turn_over(moment: Moment, over: TurnOver) -> None:
    state = moment.state
    if state.reply is not None and state.reply.ending is not None and state.reply.ending.firm:
        return
    if interrupting.dismissed(moment, over):
        return
    replying.cut(moment, spoke_over_since_ms=over.started_ms if replying.agent_talks(state, moment.at_ms) else None)
    moment.change(
        talk=conversation.caller_said(moment.state.talk, over.words), reminders=0, misheard=0, turn_words=over.words,
        turn_latency=Latency(speech_ended_ms=over.ended_ms, turn_decided_ms=moment.at_ms, recognised_ms=over.recognised_ms),
    )  # fmt: skip
    turn = CallerTurn(
        turn=moment.state.talk.turn, words=state.briefing.seal(over.words), started_ms=over.started_ms,
        ended_ms=max(over.started_ms, over.ended_ms), recognised_ms=over.recognised_ms, confidence=over.confidence,
    )  # fmt: skip
    moment.note(turn, essential=True)
    tongues.turned(moment)
    moment.do(CancelTimer(timer=Timer.SILENCE))
    _follow(moment, turn, over.words)


def take_up(moment: Moment, turn: CallerTurn, words: str, *, granted: bool) -> None:
    """A turn that another worker heard, and did not live to answer. `granted`: a recording began on it."""
    if granted:
        _then(moment, moment.state.briefing.wording.permission_thanks, more=asks_more(words))
    else:
        _follow(moment, turn, words)


def _follow(moment: Moment, turn: CallerTurn, words: str) -> None:
    said = recording_consent.answer(moment, words)
    if said is not None:
        _answered(moment, said, turn, words)
    elif withdraws(words, moment.state.briefing.wording):
        _withdrawn(moment, words)
    elif moment.state.held:
        replying.wait_for_caller(moment)
    else:
        begin(moment)
        asking.ask(moment)


def _answered(moment: Moment, said: Answer, turn: CallerTurn, words: str) -> None:
    wording = moment.state.briefing.wording
    match said:
        case Answer.YES:
            recording_consent.grant(moment, turn, words)
        case Answer.NO:
            if withdraws(words, wording):
                recording_consent.withdraw(moment, "the caller's words")
            _then(moment, wording.permission_refused, more=asks_more(words))
        case Answer.UNCLEAR if (
            asks_more(words) or says_goodbye(words, moment.state.briefing.language) or moment.state.permission.standing is Standing.CLOSED
        ):
            begin(moment)
            asking.ask(moment)
        case Answer.UNCLEAR:
            begin(moment)
            replying.ask_permission(moment)


def permission_settled(moment: Moment, pending: Pending, *, recording: bool) -> None:
    """The yes has led to a recording, or could not: go on with what the caller asked besides, or offer help."""
    wording = moment.state.briefing.wording
    if moment.state.reply is None and not moment.state.floor.open:
        _then(moment, wording.permission_thanks if recording else wording.recording_impossible, more=pending.asks_more)


def _then(moment: Moment, text: str, *, more: bool) -> None:
    begin(moment)
    replying.say(moment, text)
    if more:
        asking.ask(moment)
    else:
        replying.say(moment, moment.state.briefing.wording.how_can_i_help)


def _withdrawn(moment: Moment, words: str) -> None:
    """The recorder has stopped already, at the words themselves; here the caller is told."""
    wording = moment.state.briefing.wording
    was_recorded = moment.state.tape.withdrawn or moment.state.tape.on or moment.state.permission.standing is Standing.GRANTING
    recording_consent.withdraw(moment, "the caller's words")
    begin(moment)
    replying.say(moment, wording.recording_stopped if was_recorded else wording.not_recording)
    if asks_more_than_withdrawal(words):
        asking.ask(moment)


def _not_understood(moment: Moment, sound: NotUnderstood) -> None:
    state = moment.state
    if state.reply is not None:
        interrupting.no_words(moment, sound.started_ms)
        return
    if state.held:
        replying.wait_for_caller(moment)
        return
    if state.talk.unanswered and state.talk.turn:
        # A noise stopped us before we had said a word: the caller's last words still wait for their answer.
        begin(moment)
        asking.ask(moment)
        return
    if sound.ended_ms - sound.started_ms < _SHORTEST_WORD_MS:
        replying.wait_for_caller(moment)
        return
    moment.change(misheard=state.misheard + 1)
    if state.misheard >= _MOST_MISHEARD:
        replying.wait_for_caller(moment)
        return
    replying.begin(moment)
    if state.permission.standing is Standing.ASKED and state.permission.times_asked < _MOST_MISHEARD:
        replying.ask_permission(moment)
    else:
        replying.say(moment, state.briefing.wording.not_understood)


def begin(moment: Moment) -> None:
    """A reply to the caller's words, with the times that led to it."""
    latency = replace(moment.state.turn_latency)
    replying.begin(moment, latency=latency)

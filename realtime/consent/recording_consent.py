"""Nothing is recorded before the caller has said yes and that is on the log; and nothing after they said stop."""

from dataclasses import replace

from commands.calls.orders import StartRecording
from commands.consents import GrantConsent, RevokeConsent
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.talking import CallerTurn
from events.consents import Purpose
from realtime.consent.answers import answer_to_question
from realtime.consent.permission import Standing
from realtime.machine.effects import Note, StartRecorder, StopRecorder
from realtime.machine.state import Awaited, Moment, Pending
from realtime.turns.phrases import Answer, asks_more

_MOST_TIMES_ASKED = 2
_HEARD_ENOUGH = 0.7


def heard_enough(share: float) -> bool:
    """A yes counts when the question was heard, or so much of it that it cannot be mistaken."""
    return share >= _HEARD_ENOUGH


def answer(moment: Moment, words: str) -> Answer | None:
    """What the turn says to our question; None when no question stands, or not enough of it was heard."""
    permission = moment.state.permission
    if permission.standing is not Standing.ASKED:
        return None
    said = answer_to_question(words, moment.state.briefing.wording)
    if said is Answer.NO:
        _stand(moment, Standing.CLOSED)
        return said
    if not heard_enough(permission.heard_share):
        _stand(moment, Standing.TO_ASK)
        return None
    if said is Answer.YES:
        return said
    _stand(moment, Standing.TO_ASK if permission.times_asked < _MOST_TIMES_ASKED else Standing.CLOSED)
    return said


def grant(moment: Moment, turn: CallerTurn, words: str) -> None:
    """Put the caller's yes on the log; what it allows begins when it is there."""
    state = moment.state
    _stand(moment, Standing.GRANTING)
    evidence = f"call {state.briefing.call_id}, turn {turn.turn}, {turn.started_ms}-{turn.ended_ms} ms"
    moment.commit(
        GrantConsent(subject=state.briefing.caller, purpose=Purpose.RECORDING, evidence=evidence), Awaited.GRANT, asks_more=asks_more(words)
    )


def granted(moment: Moment, pending: Pending, version: int) -> None:
    """The consent is on the log. Unless it was taken back meanwhile, ask for the recording's own place on the log."""
    if moment.state.permission.standing is not Standing.GRANTING:
        return
    start = StartRecording(caller_ref=moment.state.briefing.caller_ref, consent_version=version, at_ms=moment.at_ms)
    moment.commit(start, Awaited.RECORDING, asks_more=pending.asks_more)


def declined(moment: Moment) -> None:
    """The log did not take the consent or the start: nothing is recorded."""
    if moment.state.permission.standing is Standing.GRANTING:
        _stand(moment, Standing.CLOSED)


def closed(moment: Moment) -> None:
    """What allowed a recording before the call changed hands allows none any more."""
    _stand(moment, Standing.CLOSED)


def started(moment: Moment, version: int) -> None:
    """The start is on the log as the call's fact number `version`: record from now on, or say at once that we do not."""
    state = moment.state
    if state.tape.on or version <= state.tape.stopped_version:
        return
    if state.permission.standing in (Standing.GRANTING, Standing.RECORDABLE):
        moment.change(tape=replace(state.tape, on=True), permission=replace(state.permission, standing=Standing.RECORDABLE))
        moment.do(StartRecorder(at_ms=moment.at_ms))
    else:
        # It came too late: the caller took the yes back, or was told that nothing would be recorded.
        moment.change(tape=replace(state.tape, stopped_version=version))
        moment.note(RecordingStopped(caller_ref=state.briefing.caller_ref, reason="not-wanted", at_ms=moment.at_ms), essential=True)


def recorded(moment: Moment, fact: RecordingStarted | RecordingStopOrdered | RecordingStopped, version: int) -> None:
    """What the call's own stream says of the recording, whoever said it."""
    match fact:
        case RecordingStarted():
            started(moment, version)
        case RecordingStopOrdered(reason=reason):
            _stop(moment, reason)
            if moment.state.permission.standing is not Standing.TO_ASK:
                _stand(moment, Standing.CLOSED)
            moment.change(tape=replace(moment.state.tape, stopped_version=version))
        case RecordingStopped():
            moment.change(tape=replace(moment.state.tape, stopped_version=version))


def withdraw(moment: Moment, evidence: str) -> bool:
    """The caller takes the consent back: the recorder stops now, the log hears of it next. Returns whether it was on."""
    was_on = moment.state.tape.on
    _stop(moment, "consent-withdrawn")
    if not moment.state.tape.withdrawn:
        where = f"call {moment.state.briefing.call_id}, {moment.at_ms} ms: {evidence}"
        moment.do(Note(command=RevokeConsent(purpose=Purpose.RECORDING, evidence=where), essential=True))
    _stand(moment, Standing.CLOSED)
    moment.change(tape=replace(moment.state.tape, withdrawn=True))
    return was_on


def _stop(moment: Moment, reason: str) -> None:
    state = moment.state
    if not state.tape.on:
        return
    moment.change(tape=replace(state.tape, on=False))
    moment.do(StopRecorder(at_ms=moment.at_ms))
    moment.note(RecordingStopped(caller_ref=state.briefing.caller_ref, reason=reason, at_ms=moment.at_ms), essential=True)


def _stand(moment: Moment, standing: Standing) -> None:
    moment.change(permission=replace(moment.state.permission, standing=standing))

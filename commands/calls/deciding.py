"""Decides what may happen to a phone call: it rings once, is answered once, is recorded only while that is allowed, and ends once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, assert_never

from commands.calls import control
from commands.calls.control import Control
from commands.calls.orders import (
    AnswerCall,
    AskToResume,
    CallCommand,
    EndCall,
    FindCallSid,
    NoteListening,
    NoteTransferLeg,
    OrderHangUp,
    OrderHold,
    OrderHoldEnd,
    OrderRecordingStop,
    OrderTransfer,
    ReceiveCall,
    ReserveCallSid,
    ResumeCall,
    StartRecording,
    Witness,
    Witnessed,
    WitnessLate,
)
from commands.calls.refusals import (
    AlreadyAnswered,
    CallIdTaken,
    CallNotAnswered,
    CallOver,
    CallSidReservedAlready,
    RecordingNotAllowed,
    ResumedElsewhere,
    ResumedTooOften,
)
from commands.decider import Decider, NotFound
from events.calls.control import (
    CallTransferred,
    HangUpOrdered,
    HoldBegan,
    HoldEnded,
    HoldEndOrdered,
    HoldOrdered,
    TransferFailed,
    TransferLegChanged,
    TransferOrdered,
)
from events.calls.ending import CallEnded, FactsLost
from events.calls.every import CallEvent
from events.calls.late import LateFact
from events.calls.reasons import is_billable, promises_callback
from events.calls.recording import RecordingListened, RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallAnswered, CallReceived, CallResumed, CallSidReserved

# A worker that saw no answer sends again what it witnessed last; further back a repeat is known by its command id alone.
_REMEMBERED = 64
MOST_RESUMES = 3


class Phase(Enum):
    UNKNOWN = "unknown"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the decisions need. `barred_version`: no recording may start on this version of the consents, or an older one."""

    phase: Phase = Phase.UNKNOWN
    call_sid: str = ""
    caller_ref: str = ""
    stream_sid: str = ""
    resumes: int = 0
    recording: bool = False
    stop_ordered: bool = False
    barred_version: int = 0
    control: Control = field(default_factory=Control)
    recent: tuple[Witnessed, ...] = ()
    late: tuple[str, ...] = ()
    listenings: tuple[str, ...] = ()


def reserve(command: ReserveCallSid | FindCallSid, holder: CallSidReserved | None) -> Sequence[CallSidReserved]:
    """The first call id keeps the carrier's name for ever."""
    if isinstance(command, FindCallSid):
        if holder is None:
            raise NotFound("the carrier's call is none of ours")
        raise CallSidReservedAlready(holder.call_id, holder.organisation_id)
    if holder is None:
        return (CallSidReserved(call_id=command.call_id, organisation_id=command.organisation_id),)
    if holder.call_id != command.call_id:
        raise CallSidReservedAlready(holder.call_id, holder.organisation_id)
    return ()


def decide(command: CallCommand, call: Call) -> Sequence[CallEvent]:
    """Raises NotFound for a call that was never received."""
    if isinstance(command, ReceiveCall):
        return _receive(command, call)
    if call.phase is Phase.UNKNOWN:
        raise NotFound("no such call was received; check its id")
    match command:
        case AnswerCall():
            return _answer(command, call)
        case AskToResume(anyhow=anyhow):
            _must_be_under_way(call) if anyhow else _must_be_resumable(call)
            return ()
        case ResumeCall():
            return _resume(command, call)
        case Witness(fact=fact, stream_sid=stream_sid):
            return _witness(fact, stream_sid, call)
        case WitnessLate():
            return _witness_late(command, call)
        case StartRecording():
            return _start_recording(command, call)
        case OrderRecordingStop():
            return _order_recording_stop(command, call)
        case OrderHangUp():
            _must_not_be_over(call)
            return control.ordered(command, call.control)
        case OrderTransfer() | OrderHold() | OrderHoldEnd():
            _must_be_under_way(call)
            return control.ordered(command, call.control)
        case NoteTransferLeg():
            return control.leg_noted(command, call.control)
        case NoteListening(listening=listening, by=by, reason=reason):
            return () if listening in call.listenings else (RecordingListened(listening=listening, by=by, reason=reason),)
        case EndCall():
            return _end(command, call)
        case _:
            assert_never(command)


def _receive(command: ReceiveCall, call: Call) -> Sequence[CallEvent]:
    if call.phase is Phase.UNKNOWN:
        return (CallReceived(**_fields(command)),)
    if call.call_sid != command.call_sid:
        raise CallIdTaken(f"this is the carrier's call {call.call_sid} already; begin another call under an id of its own")
    return ()


def _answer(command: AnswerCall, call: Call) -> Sequence[CallEvent]:
    _must_not_be_over(call)
    if call.phase is Phase.RINGING:
        return (CallAnswered(**_fields(command)),)
    if call.stream_sid != command.stream_sid:
        raise AlreadyAnswered(f"the call speaks over media stream {call.stream_sid}; close the second one")
    return ()


def _resume(command: ResumeCall, call: Call) -> Sequence[CallEvent]:
    """What the lost stream kept is over with it: a recording that goes on begins anew, on a consent that holds then."""
    _must_be_under_way(call)
    if call.stream_sid == command.stream_sid:
        return ()
    if call.stream_sid != command.after:
        raise ResumedElsewhere(f"the call goes on over media stream {call.stream_sid}; close this one")
    _must_be_resumable(call)
    given = {each.name: getattr(command, each.name) for each in fields(command) if each.name != "after"}
    stopped = RecordingStopped(caller_ref=call.caller_ref, reason=command.cause, at_ms=command.at_ms)
    return (*((stopped,) if call.recording else ()), CallResumed(**given, attempt=call.resumes + 1))


def _must_be_resumable(call: Call) -> None:
    _must_be_under_way(call)
    if call.resumes >= MOST_RESUMES:
        raise ResumedTooOften(f"the call lost its worker {call.resumes + 1} times; end it with a sentence")


def _witness(fact: Witnessed, stream_sid: str, call: Call) -> Sequence[CallEvent]:
    _must_be_under_way(call)
    _must_have_the_call(stream_sid, call)
    if isinstance(fact, RecordingStopped):
        return (fact,) if call.recording else ()
    return () if fact in call.recent else (fact,)


def _witness_late(command: WitnessLate, call: Call) -> Sequence[CallEvent]:
    late = LateFact.of(command.incarnation, command.sequence, command.fact)
    if late.name in call.late:
        return ()
    if isinstance(command.fact, CallEnded) and call.stream_sid in ("", command.incarnation):
        # Nobody else has the call, so nobody else would ever say that it is over.
        return (late, *_end(EndCall(**_fields(command.fact)), call))
    return (late,)


def _start_recording(command: StartRecording, call: Call) -> Sequence[CallEvent]:
    if call.phase is Phase.ENDED:
        raise RecordingNotAllowed("the call has ended; there is nothing to record")
    _must_be_under_way(call)
    _must_have_the_call(command.stream_sid, call)
    if command.caller_ref != call.caller_ref:
        raise RecordingNotAllowed("the consent is another person's; ask the caller of this call")
    if command.consent_version <= call.barred_version:
        raise RecordingNotAllowed("the consent was withdrawn, or replaced by a newer one; ask the caller again")
    if call.stop_ordered:
        raise RecordingNotAllowed("the recording is being stopped; begin a new one once it has stopped")
    return () if call.recording else (RecordingStarted(**_fields(command)),)


def _order_recording_stop(command: OrderRecordingStop, call: Call) -> Sequence[CallEvent]:
    if call.phase is Phase.ENDED:
        return ()
    # Said even where nothing records: a start that was decided on the old consent may still be on its way. Not said where
    # the bar is that high already: by an earlier order, or by a recording that rests on a newer consent.
    newly_barred = command.revoked_version > call.barred_version
    ordered = RecordingStopOrdered(reason=command.reason, revoked_version=command.revoked_version)
    return (ordered,) if newly_barred or (not command.revoked_version and call.recording and not call.stop_ordered) else ()


def _end(command: EndCall, call: Call) -> Sequence[CallEvent]:
    if call.phase is Phase.ENDED:
        return ()
    _must_have_the_call(command.stream_sid, call)
    stopped = RecordingStopped(caller_ref=call.caller_ref, reason="call-ended", at_ms=command.duration_ms)
    judged = {
        "billable": is_billable(command.reason, command.stage, otherwise=command.billable),
        "callback_promised": promises_callback(command.reason, command.stage),
    }
    return (*((stopped,) if call.recording else ()), CallEnded(**{**_fields(command), **judged}))


def _must_not_be_over(call: Call) -> None:
    if call.phase is Phase.ENDED:
        raise CallOver("the call has ended; nothing more can be done in it")


def _must_be_under_way(call: Call) -> None:
    _must_not_be_over(call)
    if call.phase is not Phase.ANSWERED:
        raise CallNotAnswered("the call's media stream has not started yet; answer the call first")


def _must_have_the_call(stream_sid: str, call: Call) -> None:
    """A worker that was frozen, or cut off, may still speak of a call that goes on elsewhere."""
    if stream_sid not in ("", call.stream_sid):
        raise ResumedElsewhere(f"the call goes on over media stream {call.stream_sid}; what this one saw is kept as late")


def _fields(command: ReceiveCall | AnswerCall | StartRecording | EndCall | CallEnded) -> dict[str, Any]:
    """These commands have the fields of their facts, name by name, but for what is decided here; and may say from which media stream."""
    others = {"stream_sid"} if isinstance(command, StartRecording | EndCall) else {"callback_promised"}
    return {each.name: getattr(command, each.name) for each in fields(command) if each.name not in others}


def evolve(call: Call, fact: CallEvent) -> Call:
    match fact:
        case CallReceived(call_sid=call_sid, caller_ref=caller_ref):
            return replace(call, phase=Phase.RINGING, call_sid=call_sid, caller_ref=caller_ref)
        case CallAnswered(stream_sid=stream_sid):
            return replace(call, phase=Phase.ANSWERED, stream_sid=stream_sid)
        case CallResumed(stream_sid=stream_sid):
            return replace(call, stream_sid=stream_sid, resumes=call.resumes + 1)
        case RecordingStarted(consent_version=version):
            return replace(call, recording=True, barred_version=max(call.barred_version, version - 1))
        case RecordingStopOrdered(revoked_version=version):
            return replace(call, stop_ordered=call.recording, barred_version=max(call.barred_version, version))
        case RecordingStopped():
            return replace(call, recording=False, stop_ordered=False)
        case HangUpOrdered() | TransferOrdered() | TransferLegChanged() | HoldOrdered() | HoldEndOrdered():
            return replace(call, control=control.evolve(call.control, fact))
        case CallTransferred() | TransferFailed() | HoldBegan() | HoldEnded():
            return _witnessed(replace(call, control=control.evolve(call.control, fact)), fact)
        case LateFact(name=name):
            return replace(call, late=(*call.late, name)[-_REMEMBERED:])
        case CallEnded():
            return replace(call, phase=Phase.ENDED, recent=())
        case RecordingListened(listening=listening):
            return replace(call, listenings=(*call.listenings, listening)[-_REMEMBERED:])
        case FactsLost() | CallSidReserved():
            # Two losses of as many facts are two losses; a reservation stands on a stream of its own.
            return call
        case _:
            return _witnessed(call, fact)


def _witnessed(call: Call, fact: Witnessed) -> Call:
    return replace(call, recent=(*call.recent, fact)[-_REMEMBERED:])


CALLS = Decider(
    room="calls", category="calls", initial=Call(), decide=decide, evolve=evolve, over=lambda call: call.phase is Phase.ENDED
)  # fmt: skip


CALL_SIDS: Decider[ReserveCallSid | FindCallSid, CallSidReserved | None, CallSidReserved] = Decider(
    room="calls", category="call-sids", initial=None, decide=reserve, evolve=lambda _, fact: fact, over=lambda holder: holder is not None
)

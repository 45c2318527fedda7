"""A caller is put through to a person, blindly: after our words the carrier dials, and by its answer we are out of the call or not."""

from collections.abc import Mapping
from dataclasses import replace

from events.calls.control import CallTransferred, TransferFailed
from events.calls.ending import EndedBy
from realtime.machine import closing
from realtime.machine.effects import CancelTimer, SetTimer, Transfer
from realtime.machine.signals import PutThrough, Timer
from realtime.machine.state import Ending, Life, Moment, Transferring
from realtime.ports import ToolSpec
from realtime.speaking import replying

# The carrier answers within its own time; this is for a shell that never says so.
_ANSWER_WITHIN_MS = 10_000
# Once it has agreed, the carrier ends our stream by itself.
_GONE_WITHIN_MS = 5_000


def spec(destinations: Mapping[str, str]) -> ToolSpec:
    """The tool, with the destinations of this agent."""
    return ToolSpec(
        name="transfer_call",
        description="Put the caller through to a person after the words said with it have been spoken. It ends your part of the call.",
        input_schema={
            "type": "object",
            "properties": {"destination": {"type": "string", "enum": sorted(destinations)}},
            "required": ["destination"],
            "additionalProperties": False,
        },
    )


def after_these_words(moment: Moment, destination: str) -> bool:
    """The model wants it, with the reply under way; False where the agent has no such destination or one is tried already."""
    if destination not in moment.state.briefing.destinations or moment.state.transfer is not None:
        return False
    moment.change_reply(ending=_ending(destination, EndedBy.AGENT))
    return True


def ordered(moment: Moment, destination: str) -> None:
    """Someone outside wants it: whatever was being said, the caller is told and put through."""
    state = moment.state
    if state.transfer is not None:
        return
    if destination not in state.briefing.destinations:
        moment.note(TransferFailed(destination=destination, reason="unknown-destination", at_ms=moment.at_ms), essential=True)
        return
    closing.say_and_end(moment, state.briefing.wording.putting_through, replace(_ending(destination, EndedBy.OPERATOR), firm=True))


def begin(moment: Moment, ending: Ending) -> None:
    """The words that led here were heard: ask the carrier. Until it has answered, the call is still ours."""
    number = moment.state.briefing.destinations[ending.transfer]
    moment.change(ended=None, transfer=Transferring(destination=ending.transfer, by=ending.ended_by))
    moment.do(Transfer(number=number), SetTimer(timer=Timer.TRANSFER, at_ms=moment.at_ms + _ANSWER_WITHIN_MS))


def answered(moment: Moment, signal: PutThrough) -> None:
    """The carrier has the caller, or has not and the agent goes on. Its answer may come after the end of our stream."""
    state = moment.state
    transfer = state.transfer
    if transfer is None or transfer.done:
        return
    if signal.failure:
        moment.change(transfer=None)
        moment.do(CancelTimer(timer=Timer.TRANSFER))
        moment.note(TransferFailed(destination=transfer.destination, reason=signal.failure, at_ms=moment.at_ms), essential=True)
        if state.life is Life.TALKING:
            replying.begin(moment)
            replying.say(moment, state.briefing.wording.not_put_through)
            replying.settle(moment)
        return
    moment.change(transfer=replace(transfer, done=True))
    number = state.briefing.seal(state.briefing.destinations[transfer.destination])
    moment.note(
        CallTransferred(
            destination=transfer.destination, number=number, by=transfer.by, at_ms=min(moment.at_ms, state.ended_ms or moment.at_ms)
        ),
        essential=True,
    )
    if state.life is Life.CLOSING:
        moment.change(ended=_ending(transfer.destination, transfer.by))
    else:
        moment.do(SetTimer(timer=Timer.TRANSFER, at_ms=moment.at_ms + _GONE_WITHIN_MS))


def overdue(moment: Moment) -> None:
    """No answer in all that time: the caller stays ours. Or the answer was yes, and our stream is there still: leave it."""
    transfer = moment.state.transfer
    if transfer is None:
        return
    if not transfer.done:
        answered(moment, PutThrough(at_ms=moment.at_ms, failure="no-answer-in-time"))
    else:
        # To hang up now would be to hang up on the two who talk.
        closing.conclude(moment, _ending(transfer.destination, transfer.by), hang_up=False)


def ending_of(moment: Moment, gone: Ending) -> Ending:
    """Why our stream ended: it was taken from us because we wished so, or for the reason given."""
    transfer = moment.state.transfer
    return _ending(transfer.destination, transfer.by) if transfer is not None and transfer.done else gone


def _ending(destination: str, by: EndedBy) -> Ending:
    return Ending(reason="transferred", ended_by=by, billable=True, transfer=destination)

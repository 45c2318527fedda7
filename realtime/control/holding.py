"""A caller waits on the line: nobody answers what they say, and they are told now and then that they are not forgotten."""

from events.calls.control import HoldBegan, HoldEnded
from realtime.machine.effects import CancelTimer, SetTimer
from realtime.machine.signals import Timer
from realtime.machine.state import Moment
from realtime.speaking import replying
from realtime.thinking import asking, conversation

_NOT_ANSWERED = "(The caller was on hold, and nobody has answered what they said last. Answer it now.)"


def begin(moment: Moment) -> None:
    """What is being said ends here; words of the caller are heard, kept, and answered afterwards."""
    state = moment.state
    if state.held or state.transfer is not None or (state.reply is not None and state.reply.ending is not None):
        return
    replying.begin(moment)
    moment.change(held=True, held_turn=conversation.answered_turn(moment.state.talk))
    moment.note(HoldBegan(at_ms=moment.at_ms), essential=True)
    moment.do(SetTimer(timer=Timer.HOLD, at_ms=moment.at_ms + state.briefing.thresholds.max_hold_ms))
    replying.say(moment, state.briefing.wording.please_hold)


def go_on(moment: Moment, since_ms: int, answered_turn: int) -> None:
    """Another worker has the call: the caller waits on, and no longer than they would have."""
    moment.change(held=True, held_turn=answered_turn)
    due_ms = max(since_ms + moment.state.briefing.thresholds.max_hold_ms, moment.at_ms)
    moment.do(SetTimer(timer=Timer.HOLD, at_ms=due_ms))
    remind(moment)


def remind(moment: Moment) -> None:
    """They are not forgotten."""
    replying.begin(moment)
    replying.say(moment, moment.state.briefing.wording.still_on_hold)


def end(moment: Moment, reason: str) -> None:
    """The agent goes on: with what was said meanwhile, or with a word of thanks."""
    state = moment.state
    if not state.held:
        return
    replying.begin(moment)
    moment.change(held=False)
    moment.note(HoldEnded(reason=reason, at_ms=moment.at_ms), essential=True)
    moment.do(CancelTimer(timer=Timer.HOLD))
    replying.say(moment, state.briefing.wording.back_from_hold)
    talk = moment.state.talk
    if talk.turn > state.held_turn and not talk.unanswered:
        # They were told to wait since: that was no answer.
        moment.change(talk=conversation.came_late(talk, _NOT_ANSWERED))
    if moment.state.talk.unanswered and talk.turn:
        asking.ask(moment)

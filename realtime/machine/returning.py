"""A call that lost its worker, taken up by another: it goes on in one sentence, and repeats nothing that was acknowledged."""

from commands.calls.orders import StartRecording
from events.calls.ending import EndedBy
from realtime.consent.permission import Standing
from realtime.control import capping, capturing, holding
from realtime.machine import closing
from realtime.machine.resuming import Past
from realtime.machine.signals import MediaResumed
from realtime.machine.state import Awaited, Ending, Life, Moment, Round, Tape
from realtime.speaking import replying, sentences, tongues
from realtime.thinking import asking, conversation, tooling
from realtime.turns import listening

_MOST_TIMES_ASKED = 2
_TO_THE_MODEL = (
    "(The line broke while you were answering; how much the caller heard of it is not known. You have just apologised for that. "
    "Answer now, in short, and ask for nothing that the caller has said already.)"
)
_FROM_THERE = (
    "(The line broke while you were answering: the caller has heard your answer as far as it stands above, and that you are sorry. "
    "Go on from there, in short, and say nothing again.)"
)


def resume(moment: Moment, signal: MediaResumed) -> None:
    """The first step of a call on its second worker."""
    past = signal.past
    tongues.go_on(moment, past.language, past.voice_name)
    briefing = moment.state.briefing
    waiting = past.open_turn is not None or past.unheard or past.digits or past.held_since_ms is not None
    warning = capping.go_on(moment, past.spent, warned=past.time_warned)
    back = briefing.wording.back if waiting else briefing.wording.back_listening
    doubtful = tuple(one.use for one in past.asked if one.outcome is None and not one.idempotent)
    moment.change(
        life=Life.TALKING, stage=past.stage, talk=past.talk, disclosure=past.disclosure, permission=past.permission,
        tape=Tape(stopped_version=past.stopped_version, withdrawn=past.withdrawn), in_doubt=(*past.in_doubt, *doubtful),
        turn_words=past.open_words, preface=f"{back} {briefing.wording.time_almost_up}" if warning else back,
    )  # fmt: skip
    if past.hang_up_ordered:
        closing.conclude(moment, Ending(reason="hung-up-by-operator", ended_by=EndedBy.OPERATOR, billable=True))
        return
    if past.consent_version:
        # Its own place on the log says whether the consent still holds: before that nothing is kept.
        start = StartRecording(caller_ref=briefing.caller_ref, consent_version=past.consent_version, at_ms=signal.at_ms)
        moment.commit(start, Awaited.RECORDING_AGAIN)
    if past.digits:
        capturing.lost(moment, past.digits, past.digits_since_ms, settled=past.digits_settled)
    if past.held_since_ms is not None:
        holding.go_on(moment, past.held_since_ms, past.held_turn)
        if past.hold_wanted is False:
            holding.end(moment, "ordered")
    elif past.hold_wanted:
        holding.begin(moment)
    else:
        _go_on(moment, past)


def _go_on(moment: Moment, past: Past) -> None:
    words = moment.state.briefing.wording
    if past.part_heard and past.unheard:
        _say_the_rest(moment, past)
    elif past.open_turn is not None and past.asked:
        _answer_with_tools(moment, past)
    elif past.open_turn is not None:
        moment.change(talk=conversation.noted(moment.state.talk, _TO_THE_MODEL))
        listening.take_up(moment, past.open_turn, past.open_words, granted=past.granted)
    elif past.digits:
        replying.begin(moment)
        asking.ask(moment)
    elif past.unheard and past.talk.turn:
        replying.begin(moment)
        replying.say(moment, past.unheard)
    else:
        replying.begin(moment)
        if past.unheard and words.greeting in past.unheard:
            replying.say(moment, words.greeting)
        _ask_again(moment)


def _say_the_rest(moment: Moment, past: Past) -> None:
    """Part of the reply was heard: what follows was written, or the model goes on from there."""
    if past.complete:
        replying.begin(moment)
        pieces, rest = sentences.cut(f"{past.unheard} ", 1, first=False)
        for text in (*pieces, rest.strip()):
            replying.say(moment, text)
    else:
        moment.change(talk=conversation.came_late(moment.state.talk, _FROM_THERE))
        replying.begin(moment)
        asking.ask(moment)


def _ask_again(moment: Moment) -> None:
    """A question that got no answer is put once more; where none is open, the caller has the floor."""
    permission, briefing = moment.state.permission, moment.state.briefing
    if not briefing.ask_to_record or permission.times_asked >= _MOST_TIMES_ASKED:
        return
    if permission.standing is Standing.ASKED or (permission.standing is Standing.TO_ASK and moment.state.talk.turn == 0):
        replying.ask_permission(moment)


def _answer_with_tools(moment: Moment, past: Past) -> None:
    """The reply that was lost had asked for tools: what they answered is known, what may be asked again is, what may not is not."""
    moment.change(talk=conversation.noted(moment.state.talk, _TO_THE_MODEL))
    replying.begin(moment)
    offered = {tool.spec.name: tool for tool in moment.state.briefing.tools}
    again = [one for one in past.asked if one.outcome is None and one.idempotent and one.use.name in offered]
    first = Round(
        first_utterance=moment.state.speech.next_id, uses=tuple(one.use for one in past.asked),
        outcomes=tuple(one.told for one in past.asked if one not in again),
    )  # fmt: skip
    moment.change_reply(rounds=(first,))
    for one in again:
        tooling.run_again(moment, one.use, offered[one.use.name], one.turn)
    asking.go_on(moment)

"""Questions to the model: which one is asked, what it says as it says it, and what happens when it does not."""

from dataclasses import replace
from typing import assert_never

from events.calls.ending import EndedBy, EngineFailure
from events.calls.talking import Latency
from events.calls.thinking import ModelChosen
from realtime.consent.permission import Standing
from realtime.machine.briefing import Thresholds
from realtime.machine.effects import AskModel, CancelModel, CancelTimer, SetTimer
from realtime.machine.signals import Engine, EngineBroke, ModelDone, ModelSaid, ModelThought, ModelWantsTool, Timer
from realtime.machine.state import Ending, Moment, Reply, Round
from realtime.speaking import playout, replying, sentences
from realtime.speaking.playout import Purpose
from realtime.speaking.pronouncing import alternatives
from realtime.thinking import accounting, folding, guarding, questions, speculating, tooling, toolruns
from realtime.thinking.drafts import Held
from realtime.thinking.models import Choice

_MOST_TIMES_ASKED = 2
# A model that fails twice in a row has left us.
_MOST_FAILURES = 2


def ask(moment: Moment) -> None:
    """Ask the model for the next words of the reply under way; the first question of a reply chooses the model.

    Where it was asked the same ahead, what it has answered since counts at once.
    """
    reply, thresholds = moment.state.reply, moment.state.briefing.thresholds
    if reply is None or reply.asked:
        return
    if not reply.model:
        choice = _chosen(moment)
        moment.change_reply(model=choice.model, thinks=questions.thinks(choice))
    folding.fold_if_full(moment)
    state = moment.state
    reply = state.reply or reply
    request = questions.question(state, state.talk, replying.exchanges_said(state), reply.model, thinks=reply.thinks)
    draft = speculating.take_up(moment, request)
    if draft is None:
        moment.change(next_question=state.next_question + 1)
        moment.do(AskModel(asked=state.next_question, request=request))
    moment.change_reply(
        asked=state.next_question if draft is None else draft.asked, last_word_ms=moment.at_ms, answered_characters=0,
        asked_characters=questions.characters(request), spent=replace(reply.spent, model=reply.model),
    )  # fmt: skip
    # Who is known to think at length says so at once.
    filler_ms = thresholds.filler_after_ms if reply.thinks else thresholds.thinking_filler_after_ms
    asked_ms = moment.at_ms if draft is None else draft.asked_ms
    moment.do(
        SetTimer(timer=Timer.MODEL, at_ms=moment.at_ms + _within_ms(reply, thresholds)),
        SetTimer(timer=Timer.FILLER, at_ms=max(moment.at_ms, asked_ms + filler_ms)),
    )
    for held in () if draft is None else draft.held:
        take(moment, replace(held, at_ms=moment.at_ms))


def take(moment: Moment, held: Held) -> None:
    """What the model says, as if it were said now."""
    match held:
        case ModelSaid():
            model_said(moment, held)
        case ModelThought():
            model_thought(moment, held)
        case ModelWantsTool():
            model_wants_tool(moment, held)
        case ModelDone():
            model_done(moment, held)
        case _:
            assert_never(held)


def _within_ms(reply: Reply, thresholds: Thresholds) -> int:
    return thresholds.thinking_within_ms if reply.still_thinks else thresholds.model_within_ms


def _chosen(moment: Moment) -> Choice:
    state = moment.state
    choice = questions.choice_for(state, state.turn_words)
    moment.note(ModelChosen(turn=state.talk.turn, rule=choice.rule, logical=choice.logical, model=choice.model))
    return choice


def model_said(moment: Moment, signal: ModelSaid) -> None:
    if speculating.keep(moment, signal):
        return
    reply = moment.state.reply
    if reply is None or not reply.answers(signal.asked):
        return
    least = playout.least_characters(moment.state.speech, signal.at_ms)
    pieces, rest = sentences.cut(reply.buffer + signal.text, least, first=reply.wrote == 0)
    moment.change_reply(
        buffer=rest, last_word_ms=signal.at_ms, latency=_heard_from(reply, signal.at_ms), wrote=reply.wrote + len(pieces),
        answered_characters=reply.answered_characters + len(signal.text),
    )  # fmt: skip
    for piece in pieces:
        guarding.say(moment, piece)


def model_thought(moment: Moment, signal: ModelThought) -> None:
    """Kept for the model itself, should it ask for tools: it wants its own thoughts back, unaltered."""
    if speculating.keep(moment, signal):
        return
    reply = moment.state.reply
    if reply is None or not reply.answers(signal.asked):
        return
    thought = replace(reply.round, reasoning=(*reply.round.reasoning, signal.reasoning))
    moment.change_reply(
        rounds=(*reply.rounds[:-1], thought), last_word_ms=signal.at_ms,
        answered_characters=reply.answered_characters + len(signal.reasoning.text),
    )  # fmt: skip


def model_wants_tool(moment: Moment, signal: ModelWantsTool) -> None:
    if speculating.keep(moment, signal):
        return
    reply = moment.state.reply
    if reply is None or not reply.answers(signal.asked):
        return
    _say_rest(moment)
    moment.change_reply(
        last_word_ms=signal.at_ms, latency=_heard_from(reply, signal.at_ms),
        answered_characters=reply.answered_characters + len(str(signal.use.arguments)),
    )  # fmt: skip
    tooling.request(moment, signal.use, signal.faults)


def _heard_from(reply: Reply, at_ms: int) -> Latency:
    return reply.latency if reply.latency.first_token_ms is not None else replace(reply.latency, first_token_ms=at_ms)


def model_done(moment: Moment, signal: ModelDone) -> None:
    if speculating.keep(moment, signal) or accounting.done(moment, signal):
        return
    reply = moment.state.reply
    if reply is None or not reply.answers(signal.asked):
        return
    _say_rest(moment)
    spent = moment.state.reply.spent if moment.state.reply else reply.spent
    moment.change_reply(asked=0, spent=accounting.added(spent, signal.usage))
    moment.change(model_failures=0)
    moment.do(CancelTimer(timer=Timer.MODEL))
    go_on(moment)


def _say_rest(moment: Moment) -> None:
    reply = moment.state.reply
    if reply is None or not sentences.speakable(reply.buffer):
        return
    text = reply.buffer.strip()
    moment.change_reply(buffer="", wrote=reply.wrote + 1)
    guarding.say(moment, text)


def go_on(moment: Moment) -> None:
    """Once the model has finished a round and its tools have answered: ask it again, or let the reply come to its end."""
    state, reply = moment.state, moment.state.reply
    if reply is None or reply.asked or toolruns.waiting(state):
        return
    if reply.round.uses and reply.ending is None and state.capture is None:
        if len(reply.rounds) > state.briefing.thresholds.max_tool_rounds + 1:
            replying.say(moment, state.briefing.wording.trouble_thinking)
        else:
            moment.change_reply(rounds=(*reply.rounds, Round(first_utterance=state.speech.next_id)), wrote=0)
            ask(moment)
            return
    moment.do(CancelTimer(timer=Timer.FILLER))
    _round_off(moment)
    replying.settle(moment)


def _round_off(moment: Moment) -> None:
    state, reply = moment.state, moment.state.reply
    if reply is None:
        return
    words = state.briefing.wording
    if reply.ending is not None:
        if not any(utterance.purpose is Purpose.REPLY for utterance in state.speech.utterances):
            replying.say(moment, words.putting_through if reply.ending.transfer else words.goodbye, Purpose.FAREWELL)
        return
    if not any(utterance.purpose in (Purpose.REPLY, Purpose.PERMISSION) for utterance in state.speech.utterances):
        replying.say(moment, words.key_in if state.capture is not None else words.not_understood)
    permission = state.permission
    if state.briefing.ask_to_record and permission.standing is Standing.TO_ASK and permission.times_asked < _MOST_TIMES_ASKED:
        replying.ask_permission(moment)


def model_broke(moment: Moment, signal: EngineBroke) -> None:
    """The caller hears a sentence: to say it again, or, the second time in a row, that we will call back."""
    if accounting.broke(moment, signal):
        return
    if speculating.broke(moment, signal):
        failure = EngineFailure(turn=moment.state.talk.turn, engine=signal.name, reason=signal.reason, at_ms=signal.at_ms)
        moment.note(failure, essential=True)
        return
    reply = moment.state.reply
    if reply is None or not reply.answers(signal.asked):
        return
    moment.note(EngineFailure(turn=reply.turn, engine=signal.name, reason=signal.reason, at_ms=signal.at_ms), essential=True)
    moment.do(CancelTimer(timer=Timer.MODEL), CancelTimer(timer=Timer.FILLER))
    failures = moment.state.model_failures + 1
    moment.change(model_failures=failures)
    moment.change_reply(asked=0, buffer="")
    toolruns.give_up(moment)
    words = moment.state.briefing.wording
    if failures >= _MOST_FAILURES:
        moment.change_reply(ending=Ending(reason="model-failed", ended_by=EndedBy.PLATFORM, billable=False, firm=True))
        replying.say(moment, words.cannot_go_on, Purpose.FAREWELL)
    else:
        replying.say(moment, words.trouble_thinking)
    replying.settle(moment)


def model_overdue(moment: Moment) -> None:
    """Not a word for too long, at the beginning or in the middle."""
    state, reply = moment.state, moment.state.reply
    if reply is None or not reply.asked:
        return
    due_ms = reply.last_word_ms + _within_ms(reply, state.briefing.thresholds)
    if due_ms > moment.at_ms:
        moment.do(SetTimer(timer=Timer.MODEL, at_ms=due_ms))
        return
    moment.do(CancelModel(asked=reply.asked))
    broke = EngineBroke(
        at_ms=moment.at_ms, engine=Engine.MODEL, name=state.briefing.model_provider, reason="no words in time", asked=reply.asked
    )
    model_broke(moment, broke)


def filler_due(moment: Moment) -> None:
    """It takes a while: say something that is no answer, once, and never two such things in a row."""
    state, reply = moment.state, moment.state.reply
    if reply is None or state.speech.left_ms(moment.at_ms) or not state.speech.all_delivered:
        return
    if toolruns.waiting(state):
        tooling.slow(moment)
    elif reply.asked and not reply.wrote:
        replying.say_filler(moment, alternatives(state.briefing.wording.thinking))

"""Questions to the model: which one is asked, what it says as it says it, and what happens when it does not."""

from dataclasses import replace

from events.calls.ending import EndedBy, EngineFailure
from events.calls.talking import Latency
from events.calls.thinking import ModelChosen
from realtime.consent.permission import Standing
from realtime.machine.effects import AskModel, CancelModel, CancelTimer, SetTimer
from realtime.machine.signals import Engine, EngineBroke, ModelDone, ModelSaid, ModelWantsTool, Timer
from realtime.machine.state import Ending, Moment, Reply, Round
from realtime.ports import ModelRequest
from realtime.speaking import playout, replying, sentences
from realtime.speaking.playout import Purpose
from realtime.thinking import conversation, tooling, toolruns
from realtime.thinking.models import choose, needs_of

_MOST_TIMES_ASKED = 2
# A model that fails twice in a row has left us.
_MOST_FAILURES = 2


def ask(moment: Moment) -> None:
    """Ask the model for the next words of the reply under way; the first question of a reply chooses the model."""
    state = moment.state
    reply, briefing = state.reply, state.briefing
    if reply is None or reply.asked:
        return
    model = reply.model or _chosen(moment)
    messages = conversation.context(state.talk, replying.exchanges_said(state), briefing.thresholds.context_window)
    request = ModelRequest(
        model=model, system=briefing.system_prompt, messages=messages, tools=tooling.offered(briefing),
        max_tokens=briefing.thresholds.max_tokens, temperature=briefing.thresholds.temperature,
    )  # fmt: skip
    asked = state.next_question
    moment.change(next_question=asked + 1)
    moment.change_reply(
        asked=asked, model=model, last_word_ms=moment.at_ms, answered_characters=0,
        asked_characters=conversation.size(messages) + len(request.system), spent=replace(reply.spent, model=model),
    )  # fmt: skip
    moment.do(
        AskModel(asked=asked, request=request),
        SetTimer(timer=Timer.MODEL, at_ms=moment.at_ms + briefing.thresholds.model_within_ms),
        SetTimer(timer=Timer.FILLER, at_ms=moment.at_ms + briefing.thresholds.thinking_filler_after_ms),
    )


def _chosen(moment: Moment) -> str:
    state, briefing = moment.state, moment.state.briefing
    needs = needs_of(
        state.turn_words, briefing.tools, code_execution=briefing.code_execution,
        latency_requirement_ms=briefing.thresholds.latency_requirement,
    )  # fmt: skip
    choice = choose(needs, briefing.rules, briefing.models)
    moment.note(ModelChosen(turn=state.talk.turn, rule=choice.rule, logical=choice.logical, model=choice.model))
    return choice.model


def model_said(moment: Moment, signal: ModelSaid) -> None:
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
        replying.say(moment, piece)


def model_wants_tool(moment: Moment, signal: ModelWantsTool) -> None:
    reply = moment.state.reply
    if reply is None or not reply.answers(signal.asked):
        return
    _say_rest(moment)
    moment.change_reply(
        last_word_ms=signal.at_ms, latency=_heard_from(reply, signal.at_ms),
        answered_characters=reply.answered_characters + len(str(signal.use.arguments)),
    )  # fmt: skip
    tooling.request(moment, signal.use)


def _heard_from(reply: Reply, at_ms: int) -> Latency:
    return reply.latency if reply.latency.first_token_ms is not None else replace(reply.latency, first_token_ms=at_ms)


def model_done(moment: Moment, signal: ModelDone) -> None:
    reply = moment.state.reply
    if reply is None or not reply.answers(signal.asked):
        return
    _say_rest(moment)
    usage, spent = signal.usage, moment.state.reply.spent if moment.state.reply else reply.spent
    spent = replace(
        spent, input_tokens=spent.input_tokens + usage.input_tokens, output_tokens=spent.output_tokens + usage.output_tokens,
        cache_read_tokens=spent.cache_read_tokens + usage.cache_read_tokens, estimated=spent.estimated or usage.estimated,
        cache_write_tokens=spent.cache_write_tokens + usage.cache_write_tokens,
    )  # fmt: skip
    moment.change_reply(asked=0, spent=spent)
    moment.change(model_failures=0)
    moment.do(CancelTimer(timer=Timer.MODEL))
    go_on(moment)


def _say_rest(moment: Moment) -> None:
    reply = moment.state.reply
    if reply is None or not sentences.speakable(reply.buffer):
        return
    text = reply.buffer.strip()
    moment.change_reply(buffer="", wrote=reply.wrote + 1)
    replying.say(moment, text)


def go_on(moment: Moment) -> None:
    """Once the model has finished a round and its tools have answered: ask it again, or let the reply come to its end."""
    state, reply = moment.state, moment.state.reply
    if reply is None or reply.asked or toolruns.waiting(state):
        return
    if reply.round.uses and reply.ending is None:
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
            replying.say(moment, words.goodbye, Purpose.FAREWELL)
        return
    if not any(utterance.purpose in (Purpose.REPLY, Purpose.PERMISSION) for utterance in state.speech.utterances):
        replying.say(moment, words.not_understood)
    permission = state.permission
    if state.briefing.ask_to_record and permission.standing is Standing.TO_ASK and permission.times_asked < _MOST_TIMES_ASKED:
        replying.ask_permission(moment)


def model_broke(moment: Moment, signal: EngineBroke) -> None:
    """The caller hears a sentence: to say it again, or, the second time in a row, that we will call back."""
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
    due_ms = reply.last_word_ms + state.briefing.thresholds.model_within_ms
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
        replying.say_filler(moment, state.briefing.wording.thinking)

"""Thinking ahead: the model is asked while the turn is only likely over; nothing of it is heard, and no tool runs, before it is.

The first sentence is spoken as well where flushes abound, and its sound kept back: it goes out when the turn is over. A draft becomes
the answer when the question that is then put is the same but for case and punctuation of the last words. Otherwise it is dropped, and
what it cost is a fact of its own.
"""

from dataclasses import replace

from events.calls.talking import Spent
from events.calls.thinking import AnswerSpeculated
from realtime.consent.answers import withdraws
from realtime.consent.permission import Standing
from realtime.machine.effects import AskModel, ForgetAhead, SpeakAhead
from realtime.machine.signals import EngineBroke, ModelSaid, ModelThought, VoiceReady
from realtime.machine.state import CallState, Moment
from realtime.ports import ModelRequest
from realtime.speaking import playout, replying, sentences
from realtime.speaking.pronouncing import spoken
from realtime.thinking import accounting, conversation, folding, questions, toolruns
from realtime.thinking.drafts import Draft, Drain, Dropped, Held
from realtime.thinking.guardrails import ruling
from realtime.turns.phrases import plain_words

FLUSHES_TO_SPARE = 10
"""So many flushes of the voice are left to what is sure to be heard."""
USED, WENT_ON, OTHER_WORDS, NOT_ASKED, FAILED, CALL_ENDED = "used", "went-on", "other-words", "not-asked", "failed", "call-ended"


def likely_over(moment: Moment, words: str) -> None:
    """Ask ahead on these words, if it is allowed, of use, and not being done already."""
    state = moment.state
    if not _of_use(state, words):
        return
    told, choice = conversation.caller_said(state.talk, words), questions.choice_for(state, words)
    if questions.thinks(choice) or folding.full(state, told):
        # Too dear to be thought twice; and a fold is for a turn that is sure.
        return
    request = questions.question(state, told, (), choice.model)
    if state.draft is not None:
        if _same(state.draft.request, request):
            return
        drop(moment, OTHER_WORDS)
    if state.drafted >= state.briefing.thresholds.speculations:
        return
    asked = moment.state.next_question
    moment.change(
        next_question=asked + 1, drafted=state.drafted + 1,
        draft=Draft(asked=asked, words=words, request=request, asked_ms=moment.at_ms),
    )  # fmt: skip
    moment.do(AskModel(asked=asked, request=request))


def _of_use(state: CallState, words: str) -> bool:
    """Not where we answer without the model, and not over a reply of which nobody knows yet what will have been heard."""
    if not state.briefing.thresholds.speculation or state.reply is not None or toolruns.waiting(state):
        return False
    return bool(plain_words(words)) and state.permission.standing is not Standing.ASKED and not withdraws(words, state.briefing.wording)


def goes_on(moment: Moment) -> None:
    """The turn was not over."""
    drop(moment, WENT_ON)


def settled(moment: Moment) -> None:
    """The turn is over and everything that follows from it was begun: a draft that was not taken up is of no use any more."""
    drop(moment, OTHER_WORDS if moment.state.reply is not None and moment.state.reply.asked else NOT_ASKED)
    moment.change(drafted=0)


def take_up(moment: Moment, request: ModelRequest) -> Draft | None:
    """The draft that answers this question, which from now on is the reply's; its cost is the reply's as well."""
    draft = moment.state.draft
    if draft is None or not _same(draft.request, request):
        # Another question is put, whoever's it is: two at once are answered for nobody.
        drop(moment, OTHER_WORDS)
        return None
    used = _dropped(moment.state, draft, USED, moment.at_ms, turn=moment.state.talk.turn)
    moment.change(draft=None)
    if draft.spoken:
        # Its flush and its characters are the reply's, who says it.
        moment.change(speech=playout.unflushed(moment.state.speech, 1))
    recognised_ms = moment.state.turn_latency.recognised_ms
    if recognised_ms is None or draft.asked_ms < recognised_ms:
        # Begun on the last words themselves it guessed nothing, and stands with its turn.
        moment.note(_fact(used, Spent()))
    return draft


def keep(moment: Moment, signal: Held) -> bool:
    """Put by what belongs to the draft; returns whether it did."""
    draft = moment.state.draft
    if draft is None or draft.asked != signal.asked:
        return False
    draft = replace(draft, held=_joined(draft, signal))
    moment.change(draft=draft)
    if not draft.ready and not draft.spoken:
        _speak_ahead(moment, draft)
    return True


def _joined(draft: Draft, signal: Held) -> tuple[Held, ...]:
    held = draft.held
    last = held[-1] if held else None
    # What is spoken ahead was cut where it was cut: it is not joined to what follows.
    if isinstance(last, ModelSaid) and isinstance(signal, ModelSaid) and not (draft.spoken and draft.pieces == 1):
        return (*held[:-1], replace(signal, text=last.text + signal.text))
    return (*held, signal)


def _speak_ahead(moment: Moment, draft: Draft) -> None:
    """Have the first piece spoken as soon as it is there, if it may be said as it is; what begins with a tool waits for nothing more."""
    last = draft.held[-1]
    if isinstance(last, ModelThought):
        return
    text = "".join(one.text for one in draft.held if isinstance(one, ModelSaid))
    pieces, _ = sentences.cut(text, 1, first=True)
    if not pieces and isinstance(last, ModelSaid):
        return
    piece = pieces[0] if pieces else text.strip()
    state = moment.state
    if not _may_be_spoken(state, piece, moment.at_ms):
        moment.change(draft=replace(draft, ready=True))
        return
    said = spoken(piece, state.briefing.pronunciation)
    moment.change(draft=replace(draft, spoken=said), speech=playout.flushed(state.speech, moment.at_ms))
    moment.do(SpeakAhead(asked=draft.asked, text=said))


def _may_be_spoken(state: CallState, piece: str, at_ms: int) -> bool:
    """Where it will be the first that is said, word for word, and a flush to no purpose would not be missed."""
    if not state.briefing.thresholds.speak_ahead or not sentences.speakable(piece) or state.preface or not state.disclosure.heard:
        return False
    if playout.flushes_left(state.speech, at_ms) < FLUSHES_TO_SPARE:
        return False
    return ruling(state.briefing.guardrails, piece).said == piece


def voice_ready(moment: Moment, signal: VoiceReady) -> None:
    draft = moment.state.draft
    if draft is not None and draft.asked == signal.asked:
        moment.change(draft=replace(draft, ready=True))


def in_the_making(state: CallState) -> bool:
    """Whether an answer is thought of that cannot be heard yet."""
    return state.draft is not None and not state.draft.ready


def broke(moment: Moment, signal: EngineBroke) -> bool:
    """A draft that fails costs nobody an answer: the question is put again when the turn is over. Returns whether it was one."""
    state, draft = moment.state, moment.state.draft
    if draft is None or draft.asked != signal.asked:
        return False
    _forget(moment, draft)
    spent = _estimated(state, draft) if draft.held else _begun(state, draft)
    moment.note(_fact(_dropped(state, draft, FAILED, moment.at_ms), spent))
    return True


def _forget(moment: Moment, draft: Draft) -> None:
    moment.change(draft=None)
    if draft.spoken:
        moment.do(ForgetAhead())


def _begun(state: CallState, draft: Draft) -> Spent:
    """What it cost before the model's own account: the characters that were spoken to nobody."""
    count, provider = len(draft.spoken), replying.standing_in(state)
    return Spent(model=draft.request.model, characters=count, elsewhere={provider: count} if provider and count else {})


def drop(moment: Moment, outcome: str) -> None:
    """The draft, if there is one, is wanted no more. What it cost is told when the provider has said so, or is estimated."""
    state, draft = moment.state, moment.state.draft
    if draft is None:
        return
    _forget(moment, draft)
    dropped = _dropped(state, draft, outcome, moment.at_ms)
    if draft.whole is not None:
        moment.note(_fact(dropped, accounting.added(_begun(state, draft), draft.whole.usage)))
    else:
        drain = Drain(
            asked=draft.asked,
            turn=dropped.turn,
            before=_begun(state, draft),
            estimate=_estimated(state, draft),
            dropped=dropped,
            begun=bool(draft.held),
        )
        accounting.drain(moment, drain)


def _same(one: ModelRequest, other: ModelRequest) -> bool:
    """Whether they ask the same: but for how the caller's last words are written."""
    return _normal(one) == _normal(other)


def _normal(request: ModelRequest) -> ModelRequest:
    *before, last = request.messages
    return replace(request, messages=(*before, replace(last, text=" ".join(plain_words(last.text)))))


def _dropped(state: CallState, draft: Draft, outcome: str, at_ms: int, *, turn: int | None = None) -> Dropped:
    # Before its end a turn has no number yet.
    number = turn if turn is not None else state.talk.turn + (1 if state.floor.open else 0)
    return Dropped(
        turn=number, attempt=state.drafted, outcome=outcome, words=state.briefing.seal(draft.words), asked_ms=draft.asked_ms,
        settled_ms=at_ms,
    )  # fmt: skip


def _estimated(state: CallState, draft: Draft) -> Spent:
    return accounting.estimated(_begun(state, draft), questions.characters(draft.request), draft.characters)


def _fact(dropped: Dropped, spent: Spent) -> AnswerSpeculated:
    return accounting.speculated(dropped, spent)

"""What a call was, told by its own facts alone: from it another worker goes on where the lost one stopped, asking nothing twice."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from events.calls.control import CaptureBegan, DigitsCaptured, HangUpOrdered, HoldBegan, HoldEnded, HoldEndOrdered, HoldOrdered
from events.calls.ending import Stage
from events.calls.languages import LanguageChanged, VoiceChanged
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallAnswered, CallLeft, CallResumed
from events.calls.talking import AgentHeard, AgentTurn, CallerTurn, DisclosureSpoken, Spent
from events.calls.thinking import AnswerAccounted, AnswerSpeculated, ToolAnswered, ToolRequested
from events.sealing import Sealed
from realtime.consent.answers import answer_to_question
from realtime.consent.disclosure import Disclosure
from realtime.consent.permission import Permission, Standing
from realtime.machine.briefing import Wording
from realtime.ports import ToolOutcome, ToolUse
from realtime.thinking import conversation
from realtime.thinking.conversation import Exchange, Talk
from realtime.turns.phrases import Answer

WORKER_LOST = "worker-lost"
_MOST_TIMES_ASKED = 2
# Where the agent's languages understand an answer otherwise.
_DOUBT = (Answer.NO, Answer.YES, Answer.UNCLEAR)
_UNKNOWN_OUTCOME = (
    "The line broke before there was an answer. It may have been done, and nobody knows yet: do not ask for it again. "
    "Say that it will be checked."
)
_COUNTED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "characters")
_TIMES = ("at_ms", "ended_ms", "heard_ms", "recognised_ms", "cleared_ms", "to_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTool:
    """A tool that the model asked for; without an `outcome` its answer never came."""

    use: ToolUse
    turn: int
    idempotent: bool
    outcome: ToolOutcome | None = None

    @property
    def told(self) -> ToolOutcome:
        """What the model hears of it."""
        return self.outcome or ToolOutcome(tool_use_id=self.use.tool_use_id, content=_UNKNOWN_OUTCOME, failed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A call up to a version of its stream. Words are in clear: it never reaches a log.

    `open_turn`: the caller's, that nobody has answered; `open_words` are its words, `asked` the tools asked for it, `granted` whether it
    was the yes on which a recording began. `unheard` is what a reply still had to say that we cut ourselves, or, `part_heard`, that its
    worker did not live to say: all of it, where the model had come to its end (`complete`). `in_doubt`: tools that
    may have happened. `consent_version`: on which a recording may go on, 0 for none; `recognised_ms`: audio that was recognised.
    `held_since_ms`: the caller waits on the line since then, `held_turn` was answered before. `hold_wanted`: the last order about it
    that nobody has followed. `digits`: the label of those that were asked for, while the agent has not answered them, since
    `digits_since_ms`; `digits_settled`: no more keys were awaited.
    `language` is spoken, where it was changed, with the agent's `voice_name`.
    `spent` is what all answers used, one for each model; `time_warned`: the caller has heard that the time is almost over.
    """

    version: int = 0
    stream_sid: str = ""
    cause: str = WORKER_LOST
    talk: Talk = field(default_factory=Talk)
    open_turn: CallerTurn | None = None
    open_words: str = ""
    asked: tuple[AskedTool, ...] = ()
    granted: bool = False
    unheard: str = ""
    part_heard: bool = False
    complete: bool = False
    in_doubt: tuple[ToolUse, ...] = ()
    disclosure: Disclosure = field(default_factory=Disclosure)
    permission: Permission = field(default_factory=Permission)
    consent_version: int = 0
    stopped_version: int = 0
    withdrawn: bool = False
    hang_up_ordered: bool = False
    held_since_ms: int | None = None
    held_turn: int = 0
    hold_wanted: bool | None = None
    digits: str = ""
    digits_since_ms: int = 0
    digits_settled: bool = False
    language: str = ""
    voice_name: str = ""
    spent: tuple[Spent, ...] = ()
    time_warned: bool = False
    stage: Stage = Stage.GREETING
    began_ms: int = 0
    last_ms: int = 0
    recognised_ms: int = 0


def fold(facts: Iterable[tuple[int, Any]], wording: Wording, unseal: Callable[[Sealed[str]], str], others: Iterable[Wording] = ()) -> Past:
    """The call that these facts (each with its version, in order, none missing) tell of. `unseal` opens what was sealed.

    `others`: the words of the agent's other languages.
    """
    folding = _Folding((wording, *others), unseal)
    for version, fact in facts:
        folding.take(version, fact)
    return folding.past


class _Folding:
    def __init__(self, wordings: Sequence[Wording], unseal: Callable[[Sealed[str]], str]) -> None:
        self.past = Past()
        self._wordings = wordings
        self._questions = [question for each in wordings for question in (each.permission_question, each.permission_again)]
        self._warnings = [each.time_almost_up for each in wordings]
        self._unseal = unseal
        self._stopped: tuple[str, int] = ("", 0)
        self._before: Talk | None = None
        self._parts: tuple[str, ...] = ()

    def take(self, version: int, fact: Any) -> None:  # noqa: PLR0915 - as long as the list of facts that matter
        last_ms = max((value for name in _TIMES if isinstance(value := getattr(fact, name, None), int)), default=0)
        self._change(version=version, last_ms=max(self.past.last_ms, last_ms))
        match fact:
            case CallAnswered(stream_sid=stream_sid):
                self._change(stream_sid=stream_sid)
            case CallLeft(reason=reason):
                self._change(cause=reason)
            case CallResumed():
                self._resumed(fact)
            case DisclosureSpoken(attempt=attempt):
                self._change(disclosure=Disclosure(attempts=attempt, heard=True))
            case CallerTurn():
                self._caller(fact)
            case AgentTurn():
                self._agent(fact)
            case AgentHeard():
                self._heard_part(fact)
            case ToolRequested():
                self._requested(fact)
            case ToolAnswered():
                self._answered(fact)
            case RecordingStarted() | RecordingStopOrdered() | RecordingStopped():
                self._recording(version, fact)
            case AnswerSpeculated(spent=spent):
                self._spent(spent)
            case AnswerAccounted(estimate=estimate, spent=spent):
                self._spent(spent, instead_of=estimate)
            case HangUpOrdered():
                self._change(hang_up_ordered=True)
            case CaptureBegan(label=label, at_ms=at_ms):
                self._change(digits=label, digits_since_ms=at_ms, digits_settled=False)
            case DigitsCaptured(label=label):
                self._change(digits=label, digits_settled=True)
            case HoldOrdered() | HoldEndOrdered():
                self._change(hold_wanted=isinstance(fact, HoldOrdered))
            case HoldBegan(at_ms=at_ms):
                self._change(held_since_ms=at_ms, held_turn=conversation.answered_turn(self.past.talk), hold_wanted=None)
            case HoldEnded():
                self._change(held_since_ms=None, hold_wanted=None)
            case LanguageChanged() | VoiceChanged():
                self._change(language=fact.language, voice_name=fact.name if isinstance(fact, VoiceChanged) else "")
            case _:
                return

    def _change(self, **parts: Any) -> None:
        self.past = replace(self.past, **parts)

    def _spent(self, spent: Spent, instead_of: Spent | None = None) -> None:
        of_all = {one.model: one for one in self.past.spent}
        before = of_all.get(spent.model, Spent(model=spent.model))
        self._change(spent=tuple((of_all | {spent.model: _total(before, spent, instead_of or Spent())}).values()))

    def _stand(self, standing: Standing) -> None:
        self._change(permission=replace(self.past.permission, standing=standing))

    def _resumed(self, fact: CallResumed) -> None:
        past = self.past
        reason, consent_version = self._stopped
        if self._before is not None:
            # Nobody else will tell of what the lost worker said.
            self._before, self._parts = None, ()
            self._change(asked=())
        self._change(
            stream_sid=fact.stream_sid, recognised_ms=past.recognised_ms + max(0, min(past.last_ms, fact.at_ms) - past.began_ms),
            began_ms=fact.at_ms, cause=WORKER_LOST,
            # The take-over ended what the lost stream kept, and nothing else did: the same consent still allows it.
            consent_version=consent_version if reason == fact.cause else past.consent_version,
        )  # fmt: skip

    def _caller(self, fact: CallerTurn) -> None:
        words = self._unseal(fact.words)
        self._settle_answer()
        self._change(
            talk=replace(conversation.caller_said(self.past.talk, words), turn=fact.turn), open_turn=fact, open_words=words, asked=(),
            granted=False, unheard="", part_heard=False,
        )  # fmt: skip
        self._before, self._parts = None, ()

    def _heard_part(self, fact: AgentHeard) -> None:
        past = self.past
        if past.open_turn is None or past.open_turn.turn != fact.turn:
            return
        self._settle_answer()
        before = past.talk if self._before is None else self._before
        self._before, self._parts = before, (*self._parts, self._unseal(fact.heard))
        talk = conversation.agent_said(before, self._exchanges(fact.turn), " ".join(self._parts))
        self._change(talk=talk, unheard=self._unseal(fact.to_come), part_heard=True, complete=fact.complete)

    def _exchanges(self, turn: int) -> list[Exchange]:
        mine = tuple(one for one in self.past.asked if one.turn == turn)
        return [Exchange(text="", uses=tuple(one.use for one in mine), outcomes=tuple(one.told for one in mine))] if mine else []

    def _settle_answer(self) -> None:
        """What the turn before said to our question, now that another has followed it."""
        permission = self.past.permission
        if self.past.open_turn is None or permission.standing is not Standing.ASKED:
            return
        said = min((answer_to_question(self.past.open_words, each) for each in self._wordings), key=_DOUBT.index)
        again = said is Answer.UNCLEAR and permission.times_asked < _MOST_TIMES_ASKED
        self._stand(Standing.TO_ASK if again else Standing.CLOSED)

    def _agent(self, fact: AgentTurn) -> None:
        said, heard = self._unseal(fact.said), self._unseal(fact.heard)
        doubtful = tuple(
            one.use for one in self.past.asked if one.turn == fact.turn and one.outcome is None and not one.idempotent
        )  # fmt: skip
        # What was told of its parts stands in it again.
        before = self.past.talk if self._before is None else self._before
        self._before, self._parts = None, ()
        talk = conversation.agent_said(before, self._exchanges(fact.turn), heard)
        self._settle_answer()
        self._spent(fact.spent)
        if self.past.digits_settled:
            self._change(digits="", digits_settled=False)
        self._change(time_warned=self.past.time_warned or any(warning in heard for warning in self._warnings))
        self._change(talk=talk, asked=(), part_heard=False, in_doubt=(*self.past.in_doubt, *doubtful), granted=False)
        if not talk.unanswered:
            self._change(open_turn=None, open_words="")
        self._change(unheard=said[len(heard) :].strip() if fact.interrupted and said.startswith(heard) else "")
        if any(question in said for question in self._questions):
            whole = any(question in heard for question in self._questions)
            times = self.past.permission.times_asked + 1
            standing = Standing.ASKED if whole else Standing.TO_ASK
            self._change(permission=Permission(standing=standing, times_asked=times, heard_share=1.0 if whole else 0.0))
        if not fact.interrupted:
            self._change(stage=Stage.CONVERSATION)

    def _requested(self, fact: ToolRequested) -> None:
        use = ToolUse(tool_use_id=fact.tool_use_id, name=fact.tool, arguments=_arguments(self._unseal(fact.arguments)))
        self._change(asked=(*self.past.asked, AskedTool(use=use, turn=fact.turn, idempotent=fact.idempotent)))

    def _answered(self, fact: ToolAnswered) -> None:
        answer = self._unseal(fact.answer)
        told = ToolOutcome(tool_use_id=fact.tool_use_id, content=answer, failed=fact.failed)
        if any(one.use.tool_use_id == fact.tool_use_id for one in self.past.asked):
            changed = tuple(replace(one, outcome=told) if one.use.tool_use_id == fact.tool_use_id else one for one in self.past.asked)
            self._change(asked=changed)
            return
        # Its reply went on without it.
        doubtful = tuple(use for use in self.past.in_doubt if use.tool_use_id != fact.tool_use_id)
        self._change(in_doubt=doubtful, talk=conversation.came_late(self.past.talk, f"(The late answer of {fact.tool}: {answer})"))

    def _recording(self, version: int, fact: RecordingStarted | RecordingStopOrdered | RecordingStopped) -> None:
        past = self.past
        match fact:
            case RecordingStarted(consent_version=consent_version):
                self._change(consent_version=consent_version, granted=past.open_turn is not None)
                self._stand(Standing.RECORDABLE)
            case RecordingStopOrdered():
                self._change(consent_version=0, stopped_version=version)
                if past.permission.standing is not Standing.TO_ASK:
                    self._stand(Standing.CLOSED)
            case RecordingStopped(reason=reason):
                self._stopped = (reason, past.consent_version)
                self._change(consent_version=0, stopped_version=version)
                if reason == "consent-withdrawn":
                    self._change(withdrawn=True)
                    self._stand(Standing.CLOSED)


def _total(before: Spent, more: Spent, less: Spent) -> Spent:
    counts = {name: getattr(before, name) + getattr(more, name) - getattr(less, name) for name in _COUNTED}
    return replace(before, estimated=before.estimated or more.estimated, **counts)


def _arguments(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        # An erased person's: nothing can be known of them any more.
        return {}
    return found if isinstance(found, dict) else {}

"""What a scripted model can talk about, as data: things a caller may want, how they say it, what is answered, which tools are used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any
Condition: TypeAlias = Mapping[str, tuple[str, ...]]
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class BrokenScript(ValueError):
    """A script contradicts itself; the text says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """Something to say where every condition holds; `ask` names a question that follows, `forget` says that the matter is settled."""

    say: str = ""
    ask: str = ""
    when: Condition = field(default_factory=dict)
    forget: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something a caller may want.

    `phrases` are examples; `{day}` in one stands for any day. `weight` below 1 lets a politeness give way to a request beside it.
    `known` names what must have come up before. `needs` leads a slot to the question that asks for it. The first of `sayings` whose
    condition holds is said; with a `tool`, it is said before the tool is used. `matter`: the intent that a following bare value, such as
    another day, goes on with; itself when it is empty. `sets`: values that are implied.
    """

    name: str
    phrases: tuple[str, ...]
    weight: float = 1.0
    known: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    sayings: tuple[Saying, ...] = ()
    tool: str = ""
    arguments: Mapping[str, Json] = field(default_factory=dict)
    without_tool: str = ""
    matter: str = ""
    sets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question of the agent's; `yes`, `no` and `value` name the intents that such an answer means."""

    text: str
    yes: str = ""
    no: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said of a tool's answer. A list in the answer is `none`, `one` or `several` to a condition. No tool: any."""

    tool: str
    saying: Saying
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """`agent`: words in the system prompt of the agents that it is for; empty for every agent without one of its own."""

    agent: str
    synonyms: Mapping[str, tuple[str, ...]]
    slots: Mapping[str, Mapping[str, tuple[str, ...]]]
    intents: tuple[Intent, ...]
    questions: Mapping[str, Question]
    answers: tuple[Answer, ...]
    not_understood: tuple[Saying, ...]
    silence: Saying

    def intent(self, name: str) -> Intent:
        """An intent by a name that the script itself has."""
        return next(intent for intent in self.intents if intent.name == name)


def read_script(document: Mapping[str, Json], *, beneath: Script | None = None) -> Script:
    """Read a script from its JSON; what it does not say is as in the script `beneath`. Raises BrokenScript."""
    try:
        script = Script(
            agent=document["agent"],
            synonyms={**(beneath.synonyms if beneath else {}), **_texts(document.get("synonyms", {}))},
            slots={**(beneath.slots if beneath else {}), **{slot: _texts(values) for slot, values in document.get("slots", {}).items()}},
            intents=_intents(document.get("intents", []), beneath),
            questions={**(beneath.questions if beneath else {}), **_questions(document.get("questions", {}))},
            answers=(*map(_answer, document.get("answers", [])), *(beneath.answers if beneath else ())),
            not_understood=_sayings(document["not_understood"]),
            silence=_saying(document["silence"]) if "silence" in document or beneath is None else beneath.silence,
        )
    except (AttributeError, KeyError, TypeError) as cause:
        raise BrokenScript(f"{type(cause).__name__}: {cause}") from cause
    _check(script)
    return script


def _intents(entries: Sequence[Mapping[str, Json]], beneath: Script | None) -> tuple[Intent, ...]:
    own = tuple(map(_intent, entries))
    named = {intent.name for intent in own}
    return (*own, *(intent for intent in (beneath.intents if beneath else ()) if intent.name not in named))


def _intent(entry: Mapping[str, Json]) -> Intent:
    return Intent(
        name=entry["name"],
        phrases=tuple(entry.get("phrases", ())),
        weight=float(entry.get("weight", 1.0)),
        known=tuple(entry.get("known", ())),
        needs=dict(entry.get("needs", {})),
        sayings=_sayings(entry.get("say", [])),
        tool=entry.get("tool", ""),
        arguments=dict(entry.get("arguments", {})),
        without_tool=entry.get("without_tool", ""),
        matter=entry.get("matter", ""),
        sets=dict(entry.get("sets", {})),
    )


def _sayings(entries: Sequence[Json]) -> tuple[Saying, ...]:
    return tuple(_saying({"say": entry} if isinstance(entry, str) else entry) for entry in entries)


def _saying(entry: Mapping[str, Json]) -> Saying:
    when = {key: (value,) if isinstance(value, str) else tuple(value) for key, value in entry.get("when", {}).items()}
    return Saying(say=entry.get("say", ""), ask=entry.get("ask", ""), when=when, forget=bool(entry.get("forget", False)))


def _questions(entries: Mapping[str, Json]) -> Mapping[str, Question]:
    return {name: Question(text=entry) if isinstance(entry, str) else Question(**entry) for name, entry in entries.items()}


def _answer(entry: Mapping[str, Json]) -> Answer:
    return Answer(tool=entry["tool"], failed=bool(entry.get("failed", False)), saying=_saying(entry))


def _texts(entries: Mapping[str, Sequence[str]]) -> Mapping[str, tuple[str, ...]]:
    return {key: tuple(values) for key, values in entries.items()}


def _check(script: Script) -> None:
    intents = {intent.name for intent in script.intents}
    for name, question in script.questions.items():
        if not {question.yes, question.no, question.value} <= {*intents, ""}:
            raise BrokenScript(f"the question {name} leads to an intent that is not there")
    for intent in script.intents:
        if intent.matter not in {*intents, ""}:
            raise BrokenScript(f"{intent.name} goes on with an intent that is not there")
    sayings = [script.silence, *script.not_understood, *(answer.saying for answer in script.answers)]
    sayings += [saying for intent in script.intents for saying in intent.sayings]
    asked = {saying.ask for saying in sayings} | {name for intent in script.intents for name in intent.needs.values()}
    if missing := asked - {*script.questions, ""}:
        raise BrokenScript(f"there is no question {', '.join(sorted(missing))}")
    if not script.not_understood or script.not_understood[-1].when:
        raise BrokenScript("a script can always say that nothing was understood")

"""From a conversation to the next thing to say or do, by a script: everything is read from the messages, nothing is remembered.

The conversation is gone through from its beginning, entry by entry. What a question of the agent's allows as an answer is asked of
the agent's words as they were heard: who did not hear a question cannot have answered it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Final, TypeAlias

from infra.adapters.scripted_model.phrasing import fill, plain, spoken
from infra.adapters.scripted_model.script import Answer, Condition, Intent, Question, Saying, Script
from infra.adapters.scripted_model.understanding import Understanding, Understood
from infra.adapters.scripted_model.words import NOISE, tokens
from realtime.ports import Message, ModelRequest, ToolOutcome, ToolUse

Json: TypeAlias = Any
Values: TypeAlias = Mapping[str, Json]
STOP_RECORDING: Final = "withdraw_recording_consent"
END_CALL: Final = "end_call"
_LATE_ANSWER: Final = re.compile(r"^\(The late answer of (\w+): (.*)\)$", re.MULTILINE)
_NOTE: Final = re.compile(r"^\(.*\)$", re.MULTILINE)
# What was said of another matter that long ago is not carried over to this one.
_CARRIED_TURNS: Final = 2
_HEARD_OF_A_QUESTION: Final = 0.6
_SLOT: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What comes next: words, and the tools to be used with their arguments."""

    text: str = ""
    uses: tuple[tuple[str, Values], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """Where the conversation stands.

    `slots` has each value with its turn, `facts` what tools have said, `asked` the question that was heard last; `rest`: words that are
    still to be answered; `uses`: the tools asked for last.
    """

    turn: int = 0
    intent: str = ""
    slots: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    facts: Values = field(default_factory=dict)
    plan: Plan = Plan()
    asked: str = ""
    misunderstood: int = 0
    rest: str = ""
    uses: tuple[ToolUse, ...] = ()


class Conversation:
    """A script at work. Pure: equal requests get equal plans."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._understanding = Understanding(script)
        self._questions = {name: _core(question.text) for name, question in script.questions.items()}
        self._requests = frozenset(intent.name for intent in script.intents if intent.weight >= 1)

    def next(self, request: ModelRequest) -> Plan:
        offered = {tool.name: tool.description for tool in request.tools}

        def entry(dialogue: Dialogue, message: Message) -> Dialogue:
            if message.role == "assistant":
                asked = self._question_in(message.text) if message.text.strip() else dialogue.asked
                return replace(dialogue, asked=asked, uses=message.tool_uses)
            return self._told(dialogue, message, offered)

        return reduce(entry, request.messages, Dialogue()).plan

    def _told(self, dialogue: Dialogue, message: Message, offered: Mapping[str, str]) -> Dialogue:
        late = [(found[1], found[2]) for found in _LATE_ANSWER.finditer(message.text)]
        words = _NOTE.sub("", message.text).strip()
        before, cut_off = dialogue.plan, [outcome for outcome in message.tool_outcomes if outcome.failed]
        dialogue, said = self._learn(dialogue, message.tool_outcomes)
        for tool, text in late:
            dialogue, news = self._answered(dialogue, tool, _json(text), failed=False)
            said = f"{said} {news}".strip()
        if not words and dialogue.rest:
            return self._heard(replace(dialogue, rest=""), dialogue.rest, said, offered)
        if not words:
            return replace(dialogue, plan=Plan(text=said or self._say(self._script.silence, {})))
        if cut_off and before.uses and self._adds_nothing(words):
            # The caller only hummed while a tool ran; what was cut off by it is asked for again.
            return replace(dialogue, plan=before, turn=dialogue.turn + 1)
        news = said if late else ""
        return self._heard(replace(dialogue, rest=""), words, news, offered)

    def _adds_nothing(self, words: str) -> bool:
        return self._understanding.understand(words).intent in ("", "yes", "thanks", "waiting")

    # --- what tools have said ---

    def _learn(self, dialogue: Dialogue, outcomes: Sequence[ToolOutcome]) -> tuple[Dialogue, str]:
        said = []
        for outcome in outcomes:
            tool = next((use.name for use in dialogue.uses if use.tool_use_id == outcome.tool_use_id), "")
            dialogue, words = self._answered(dialogue, tool, outcome.content, failed=outcome.failed)
            said.append(words)
        return dialogue, " ".join(part for part in said if part)

    def _answered(self, dialogue: Dialogue, tool: str, content: Json, *, failed: bool) -> tuple[Dialogue, str]:
        values: Values = content if isinstance(content, Mapping) else {"answer": content}
        if not failed:
            dialogue = replace(dialogue, facts={**dialogue.facts, **values})
        answer = self._answer_to(tool, values, failed=failed)
        if answer is None:
            return dialogue, spoken(content)
        if answer.saying.forget:
            dialogue = replace(dialogue, slots={}, facts={}, intent="")
        saying = replace(answer.saying, ask="") if dialogue.rest else answer.saying
        return dialogue, self._say(saying, values)

    def _answer_to(self, tool: str, values: Values, *, failed: bool) -> Answer | None:
        fitting = (one for one in self._script.answers if one.tool in (tool, "") and one.failed is failed)
        return next((one for one in fitting if _holds(one.saying.when, values)), None)

    # --- what the caller has said ---

    def _heard(self, dialogue: Dialogue, words: str, before: str, offered: Mapping[str, str]) -> Dialogue:
        dialogue = replace(dialogue, turn=dialogue.turn + 1)
        understood, name = self._mean(dialogue, words)
        slots = {**dialogue.slots, **{slot: (value, dialogue.turn) for slot, value in understood.slots.items()}}
        if name and name != dialogue.intent:
            slots = {slot: (value, turn) for slot, (value, turn) in slots.items() if turn + _CARRIED_TURNS >= dialogue.turn}
        if not name:
            dialogue = replace(dialogue, slots=slots)
            return self._ask_again(dialogue, self._values(dialogue, words, offered), before)
        intent = self._script.intent(name)
        slots |= {slot: (value, dialogue.turn) for slot, value in intent.sets.items()}
        dialogue = replace(dialogue, slots=slots)
        values = self._values(dialogue, words, offered)
        if intent.name == "repeat" and dialogue.plan.text:
            return dialogue
        plan = self._pursue(intent, values, offered)
        rest = ""
        if intent.tool == STOP_RECORDING:
            left = " ".join(word for at, word in enumerate(tokens(words)) if at not in understood.matched and word not in NOISE)
            rest = left if self._understanding.understand(left, among=self._requests - {name}).intent else ""
        matter = intent.matter or name if _used_slots(intent) or intent.matter else dialogue.intent
        plan = replace(plan, text=f"{before} {plan.text}".strip())
        return replace(dialogue, intent=matter, plan=plan, misunderstood=0, rest=rest)

    def _mean(self, dialogue: Dialogue, words: str) -> tuple[Understood, str]:
        """What the words mean where they are said: to a question, or about the matter under way."""
        known = frozenset(dialogue.facts) | frozenset(dialogue.slots)
        fitting = frozenset(intent.name for intent in self._script.intents if set(intent.known) <= known)
        understood = self._understanding.understand(words, among=fitting)
        question = self._script.questions.get(dialogue.asked, Question(text=""))
        said_yes_or_no = {"yes": question.yes, "no": question.no}.get(understood.intent)
        if said_yes_or_no and not understood.slots:
            return understood, said_yes_or_no
        for matter in (question.value, dialogue.intent):
            is_about = matter and understood.slots.keys() & _used_slots(self._script.intent(matter))
            goes_on = understood.intent not in self._requests and (matter == question.value or not understood.strange)
            if is_about and (understood.bare or goes_on):
                return understood, matter
        return understood, said_yes_or_no or understood.intent

    def _values(self, dialogue: Dialogue, words: str, offered: Mapping[str, str]) -> Values:
        values: dict[str, Json] = {**dialogue.facts, **{slot: value for slot, (value, _) in dialogue.slots.items()}}
        values |= {"words": plain(words), "asked": dialogue.asked, "misunderstood": dialogue.misunderstood}
        said, said_in = dialogue.slots.get("time", ("", 0))
        if said and said_in == dialogue.turn:
            values["wanted_time"] = f"{said}00" if said.endswith(":") else said
        own = [text.rstrip(".") for name, text in offered.items() if name not in (STOP_RECORDING, END_CALL)]
        values["abilities"] = [text[:1].lower() + text[1:] for text in own] or ["talk with you a little"]
        times = dialogue.facts.get("times")
        if isinstance(times, list) and times and all(isinstance(time, str) for time in times):
            chosen = _chosen(times, dialogue)
            values.pop("time", None)
            if chosen:
                values["time"] = chosen
        return values

    def _pursue(self, intent: Intent, values: Values, offered: Mapping[str, str]) -> Plan:
        for slot, question in intent.needs.items():
            if slot not in values:
                return Plan(text=fill(self._script.questions[question].text, values))
        saying = next((one for one in intent.sayings if _holds(one.when, values)), Saying())
        text = self._say(saying, values)
        if intent.tool and intent.tool in offered:
            return Plan(text=text, uses=((intent.tool, _arguments(intent, values)),))
        return Plan(text=text if not intent.tool or intent.tool == END_CALL else fill(intent.without_tool, values))

    def _ask_again(self, dialogue: Dialogue, values: Values, before: str) -> Dialogue:
        saying = next(one for one in self._script.not_understood if _holds(one.when, values))
        text = f"{before} {self._say(saying, values)}".strip()
        return replace(dialogue, plan=Plan(text=text), misunderstood=dialogue.misunderstood + 1)

    def _say(self, saying: Saying, values: Values) -> str:
        question = self._script.questions[saying.ask].text if saying.ask else ""
        return fill(f"{saying.say} {question}".strip(), values)

    def _question_in(self, text: str) -> str:
        """The question that these words end with, or as much of one as cannot be mistaken."""
        said = tokens(text)
        best, share = "", 0.0
        for name, core in self._questions.items():
            heard = _heard_share(core, said)
            if heard > share:
                best, share = name, heard
        return best if share >= _HEARD_OF_A_QUESTION else ""


def _core(text: str) -> list[str]:
    """The longest stretch of a question without a value in it."""
    return max((tokens(part) for part in re.split(r"\{\w+\}", text)), key=len)


def _heard_share(core: Sequence[str], said: Sequence[str]) -> float:
    """How much of the question stands at the end of what was said."""
    for length in range(len(core), 0, -1):
        part = list(core[:length])
        if part == list(said[-length:]) or (length == len(core) and any(part == list(said[at : at + length]) for at in range(len(said)))):
            return length / len(core)
    return 0.0


def _holds(condition: Condition, values: Values) -> bool:
    return all(_kind(values.get(key)) in wanted or str(values.get(key, "none")) in wanted for key, wanted in condition.items())


def _kind(value: Json) -> str:
    if isinstance(value, list):
        return ("none", "one", "several")[min(len(value), 2)]
    return "none" if value in (None, "") else "some"


def _used_slots(intent: Intent) -> set[str]:
    """The values that an intent makes something of."""
    return {*intent.needs, *(key for saying in intent.sayings for key in saying.when), *_SLOT.findall(str(intent.arguments))}


def _arguments(intent: Intent, values: Values) -> Values:
    """Arguments with their slots filled in; one whose slot is unknown is left out."""
    arguments = {}
    for name, template in intent.arguments.items():
        slot = _SLOT.fullmatch(template) if isinstance(template, str) else None
        if slot is None:
            arguments[name] = template
        elif slot[1] in values:
            arguments[name] = values[slot[1]]
    return arguments


def _chosen(times: Sequence[str], dialogue: Dialogue) -> str:
    """Which of the times on offer was meant: by name, by its hour, by its place in the list, or by the part of the day."""
    said, said_in = dialogue.slots.get("time", ("", 0))
    choice, chosen_in = dialogue.slots.get("choice", ("", 0))
    if said and said_in >= chosen_in:
        fitting = [time for time in times if time == said or (said.endswith(":") and time.startswith(f"{int(said[:-1]):02}:"))]
        return fitting[0] if len(fitting) == 1 else ""
    if choice and chosen_in == dialogue.turn:
        place = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": len(times) - 1}[choice]
        return times[place] if place < len(times) else ""
    return times[0] if len(times) == 1 else ""


def _json(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return text

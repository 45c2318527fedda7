"""Which model answers a turn: an ordered list of rules that is data, the first that fits decides, and its name goes on the log."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from realtime.ports import Tool

Logical: TypeAlias = Literal["fast", "default", "complex", "thinking"]
THINKING: Final = "thinking"
_MOST_RULES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnNeeds:
    """What the rules may ask about a turn. `expected_tools` counts the offered tools that the caller's words point to."""

    extended_thinking: bool
    code_execution: bool
    expected_tools: int
    latency_requirement_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRule:
    """Fits when every condition that is given holds; a rule without conditions always fits."""

    name: str
    logical: Logical
    extended_thinking: bool | None = None
    code_execution: bool | None = None
    more_tools_than: int | None = None
    latency_below_ms: int | None = None

    def fits(self, needs: TurnNeeds) -> bool:
        return (
            self.extended_thinking in (None, needs.extended_thinking)
            and self.code_execution in (None, needs.code_execution)
            and (self.more_tools_than is None or needs.expected_tools > self.more_tools_than)
            and (self.latency_below_ms is None or needs.latency_requirement_ms < self.latency_below_ms)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleList:
    """Rules in their order; the last one always fits."""

    version: str
    rules: tuple[ModelRule, ...]


OWNERS_RULES = RuleList(
    version="1",
    rules=(
        ModelRule(name="extended-thinking", logical="thinking", extended_thinking=True),
        ModelRule(name="code-execution", logical="complex", code_execution=True),
        ModelRule(name="parallel-tools", logical="default", more_tools_than=1),
        ModelRule(name="low-latency", logical="fast", latency_below_ms=100),
        ModelRule(name="standard", logical="default"),
    ),
)

_THINK = re.compile(r"\b(think (carefully|hard|it through)|step by step|work out why|figure out why|in depth)\b", re.IGNORECASE)
_CODE = re.compile(
    r"\b(run (the|some|a) (code|numbers|script)|crunch the numbers|analy[sz]e (the|my|this) (data|figures|numbers))\b", re.IGNORECASE
)
_WORD = re.compile(r"[a-z]{4,}")
# Words that stand in most tools' names and point to none of them.
_PLAIN = frozenset({"tool", "call", "find", "make", "with", "from", "that", "this", "date", "time", "name", "their", "given", "caller"})


def needs_of(words: str, tools: Sequence[Tool], *, code_execution: bool, latency_requirement_ms: int) -> TurnNeeds:
    """Read a turn's needs from the caller's words: cheap patterns, well under a millisecond."""
    said = {_stem(word) for word in _WORD.findall(words.lower())}
    pointed = sum(1 for tool in tools if said & {_stem(word) for word in _WORD.findall(tool.spec.name.lower().replace("_", " "))} - _PLAIN)
    return TurnNeeds(
        extended_thinking=_THINK.search(words) is not None,
        code_execution=code_execution and _CODE.search(words) is not None,
        expected_tools=pointed,
        latency_requirement_ms=latency_requirement_ms,
    )


def _stem(word: str) -> str:
    return re.sub(r"(ments?|ings?|ions?|ed|es|s)$", "", word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`rule` carries the version of the list that it stands in."""

    rule: str
    logical: str
    model: str


def choose(needs: TurnNeeds, rules: RuleList, models: Mapping[str, str]) -> Choice:
    """The first rule that fits. A logical name without a model of its own is answered by the default one."""
    rule = next(rule for rule in rules.rules if rule.fits(needs))
    return Choice(rule=f"{rule.name}@{rules.version}", logical=rule.logical, model=models.get(rule.logical) or models["default"])


def rules(configuration: Mapping[str, Any]) -> RuleList:
    """The version's own `model_rules`, a list under `rules` with its `version`; the owner's where it has none that can be read.

    What fits no rule of its own is answered by the default model: a list always decides.
    """
    given = configuration.get("model_rules")
    entries = given.get("rules") if isinstance(given, Mapping) else None
    own = [_read(entry) for entry in entries[:_MOST_RULES]] if isinstance(entries, list) else []
    if not own or not isinstance(given, Mapping) or any(rule is None for rule in own):
        return OWNERS_RULES
    return RuleList(
        version=str(given.get("version") or "own")[:40],
        rules=(*(rule for rule in own if rule is not None), ModelRule(name="standard", logical="default")),
    )


def _read(entry: object) -> ModelRule | None:
    if not isinstance(entry, Mapping) or entry.get("logical") not in get_args(Logical) or not entry.get("name"):
        return None
    switches = {name: entry[name] for name in ("extended_thinking", "code_execution") if entry.get(name) is not None}
    numbers = {name: entry[name] for name in ("more_tools_than", "latency_below_ms") if entry.get(name) is not None}
    if any(not isinstance(value, bool) for value in switches.values()):
        return None
    if any(isinstance(value, bool) or not isinstance(value, int) for value in numbers.values()):
        return None
    return ModelRule(name=str(entry["name"])[:80], logical=entry["logical"], **switches, **numbers)

"""What an agent may not say as its model wrote it: an ordered list of rules that is data, the first that fits a sentence decides.

Rules hold phrases and named detectors, no patterns of their owners': each is looked for in time proportional to the sentence.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, get_args

Action: TypeAlias = Literal["allow", "rewrite", "block"]
Span: TypeAlias = tuple[int, int]
_ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
_MOST_RULES: Final = 50
_MOST_PHRASES: Final = 100
_LONGEST_PHRASE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """Fits where one of its `phrases` stands, or what it `detects`. `allow` ends the search: the sentence is said as it is.

    `rewrite` says `instead` where the found part stood, `block` says `instead` for the whole sentence, or the agent's own words.
    """

    name: str
    action: Action
    phrases: tuple[str, ...] = ()
    detects: str = ""
    instead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What is to be said of a sentence, and by which rule; `action` is `allow` where it is said as it is. None: by no rule."""

    said: str
    action: Action = "allow"
    rule: str | None = None


PLATFORM: Final = (
    # What an AI must not claim, whatever its prompt says (EU AI Act, article 50).
    Guardrail(
        name="claims-to-be-human",
        action="rewrite",
        phrases=(
            "I am a human", "I'm a human", "I am human", "I'm human", "I am a real person", "I'm a real person", "I am a person",
            "I'm a person", "I am not an AI", "I'm not an AI", "I am not a robot", "I'm not a robot", "I am not a machine",
            "I'm not a machine", "I am not a bot", "I'm not a bot",
        ),
        instead="I am an AI assistant",
    ),
    Guardrail(name="card-number", action="rewrite", detects="card-number", instead="that card"),
)  # fmt: skip
"""Hold for every agent, before its own."""


def ruling(rules: Iterable[Guardrail], text: str, before: str = "") -> Ruling:
    """The first rule that fits decides. `before` was said already: what begins there and ends in `text` can only be blocked."""
    whole = f"{before} {text}" if before else text
    begins = len(whole) - len(text)
    for rule in rules:
        found = [span for span in _found(rule, whole) if span[1] > begins]
        if not found:
            continue
        if rule.action == "rewrite" and all(start >= begins for start, _ in found):
            return Ruling(said=_rewritten(whole, begins, found, rule.instead), action="rewrite", rule=rule.name)
        if rule.action == "allow":
            return Ruling(said=text, rule=rule.name)
        return Ruling(said=rule.instead if rule.action == "block" else "", action="block", rule=rule.name)
    return Ruling(said=text)


def _rewritten(whole: str, begins: int, found: Iterable[Span], instead: str) -> str:
    pieces, at = [], begins
    for start, end in sorted(found):
        if start >= at:
            pieces += [whole[at:start], instead]
            at = end
    return "".join([*pieces, whole[at:]]).strip()


def _found(rule: Guardrail, text: str) -> list[Span]:
    spans = [match.span() for match in _phrases(rule.phrases).finditer(_plain(text))] if rule.phrases else []
    return [*spans, *_DETECTORS[rule.detects](text)] if rule.detects in _DETECTORS else spans


def _plain(text: str) -> str:
    """As long as before, character for character."""
    return text.replace("’", "'").replace("\n", " ")


@lru_cache(maxsize=1024)
def _phrases(phrases: tuple[str, ...]) -> re.Pattern[str]:
    # The longest first: alternatives are tried in their order.
    worded = sorted((r"\ +".join(map(re.escape, _plain(phrase).split())) for phrase in phrases), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(worded)})(?![\w-])", re.IGNORECASE)


_DIGITS = re.compile(r"\d(?:[ .-]?\d){12,18}")
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
_PHONE = re.compile(r"(?<![\w+])\+?\d(?:[ ().-]{0,2}\d){8,14}(?!\d)")


def _card_numbers(text: str) -> list[Span]:
    return [match.span() for match in _DIGITS.finditer(text) if _luhn([int(digit) for digit in match.group() if digit.isdigit()])]


def _luhn(digits: list[int]) -> bool:
    doubled = [2 * digit - 9 * (digit > 4) if at % 2 else digit for at, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


_DETECTORS: Final[Mapping[str, Callable[[str], list[Span]]]] = {
    "card-number": _card_numbers,
    "email": lambda text: [match.span() for match in _ADDRESS.finditer(text)],
    "phone-number": lambda text: [match.span() for match in _PHONE.finditer(text)],
}


def guardrails(configuration: Mapping[str, Any]) -> tuple[Guardrail, ...]:
    """The platform's rules, then those of the version's `guardrails` in their order; an entry that is none is left out."""
    given = configuration.get("guardrails")
    entries = given[:_MOST_RULES] if isinstance(given, list) else []
    return (*PLATFORM, *(rule for entry in entries if isinstance(entry, Mapping) and (rule := _read(entry)) is not None))


def _read(entry: Mapping[str, Any]) -> Guardrail | None:
    phrases = entry.get("phrases")
    words = [str(phrase)[:_LONGEST_PHRASE] for phrase in phrases[:_MOST_PHRASES]] if isinstance(phrases, list) else []
    held, detects = tuple(phrase for phrase in words if phrase.strip()), str(entry.get("detects") or "")
    action = next((action for action in _ACTIONS if action == entry.get("action")), None)
    if action is None or not entry.get("name") or not (held or detects in _DETECTORS):
        return None
    return Guardrail(
        name=str(entry["name"])[:80], action=action, phrases=held, detects=detects, instead=str(entry.get("instead") or "")[:500]
    )

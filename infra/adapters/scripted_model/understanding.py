"""What a caller's words mean to a script: which of its intents, with which day, time, choice and other values in them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.adapters.scripted_model.clock import time_in
from infra.adapters.scripted_model.script import DAYS, Script
from infra.adapters.scripted_model.words import NOISE, Lexicon, stem, tokens

SURE_ENOUGH: Final = 0.58
_OF_THE_PHRASE: Final = 0.62
_UNKNOWN_WEIGHT: Final = 0.5
_KEPT: Final = 4096
_LEAST_WEIGHT: Final = 0.08
_FILLING: Final = 0.4
_CHOICES: Final[Mapping[str, str]] = {
    "first": "first", "second": "second", "third": "third", "fourth": "fourth", "last": "last", "earlier": "first", "earliest": "first",
    "sooner": "first", "soonest": "first", "later": "last", "latest": "last", "latter": "last", "former": "first", "either": "first",
    "whichever": "first",
}  # fmt: skip
_WHEN: Final = frozenset({"day", "part_of_day", "time", "choice"})
_RELATIVE_DAYS: Final = ("today", "tomorrow")
# "And how about Wednesday instead?" names a day and says no more.
_ASIDE: Final = NOISE | {"what", "how", "about", "one", "instead", "try", "let", "say", "yes", "no", "rather", "thanks", "make"}
# What asks, and does not say for what.
_EMPTY: Final = _ASIDE | {"who", "when", "where", "which", "why"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """`intent` is empty when nothing was understood; `bare`: the words name values and say no more; `strange`: some are unknown.

    `slots` has the values that were named, `matched` the places of the words that the intent took.
    """

    intent: str
    slots: Mapping[str, str]
    bare: bool = False
    strange: bool = False
    matched: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """A word of the caller's: where it stands, what it may stand for, how surely, and how much it counts."""

    place: int
    stands_for: tuple[str, ...]
    surely: float
    weight: float


class Understanding:
    """A script's ear. Pure: the same words are always understood alike."""

    def __init__(self, script: Script) -> None:
        every_day = {day: (day,) for day in (*DAYS, *_RELATIVE_DAYS)} | dict(script.slots.get("day", {}))
        named = [
            (tuple(stem(word) for word in tokens(phrase)), slot, value)
            for slot, values in {**script.slots, "day": every_day}.items()
            for value, phrases in values.items()
            for phrase in phrases
        ]
        # The longer name goes first: "tooth ache" is no tooth.
        self._named = sorted(named, key=lambda entry: -len(entry[0]))
        self._concepts = {stem(word): stem(concept) for concept, words in script.synonyms.items() for word in words}
        self._phrases = [
            (intent.name, intent.weight, [self._concept(stem(word)) for word in tokens(phrase)])
            for intent in script.intents
            for phrase in intent.phrases
        ]
        self._weights = self._weigh()
        phrases = [phrase for intent in script.intents for phrase in intent.phrases]
        names = [phrase for values in {**script.slots, "day": every_day}.values() for each in values.values() for phrase in each]
        others = [word for words in script.synonyms.values() for word in words]
        self._lexicon = Lexicon({word for text in (*phrases, *names, *others, *_CHOICES) for word in tokens(text)})
        self._known: dict[tuple[str, frozenset[str] | None], Understood] = {}

    def understand(self, words: str, *, among: frozenset[str] | None = None) -> Understood:
        """`among`: the intents that may be meant, None for all. What was understood lately is kept: a talk is gone through at each turn."""
        if (words, among) not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[words, among] = self._understand(words, among)
        return self._known[words, among]

    def _understand(self, words: str, among: frozenset[str] | None) -> Understood:
        spoken = tokens(words)
        found = [self._lexicon.nearest(word) for word in spoken]
        slots, places = self._values([known for known, _ in found])
        time, time_places = time_in(spoken)
        for place in time_places:
            places.setdefault(place, "time")
        chosen = {at: _CHOICES[word] for at, word in enumerate(spoken) if word in _CHOICES}
        slots |= ({"time": time} if time else {}) | ({"choice": next(iter(chosen.values()))} if chosen else {})
        heard = []
        for at, (known, surely) in enumerate(found):
            stands_for = (self._concept(known), *([f"{{{places[at]}}}"] if at in places else []), *(["{choice}"] if at in chosen else []))
            if surely or at in places or spoken[at] not in NOISE:
                # However many words a value takes, it counts as one.
                goes_on = at in places and places.get(at - 1) == places[at]
                weight = 0.0 if goes_on else max(self._weights.get(word, 0.0) for word in stands_for) or _UNKNOWN_WEIGHT
                heard.append(_Heard(place=at, stands_for=stands_for, surely=1.0 if at in places else surely, weight=weight))
        telling = {each.place for each in heard if each.surely and places.get(each.place) not in _WHEN and spoken[each.place] not in _EMPTY}
        strangers = sum(1 for each in heard if not each.surely)
        best, score, matched = "", 0.0, frozenset[int]()
        for name, intent_weight, phrase in self._phrases:
            if among is None or name in among:
                likeness, indices = self._likeness(phrase, heard)
                # "The weather tomorrow" names a day that we know, and is about something that we do not.
                about = indices & telling or strangers < max(len(indices & places.keys()), 1)
                if about and likeness >= SURE_ENOUGH and likeness * intent_weight > score:
                    best, score, matched = name, likeness * intent_weight, indices
        bare = bool(slots) and all(at in places or word in _ASIDE for at, word in enumerate(spoken))
        return Understood(intent=best, slots=slots, bare=bare, strange=strangers > 0, matched=matched)

    def _concept(self, stemmed: str) -> str:
        return self._concepts.get(stemmed, stemmed)

    def _weigh(self) -> Mapping[str, float]:
        """A word that stands in many intents tells little, and so does one that fills every sentence."""
        within: dict[str, set[str]] = {}
        for name, _, phrase in self._phrases:
            for word in phrase:
                within.setdefault(word, set()).add(name)
        all_intents = len({name for name, _, _ in self._phrases}) + 1
        return {
            word: max(_LEAST_WEIGHT, math.log(all_intents / len(names)) / math.log(all_intents) * (_FILLING if word in NOISE else 1))
            for word, names in within.items()
        }

    def _likeness(self, phrase: Sequence[str], heard: Sequence[_Heard]) -> tuple[float, frozenset[int]]:
        """How much of the phrase was said, and how much of what was said it explains."""
        total, said = sum(self._weights[word] for word in phrase), sum(each.weight for each in heard)
        covered, explained, used = 0.0, 0.0, set[int]()
        for word in phrase:
            for each in heard:
                if word in each.stands_for and each.place not in used:
                    used.add(each.place)
                    covered += self._weights[word] * each.surely
                    explained += each.weight * each.surely
                    break
        if not used:
            return 0.0, frozenset()
        return _OF_THE_PHRASE * covered / total + (1 - _OF_THE_PHRASE) * explained / said, frozenset(used)

    def _values(self, stems: Sequence[str]) -> tuple[dict[str, str], dict[int, str]]:
        found: list[tuple[int, str, str]] = []
        places: dict[int, str] = {}
        for phrase, slot, value in self._named:
            for at in range(len(stems) - len(phrase) + 1):
                within = range(at, at + len(phrase))
                if tuple(stems[at : at + len(phrase)]) == phrase and not places.keys() & set(within):
                    places.update(dict.fromkeys(within, slot))
                    found.append((at, slot, value))
        # Who names two days corrects themselves: the later one counts.
        return {slot: value for _, slot, value in sorted(found)}, places

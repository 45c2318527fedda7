"""What two words have in common though they are written differently: endings, and the slips of a recogniser."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final

_TOKEN: Final = re.compile(r"\{\w+\}|\d{1,2}:\d{2}|\d+|[a-z]+(?:'[a-z]+)?")
_COUNTING: Final = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen"""
_NUMBERS: Final = {word: value for value, word in enumerate(_COUNTING.split())} | {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
_ONES: Final = {value: word for word, value in _NUMBERS.items()}
# Vowels and breath are what a telephone loses first, and voiced sounds are taken for their voiceless twins.
_SPELLINGS: Final = (
    ("thes", "se"),
    ("ph", "f"),
    ("ck", "k"),
    ("ce", "se"),
    ("ci", "si"),
    ("cy", "sy"),
    ("x", "ks"),
    ("wr", "r"),
    ("kn", "n"),
    ("gh", "k"),
)
_TWINS: Final = str.maketrans("bdgvzjcq", "ptkfskkk", "aeiouyhw")
_NEAR: Final = 0.78
# What speech is filled with; it tells nothing unless a script says so.
_FILLING: Final = """um uh er oh ah well so just please actually really hey hi hello okay ok now then and but like maybe perhaps also a an
    the i me my we us you your it that this to of for in on at is are am do does be would could can will shall have has had if there with
    about"""
NOISE: Final = frozenset(_FILLING.split())
_SHORTEST_FUZZY: Final = 4
_SHORTEST_SOUND: Final = 3
_NEAR_IN_SOUND: Final = 0.65
_SAME_SOUND: Final = 0.85
_MISHEARD: Final = 0.95


def tokens(text: str) -> list[str]:
    """Words in small letters, short forms split: `what's` gives `what is`. `{day}` stays as it is."""
    found: list[str] = []
    for token in _TOKEN.findall(text.lower().replace("’", "'").replace("-", " ")):
        stem, apostrophe, rest = token.partition("'")
        if not apostrophe or rest == "clock":
            found.append(token)
        elif rest == "t":
            found += [stem.removesuffix("n") if stem != "can" else stem, "not"]
        else:
            found += [stem, *{"s": ["is"], "re": ["are"], "ll": ["will"], "d": ["would"], "ve": ["have"], "m": ["am"]}.get(rest, [])]
    return found


@lru_cache(maxsize=10_000)
def stem(word: str) -> str:
    """A word without its ending, so that `closing`, `closed` and `close` are one."""
    if word.startswith("{") or not word.isalpha() or len(word) < 4:
        return word
    for ending, instead in (("ies", "y"), ("ings", ""), ("ing", ""), ("edly", ""), ("ed", ""), ("es", ""), ("s", ""), ("ly", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending) + instead
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def _sound(word: str) -> str:
    for written, heard in _SPELLINGS:
        word = word.replace(written, heard)
    rest = word[1:].translate(_TWINS)
    whole = word[:1].translate(str.maketrans("bdgvzjcq", "ptkfskkk")) + rest
    return "".join(letter for at, letter in enumerate(whole) if at == 0 or letter != whole[at - 1])


class Lexicon:
    """The words that a script knows. A word that is known means itself; another one may be a known one misheard."""

    def __init__(self, known: Iterable[str]) -> None:
        self._spellings = sorted({word for word in known if word})
        self._stems = frozenset(map(stem, self._spellings))
        self._sounds = {word: _sound(word) for word in self._spellings}
        self._found: dict[str, tuple[str, float]] = {}

    def nearest(self, word: str) -> tuple[str, float]:
        """The known stem that a word stands for, and how surely, from 0 to 1; the word's own stem and 0 when there is none."""
        own = stem(word)
        if own in self._stems:
            return own, 1.0
        if not word.isalpha() or len(word) < _SHORTEST_FUZZY or word in NOISE:
            return own, 0.0
        if word not in self._found:
            best, likeness = max(((known, self._likeness(word, known)) for known in self._spellings), key=lambda entry: entry[1])
            self._found[word] = (stem(best), likeness) if likeness else (own, 0.0)
        return self._found[word]

    def _likeness(self, word: str, known: str) -> float:
        if len(known) < _SHORTEST_FUZZY or not known.isalpha():
            return 0.0
        matcher = SequenceMatcher(None, word, known, autojunk=False)
        if matcher.real_quick_ratio() < _NEAR_IN_SOUND or matcher.quick_ratio() < _NEAR_IN_SOUND:
            return 0.0
        likeness, sound = matcher.ratio(), self._sounds[known]
        if known[0] == word[0] and likeness >= _NEAR_IN_SOUND and len(sound) >= _SHORTEST_SOUND and sound == _sound(word):
            return _SAME_SOUND
        return likeness * _MISHEARD if likeness >= _NEAR else 0.0


def number(word: str) -> int | None:
    """`eleven` and `11` are 11."""
    return int(word) if word.isdigit() else _NUMBERS.get(word)


def spoken_time(clock: str) -> str:
    """`09:15` as it is said: `nine fifteen`."""
    hour, minute = (int(part) for part in clock.split(":"))
    if (hour, minute) == (12, 0):
        return "noon"
    said = _ONES[(hour - 1) % 12 + 1]
    if minute == 0:
        return f"{said} o'clock"
    if minute < 10:
        return f"{said} oh {_ONES[minute]}"
    tens, ones = divmod(minute, 10)
    return f"{said} {_ONES[minute] if minute in _ONES else f'{_ONES[tens * 10]} {_ONES[ones]}'}"

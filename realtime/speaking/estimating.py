"""How long a voice takes for the words of a text, in units of a letter: what of an utterance was heard, where no mark says so.

The weights are a fit to four voices reading sentences of the kind that agents say; each voice's own speed is learnt in the call.
"""

import re
from functools import lru_cache

SAMPLES_PER_UNIT = 485.0
"""A voice's usual speed, where this one has not shown its own."""

_WORD, _SYLLABLE, _DIGIT = 0.2, 0.4, 4.8
_CLAUSE_PAUSE, _SENTENCE_PAUSE = 2.2, 2.5
_EDGE = 1.5

_SPOKEN = re.compile(r"\S+")
_VOWELS = re.compile(r"[aeiouyáéíóúäöüàèêâôîû]+")


@lru_cache(maxsize=256)
def ends(text: str) -> tuple[tuple[int, float], ...]:
    """For each word the place in the text where it ends, and when."""
    at, pause = 0.0, 0.0
    found: list[tuple[int, float]] = []
    for word in _SPOKEN.finditer(text):
        at += pause + _weight(word.group().lower())
        last = word.group().rstrip("\"')]")[-1:]
        pause = _SENTENCE_PAUSE if last in ".?!…" else _CLAUSE_PAUSE if last in ",;:–—" else 0.0
        found.append((word.end(), at))
    return tuple(found)


def units(text: str) -> float:
    """The whole text, with the little silence at its end."""
    found = ends(text)
    return found[-1][1] + _EDGE if found else 0.0


def words_until(text: str, at: float) -> str:
    """The words of a text that end within so many units."""
    end = max((place for place, ended in ends(text) if ended <= at > 0), default=0)
    return text[:end]


def _weight(word: str) -> float:
    letters = sum(character.isalpha() for character in word)
    digits = sum(character.isdigit() for character in word)
    syllables = len(_VOWELS.findall(word))
    if word.rstrip(".,;:?!").endswith("e") and syllables > 1:
        syllables -= 1
    return (_WORD if letters or digits else 0.0) + _SYLLABLE * syllables + letters + _DIGIT * digits

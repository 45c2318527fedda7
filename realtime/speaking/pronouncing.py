"""What the voice is given to say a text: the agent's own pronunciation of words, and its pauses, which nobody reads."""

import re
from collections.abc import Mapping
from functools import lru_cache

# As in SSML; a voice that knows none of it makes a pause of three full stops (developers.deepgram.com/docs/text-to-speech-prompting).
_BREAK = re.compile(r"\s*<break\b[^<>]*>\s*", re.IGNORECASE)
_SPOKEN_BREAK = " ... "
_ALTERNATIVES = "|"


def written(text: str) -> str:
    """A text as it stands in the record and in the model's context."""
    return _BREAK.sub(" ", text).strip()


def spoken(text: str, pronunciation: Mapping[str, str]) -> str:
    """A text as the voice is given it. Whole words only, whatever their case; the longer of two that fit."""
    paused = _BREAK.sub(_SPOKEN_BREAK, text).strip()
    if not pronunciation:
        return paused
    known = {word.lower(): said for word, said in pronunciation.items()}
    return _pattern(tuple(known)).sub(lambda found: known[found.group().lower()], paused)


def alternatives(phrase: str) -> tuple[str, ...]:
    """The phrases of one sentence of the agent's, with a bar between them."""
    return tuple(part.strip() for part in phrase.split(_ALTERNATIVES) if part.strip())


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)", re.IGNORECASE)

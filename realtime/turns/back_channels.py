"""Whether words are a listener's ("mm-hm", "yeah") or mean something: an answer to a question, or a wish to speak."""

from collections.abc import Sequence
from functools import cache

from realtime.turns.phrases import plain_words

# A listener's words are few.
_MOST_WORDS = 5
# A question that is as good as asked, in characters that were still to come; and how much may follow it before a yes is no answer.
_NEARLY_ASKED = 14
_SINCE_ASKED = 40


@cache
def _phrases(listed: str) -> tuple[tuple[str, ...], ...]:
    """The longest first, so that "all right" is one."""
    return tuple(sorted({tuple(plain_words(phrase)) for phrase in listed.split(",")} - {()}, key=len, reverse=True))


def is_back_channel(words: str, listed: str) -> bool:
    """Whether the words are nothing but phrases of the list, which has commas between them."""
    rest = plain_words(words)
    if not rest or len(rest) > _MOST_WORDS:
        return False
    while rest:
        found = next((phrase for phrase in _phrases(listed) if tuple(rest[: len(phrase)]) == phrase), None)
        if found is None:
            return False
        rest = rest[len(found) :]
    return True


def question_put(texts: Sequence[str], heard: Sequence[str]) -> bool:
    """Whether a question of the texts has just been asked, or nearly, of which the caller has heard as much as `heard`."""
    characters = sum(len(words) + 1 for words in heard if words)
    asked = " ".join(texts).rfind("?", 0, characters + _NEARLY_ASKED)
    return bool(characters) and asked >= 0 and characters - asked <= _SINCE_ASKED

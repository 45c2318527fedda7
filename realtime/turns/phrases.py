"""What a caller's words mean where no model is asked: cheap rules, well under a millisecond."""

import itertools
import re
from collections.abc import Sequence
from enum import Enum

from realtime.turns.endings import Endings, endings_of, words_of

ENGLISH = "en"
_PLAIN_WORD = re.compile(r"[^\w']+")


def plain_words(text: str) -> list[str]:
    """Lower case, no punctuation: words to be compared."""
    return [word for word in _PLAIN_WORD.split(text.lower()) if word]


def without_repetition(text: str, known: str) -> str:
    """`text` without the words at its beginning that `known` ends with or is."""
    parts, before = text.split(), plain_words(known)
    for shared in range(min(len(parts), len(before)), 0, -1):
        if plain_words(" ".join(parts[:shared])) == before[-shared:]:
            return " ".join(parts[shared:])
    return text


# A number that is being dictated: its first group is heard as a row of single digits.
_FEWEST_DIGITS = 4
_MOST_DIGITS = 10
_SHORTEST_WITH_CONDITION = 7


def _digits_at_end(words: Sequence[str], endings: Endings) -> int:
    """How many digits of a number stand at the end, each said or written by itself or in a group; a lone one is no number."""
    row = list(itertools.takewhile(lambda word: word in endings.digits or word.isdigit(), reversed(words)))
    count = sum(len(word) if word.isdigit() else 1 for word in row)
    return count if len(row) > 1 or count > 2 else 0


def _asks(words: Sequence[str], endings: Endings) -> bool:
    """Whether it is a question, by its beginning, and long enough to be a whole one."""
    begins = next((at for at in range(len(words)) if words[at] not in endings.leading), len(words))
    return begins < len(words) and words[begins] in endings.asking and len(words) - begins >= endings.shortest_question


def _stands_alone(words: Sequence[str], endings: Endings) -> bool:
    """Whether it is made of nothing but words, and phrases, that need no others."""
    return all(word in endings.alone for word in endings.phrases.sub(" ", " ".join(words)).split())


def trails_off(text: str, language: str = ENGLISH) -> bool:
    """Whether something must still follow: no sentence ends with an "and", a "to", or the first digits of a number."""
    words, endings = plain_words(text), endings_of(language)
    if not words or _stands_alone(words, endings):
        return False
    return (
        words[-1] in endings.trailing
        or (0 < _digits_at_end(words, endings) < _FEWEST_DIGITS and not _asks(words, endings))
        or text.rstrip().endswith((",", "...", "…", "-"))
        or endings.unfinished.search(" ".join(words)) is not None
        or (words[0] in endings.conditions and len(words) < _SHORTEST_WITH_CONDITION)
    )


def begins_as_well(text: str, language: str = ENGLISH) -> bool:
    """Whether this is one word that answers, and that a longer answer begins with."""
    words = plain_words(text)
    return len(words) == 1 and words[0] in endings_of(language).opening


def looks_complete(text: str, language: str = ENGLISH) -> bool:
    """Whether a person would answer now: a cheap look at the words. What it doubts may go on within the patience.

    A full stop proves nothing: recognisers set one wherever they are asked for a final.
    """
    words, endings = plain_words(text), endings_of(language)
    if not words:
        return False
    if _stands_alone(words, endings):
        return True
    if trails_off(text, language):
        return False
    if words[-1] in endings.closing or text.rstrip().endswith("?"):
        return True
    if not _asks(words, endings) and (digits := _digits_at_end(words, endings)):
        return digits >= _MOST_DIGITS
    return _asks(words, endings)


class Answer(Enum):
    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"


_AGREES_OPPOSITELY = r"no problem|not a problem|(?:i )?(?:do not|don't) mind|why not|no worries|no objections?"
_NO = re.compile(
    r"\b(?:no|nope|nah|not|never|(?:do not|don't|dont|rather|would prefer) (?:you )?(?:not |didn't )?(?:record|do that|want)|"
    r"i(?: would|'d) rather you (?:did not|didn't)|refuse|decline|without (?:a |the )?recording|disagree|object)\b"
)
_YES = re.compile(
    r"\b(?:yes|yeah|yep|yup|sure|certainly|absolutely|of course|go ahead|please do|you (?:may|can)|i (?:agree|consent|allow it)|"
    r"(?:that|that's|that is|it's|it is|is) (?:fine|okay|ok|all right|alright)|fine by me|by all means|feel free|definitely)\b"
)
_FAINT_YES = re.compile(r"\b(?:okay|ok|fine|all right|alright|right)\b")
_POLITE = words_of(
    """you may can do that it it's that's is fine with me by record recording the this call yes yeah no please thanks thank and but i so
    well oh uh um sure okay ok go ahead of course just to be for my a an all right alright happy"""
)


def answer_in(words: str) -> Answer:
    """What a reply to the question says. Both yes and no in one breath are unclear; so is a bare "okay" before something else."""
    text = " ".join(plain_words(words))
    agreeing = re.sub(_AGREES_OPPOSITELY, " ", text)
    yes = agreeing != text or _YES.search(agreeing) is not None
    no = _NO.search(agreeing) is not None
    if not yes and not no and _FAINT_YES.search(agreeing) and not asks_more(words):
        yes = True
    if yes == no:
        return Answer.UNCLEAR
    return Answer.YES if yes else Answer.NO


def asks_more(words: str) -> bool:
    """Whether a reply to the question has something in it beside the answer: a request to be dealt with as well."""
    text = re.sub(_AGREES_OPPOSITELY, " ", " ".join(plain_words(words)))
    rest = [word for word in re.sub(_NO, " ", re.sub(_YES, " ", text)).split() if word not in _POLITE]
    return len(rest) >= 3


_WHOLE = r"(?:the |this |my |any |all |that |your )*(?:call |voice )?(?:record(?:ing|ings|ed|s)?|tap(?:e|ing))"
_OF_ME = r"(?:\s+(?:off|please|now|me|us|this|it|(?:this|the) call|any more|anymore))*"
_WITHDRAWS = re.compile(
    rf"\b(?:stop|end|quit|cease|turn off|switch off|shut off|cancel|delete|no more)\s+(?:me |us |it )?{_WHOLE}\b{_OF_ME}"
    rf"|\b(?:turn|switch|shut) {_WHOLE} off\b"
    rf"|\b(?:don't|do not|dont) (?:record|tape)\b{_OF_ME}"
    r"|\bi (?:don't|do not|dont) (?:want|wish|like) (?:to be|being|you to|you) (?:recorded|record|recording|taped)\b"
    rf"{_OF_ME}"
    r"|\b(?:withdraw|revoke|take back|cancel) my (?:consent|permission|agreement)\b"
)
_DOES_NOT_WITHDRAW = re.compile(
    r"\b(?:don't|do not|dont|never|not|did you|have you|why you|if you|can't) (?:\w+ )?(?:stop|end|quit|turn|switch|delete)"
)


def withdraws(words: str) -> bool:
    """Whether the caller wants no recording any more. A cheap rule that errs on the side of stopping."""
    text = " ".join(plain_words(words))
    return _WITHDRAWS.search(text) is not None and _DOES_NOT_WITHDRAW.search(text) is None


def asks_more_than_withdrawal(words: str) -> bool:
    """Whether something is left to be answered when the withdrawal is taken out."""
    rest = re.sub(_WITHDRAWS, " ", " ".join(plain_words(words)))
    return len([word for word in rest.split() if word not in _POLITE | {"could", "would", "want", "now", "hey", "actually"}]) >= 3


def says_goodbye(words: str, language: str = ENGLISH) -> bool:
    return endings_of(language).goodbye.search(" ".join(plain_words(words))) is not None

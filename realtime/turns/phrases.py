"""What a caller's words mean where no model is asked: cheap rules, well under a millisecond."""

import itertools
import re
from collections.abc import Sequence
from enum import Enum

_SHORTEST_QUESTION = 4
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


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TRAILING = _set(
    """a about an and any around are as at be because been before between but by can could for from has have how i i'd i'll i'm i've if in
    into is it's its maybe my near of on or our rather should so some than the their there's these those to uh uhm um very was we we'd
    we'll we're well were what what's when where whether which while who whose why will with without would your"""
)
_ALONE = _set(
    """yes yeah yep yup sure ok okay no nope thanks thank you please bye goodbye hello hi correct right exactly absolutely never mind
    certainly fine not really that's it is that go ahead all"""
)
# A whole answer by itself, and as often the beginning of a longer one, with a comma behind it.
_OPENING = _set("yes yeah yep no nope okay ok well sure hello hi sorry")
_CLOSING = _set("please thanks goodbye bye")
_ASKING = _set("what what's when where who which how why do does did can could are is may will would have has")
_OPENING = _set("hello hi hey and so but well okay ok yes yeah no sorry oh um uh then")
# Verbs whose matter comes next, words that stand before what they are about, and beginnings that ask or say nothing yet.
_UNFINISHED = re.compile(
    r"\b(?:(?:to|can i|could i|may i|can we|could we|can you|could you|would you|please) (?:ask|book|bring|buy|cancel|change|check|find|"
    r"get|give|have|hear|know|make|mean|move|need|order|put|return|say|see|send|take|tell|think|try|use|want)"
    r"|(?:tell|ask|show|give|send|let|help|remind) (?:me|us|him|her|them)|(?:would|'d|i'd|we'd) (?:like|love|prefer|rather)"
    r"|(?:^|^\w+ )(?:i|we) (?:guess|have|know|mean|need|think|want)|(?:do|does|did|is|was|are|were|would|will) not|\w+n't"
    r"|(?:number|name|address|birthday) is|possible|interested|wondering|is it|is there|are there|are you|do you|did you|have you|i am"
    r"|we are|what kind|how much|how many|how long|how far|how often)$"
)
_CONDITIONS = _set("although if unless while")
_SHORTEST_WITH_CONDITION = 7
_DIGITS = _set("oh zero one two three four five six seven eight nine double")
# A number that is being dictated: its first group is heard as a row of single digits.
_FEWEST_DIGITS = 4
_MOST_DIGITS = 10


def _digits_at_end(words: Sequence[str]) -> int:
    """How many digits of a number stand at the end, each said or written by itself or in a group; a lone one is no number."""
    row = list(itertools.takewhile(lambda word: word in _DIGITS or word.isdigit(), reversed(words)))
    count = sum(len(word) if word.isdigit() else 1 for word in row)
    return count if len(row) > 1 or count > 2 else 0


def _asks(words: Sequence[str]) -> bool:
    """Whether it is a question, by its beginning, and long enough to be a whole one."""
    begins = next((at for at in range(len(words)) if words[at] not in _OPENING), len(words))
    return begins < len(words) and words[begins] in _ASKING and len(words) - begins >= _SHORTEST_QUESTION


def trails_off(text: str) -> bool:
    """Whether something must still follow: no sentence ends with an "and", a "to", or the first digits of a number."""
    words = plain_words(text)
    if not words or all(word in _ALONE for word in words):
        return False
    return (
        words[-1] in _TRAILING
        or (0 < _digits_at_end(words) < _FEWEST_DIGITS and not _asks(words))
        or text.rstrip().endswith((",", "...", "…", "-"))
        or _UNFINISHED.search(" ".join(words)) is not None
        or (words[0] in _CONDITIONS and len(words) < _SHORTEST_WITH_CONDITION)
    )


def begins_as_well(text: str) -> bool:
    """Whether this is one word that answers, and that a longer answer begins with."""
    words = plain_words(text)
    return len(words) == 1 and words[0] in _OPENING


def looks_complete(text: str) -> bool:
    """Whether a person would answer now: a cheap look at the words. What it doubts may go on within the patience.

    A full stop proves nothing: recognisers set one wherever they are asked for a final.
    """
    words = plain_words(text)
    if not words:
        return False
    if all(word in _ALONE for word in words):
        return True
    if trails_off(text):
        return False
    if words[-1] in _CLOSING or text.rstrip().endswith("?"):
        return True
    if not _asks(words) and (digits := _digits_at_end(words)):
        return digits >= _MOST_DIGITS
    return _asks(words)


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
_POLITE = _set(
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


_GOODBYE = re.compile(
    r"\b(?:bye|goodbye|good bye|see you|have a (?:nice|good) (?:day|one|evening)|that(?:'s| is|'ll be| will be) all|hang up)\b"
)


def says_goodbye(words: str) -> bool:
    return _GOODBYE.search(" ".join(plain_words(words))) is not None

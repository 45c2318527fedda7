"""What a caller's words mean where no model is asked: cheap rules, well under a millisecond."""

import re
from enum import Enum

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
    """a an and are as at because but by can for from i i'd i'll i'm if in is it's like maybe my of on or so than that the then to uh um was
    we well what when where which will with would you your"""
)
_ALONE = _set(
    """yes yeah yep yup sure ok okay no nope thanks please bye goodbye hello hi correct right exactly absolutely never mind certainly
    fine"""
)
_CLOSING = _set("please thanks goodbye bye today tomorrow okay")
_ASKING = _set("what when where who which how why do does did can could are is may will would")


def looks_complete(text: str) -> bool:
    """Whether a person would answer now: a cheap look at the last words. What it doubts may go on within the patience."""
    words = plain_words(text)
    if not words or words[-1] in _TRAILING or words[-1].isdigit():
        return False
    if text.rstrip().endswith((".", "?", "!")) and not text.rstrip().endswith("..."):
        return True
    if all(word in _ALONE for word in words) or words[-1] in _CLOSING:
        return True
    return words[0] in _ASKING and len(words) >= 4


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

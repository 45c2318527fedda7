"""What a caller says of being recorded, in the language that is spoken: by rules for English, and by the agent's own phrases in any."""

from realtime.machine.briefing import Wording
from realtime.turns import phrases
from realtime.turns.back_channels import is_back_channel
from realtime.turns.phrases import Answer, answer_in, plain_words


def withdraws(words: str, wording: Wording) -> bool:
    """Whether the caller wants no recording any more."""
    return phrases.withdraws(words) or _holds(words, wording.stop_recording)


def answer_to_question(words: str, wording: Wording) -> Answer:
    """What a reply to our question says. A phrase of the agent's for yes counts only where nothing else was said, one for no anywhere."""
    if withdraws(words, wording):
        return Answer.NO
    english, own = answer_in(words), _own(words, wording)
    if english is Answer.UNCLEAR or own is Answer.UNCLEAR:
        return own if english is Answer.UNCLEAR else english
    return own if own is english else Answer.UNCLEAR


def _own(words: str, wording: Wording) -> Answer:
    if _holds(words, wording.no):
        return Answer.UNCLEAR if _holds(words, wording.yes) else Answer.NO
    return Answer.YES if wording.yes and is_back_channel(words, wording.yes) else Answer.UNCLEAR


def _holds(words: str, listed: str) -> bool:
    """Whether a phrase of the list, which has commas between them, stands in the words."""
    text = f" {' '.join(plain_words(words))} "
    wanted = (" ".join(plain_words(phrase)) for phrase in listed.split(",")) if listed else ()
    return any(phrase and f" {phrase} " in text for phrase in wanted)

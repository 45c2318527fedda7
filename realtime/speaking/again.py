"""What has to be said again when a voice was lost in the middle of a sentence: every word that it had not given, at most one twice."""

from collections.abc import Sequence

from realtime.speaking.playout import Utterance, words_within

# A voice's usual speed, where this one has not shown its own. Rather a word twice than one that is never said.
_SAMPLES_PER_CHARACTER = 520
_SLOWER = 1.1
_ENOUGH_CHARACTERS = 20


def samples_per_character(utterances: Sequence[Utterance]) -> float:
    """As fast as the voice has spoken in what it gave whole."""
    whole = [utterance for utterance in utterances if utterance.delivered and utterance.samples]
    characters = sum(len(utterance.text) for utterance in whole)
    return sum(utterance.samples for utterance in whole) / characters if characters >= _ENOUGH_CHARACTERS else _SAMPLES_PER_CHARACTER


def left_to_say(utterance: Utterance, per_character: float) -> str:
    """The rest of a text of which `samples` were given, from the beginning of the word that was cut."""
    given = words_within(utterance.text, utterance.samples / (per_character * _SLOWER * max(1, len(utterance.text))))
    return utterance.text[len(given) :].strip()

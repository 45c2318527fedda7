"""Words that the recogniser heard of the agent itself: they come while it talks, or just after, and are its own."""

from collections.abc import Sequence

from realtime.audio import BYTES_PER_MS
from realtime.machine.signals import WordsRecognised
from realtime.speaking import playout
from realtime.speaking.playout import Speech
from realtime.turns.phrases import plain_words

# The way to the caller and back, and what a recogniser is off by.
_COMES_BACK_MS = 700
_LATELY = 30
_AHEAD = 3
# Of a voice that the detector has noticed fewer words than these may be the caller's, who says them after the agent.
_FEWEST_WORDS = 4
_ALIKE = 0.8


def repeats_agent(speech: Speech, signal: WordsRecognised, at_ms: int, *, voice_noticed: bool) -> bool:
    """Whether these are words that the agent has said lately."""
    words, silent_ms = plain_words(signal.text), speech.playout_end // BYTES_PER_MS
    if not words or signal.start_ms > silent_ms + _COMES_BACK_MS:
        return False
    # A voice that begins when the agent is silent is the caller's, who says it after the agent: so many words fit into no echo's tail.
    if voice_noticed and (len(words) < _FEWEST_WORDS or signal.start_ms > silent_ms):
        return False
    return _within(words, _said(speech, at_ms))


def _said(speech: Speech, at_ms: int) -> list[str]:
    parts = playout.heard(speech, at_ms)
    said = plain_words(" ".join((speech.lately, *(part.words for part in parts))))[-_LATELY:]
    coming = plain_words(" ".join(part.utterance.text[len(part.words) :] for part in parts))[:_AHEAD]
    return said + coming


def _within(words: Sequence[str], said: Sequence[str]) -> bool:
    most = max((sum(one == two for one, two in zip(words, said[at:], strict=False)) for at in range(len(said) - len(words) + 1)), default=0)
    return most >= _ALIKE * len(words)

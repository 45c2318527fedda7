"""A pause in what the agent says: all that has not played is kept, and goes on from the beginning of the word that was cut."""

from dataclasses import dataclass, replace

from realtime.audio import BYTES_PER_MS
from realtime.speaking.playout import Pause, Speech, Utterance, heard

# The carrier's playing lags behind our clock by the way there: what sounded last may not have been heard when we fell silent.
_UNSURE_MS = 100
# As far back as a pause may go for the beginning of the word that it cut; with the above, no more is repeated.
SEARCHED_MS = 300
# What is kept while nothing plays: a minute of speech.
_MOST_KEPT_SAMPLES = 60_000 * BYTES_PER_MS


def paused(speech: Speech, since_ms: int, at_ms: int) -> Speech:
    """Playing stops here, and what has not played is kept: as much as was sent, and a little that may not have been heard.

    When nothing is playing, nothing is thrown away, and no mark loses its meaning.
    """
    unplayed = speech.unplayed(at_ms)
    if not unplayed:
        return replace(speech, pause=Pause(since_ms=since_ms, at_ms=at_ms, unplayed=0))
    cut, sample = _back(speech, unplayed + _UNSURE_MS * BYTES_PER_MS)
    pause = Pause(since_ms=since_ms, at_ms=at_ms, unplayed=unplayed, utterance=cut, sample=sample)
    reached = {part.utterance.id: part.samples for part in heard(speech, at_ms)}
    utterances = tuple(replace(one, reached=reached[one.id]) for one in speech.utterances)
    end = min(speech.playout_end, at_ms * BYTES_PER_MS)
    return replace(speech, generation=speech.generation + 1, utterances=utterances, playout_end=end, pause=pause)


def _back(speech: Speech, samples: int) -> tuple[int, int]:
    """The place so far before the end of all that was sent, but not before one that a mark has proven, or that was played twice."""
    at, sample = 0, 0
    for utterance in reversed(speech.utterances):
        if samples <= 0 or utterance.played_ms is not None:
            break
        back = min(samples, utterance.samples - utterance.resumed_at)
        if back:
            at, sample = utterance.id, utterance.samples - back
        samples -= back
        if utterance.resumed_at:
            break
    return at, sample


def word_begins(speech: Speech, utterance_id: int, sample: int) -> Speech:
    """The word that was cut begins there, if that is near enough."""
    pause, cut = speech.pause, speech.named(utterance_id)
    if pause is None or cut is None or pause.utterance != utterance_id:
        return speech
    earliest = max(cut.resumed_at, pause.sample - SEARCHED_MS * BYTES_PER_MS)
    return replace(speech, pause=replace(pause, sample=min(max(sample, earliest), pause.sample)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of an utterance that is to be played from its sample `first` on, at `from_sample` of call time."""

    utterance: Utterance
    first: int
    samples: int
    from_sample: int


def resumed(speech: Speech, at_ms: int) -> tuple[Speech, tuple[Piece, ...]]:
    """Playing goes on where it was paused; what was not proven to have been heard before that place is so by the clock alone."""
    pause = speech.pause
    if pause is None:
        return speech, ()
    utterances: list[Utterance] = []
    pieces: list[Piece] = []
    end = max(speech.playout_end, at_ms * BYTES_PER_MS)
    for one in speech.utterances:
        if one.played_ms is not None:
            utterances.append(one)
        elif one.id < pause.utterance:
            utterances.append(replace(one, played_ms=pause.at_ms, presumed=True))
        else:
            first = pause.sample if one.id == pause.utterance else 0 if pause.utterance else one.samples - one.held
            pieces.append(Piece(utterance=one, first=first, samples=one.samples - first, from_sample=end))
            began = one.from_sample if one.reached or first else end
            resumed_at = first if one.id == pause.utterance else one.resumed_at
            end += one.samples - first
            until = end if one.samples > first else one.until_sample
            utterances.append(replace(one, from_sample=began, until_sample=until, held=0, resumed_at=resumed_at))
    playout_end = end if any(piece.samples for piece in pieces) else speech.playout_end
    return replace(speech, utterances=tuple(utterances), playout_end=playout_end, pause=None), tuple(pieces)


def keeps_too_much(speech: Speech) -> bool:
    """Whether more waits than a pause is worth."""
    return speech.pause is not None and speech.pause.unplayed > _MOST_KEPT_SAMPLES

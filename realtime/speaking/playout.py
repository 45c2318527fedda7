"""What the agent says and what of it is heard: utterances, playout, marks of a generation, words by their share of the audio."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from events.calls.talking import Evidence
from realtime.audio import BYTES_PER_MS
from realtime.speaking import estimating

# A mark may come back this much before our own clock says that its audio has played, and no earlier: it was not played then.
_CLOCK_SLACK_MS = 250
# Voices begin and end a sentence with a little silence; a cut within it cuts no word.
_EDGE_MS = 60
# Texts so short do not show how fast a voice speaks.
_TELLING_UNITS = 15.0
_FLUSHES = 18.0
_FLUSHES_PER_MS = 18 / 60_000


class Purpose(Enum):
    """Why something is said: what follows from its having been heard."""

    REPLY = "reply"
    DISCLOSURE = "disclosure"
    PERMISSION = "permission"
    FILLER = "filler"
    APOLOGY = "apology"
    FAREWELL = "farewell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A text on its way to the caller. `samples` counts its audio so far, of which `held` never went out; it sounds, or sounded,
    from `from_sample` to `until_sample` of call time. `characters`: what the voice was given to say it.

    `presumed`: played by the clock alone, no mark said so. `reached`: this much had sounded when playing was paused;
    `resumed_at`: from here on it was played again.
    """

    id: int
    text: str
    purpose: Purpose
    samples: int = 0
    from_sample: int = 0
    until_sample: int = 0
    held: int = 0
    reached: int = 0
    resumed_at: int = 0
    characters: int = 0
    delivered: bool = False
    played_ms: int | None = None
    presumed: bool = False

    def expected_samples(self, pace: float) -> float:
        """How long it is, or is likely to become at so many samples a unit."""
        return self.samples if self.delivered else max(self.samples, estimating.units(self.text) * pace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing plays since `at_ms`, because of the caller's sound since `since_ms`. `unplayed` samples wait, and what arrives meanwhile.

    Playing goes on at `sample` of `utterance`; 0: nothing had been cut.
    """

    since_ms: int
    at_ms: int
    unplayed: int
    utterance: int = 0
    sample: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """The agent's side of the line. `playout_end` is when all audio sent will have played, in samples of call time.

    `pace`: how many samples this voice takes for a unit of text, as it has shown. `lately`: what was heard of it before `utterances`.
    """

    generation: int = 1
    next_id: int = 1
    utterances: tuple[Utterance, ...] = ()
    playout_end: int = 0
    flushes: float = _FLUSHES
    flushes_at_ms: int = 0
    pace: float = estimating.SAMPLES_PER_UNIT
    pause: Pause | None = None
    lately: str = ""

    @property
    def silent(self) -> bool:
        """Whether everything given to the voice has been delivered and played."""
        return all(utterance.played_ms is not None for utterance in self.utterances)

    @property
    def all_delivered(self) -> bool:
        return all(utterance.delivered for utterance in self.utterances)

    def left_ms(self, at_ms: int) -> int:
        """How much of what was sent has not played yet."""
        return self.unplayed(at_ms) // BYTES_PER_MS

    def unplayed(self, at_ms: int) -> int:
        """The same in samples; while nothing plays it is what is kept."""
        return max(0, self.playout_end - at_ms * BYTES_PER_MS) if self.pause is None else self.pause.unplayed

    def named(self, utterance_id: int) -> Utterance | None:
        return next((utterance for utterance in self.utterances if utterance.id == utterance_id), None)


def said(speech: Speech, text: str, purpose: Purpose, at_ms: int, *, characters: int = 0) -> tuple[Speech, Utterance]:
    """Give a text to the voice; each is delivered for itself, which costs one flush."""
    utterance = Utterance(id=speech.next_id, text=text, purpose=purpose, characters=characters)
    spoken = replace(
        speech, next_id=speech.next_id + 1, utterances=(*speech.utterances, utterance), flushes=max(0.0, flushes_left(speech, at_ms) - 1),
        flushes_at_ms=at_ms,
    )  # fmt: skip
    return spoken, utterance


def flushes_left(speech: Speech, at_ms: int) -> float:
    """The voice delivers on demand at most 20 times in 60 s (developers.deepgram.com/docs/tts-ws-flush); we keep below it."""
    return min(_FLUSHES, speech.flushes + (at_ms - speech.flushes_at_ms) * _FLUSHES_PER_MS)


def flushed(speech: Speech, at_ms: int) -> Speech:
    """A text is spoken that may never be said."""
    return replace(speech, flushes=max(0.0, flushes_left(speech, at_ms) - 1), flushes_at_ms=at_ms)


def unflushed(speech: Speech, count: int) -> Speech:
    """So many texts were said from memory."""
    return replace(speech, flushes=min(_FLUSHES, speech.flushes + count))


def least_characters(speech: Speech, at_ms: int) -> int:
    """How long a text must be to be worth a flush: sentences share one when few are left."""
    left = flushes_left(speech, at_ms)
    if left >= 8:
        return 1
    return 160 if left >= 3 else 1000


def arrived(speech: Speech, samples: int, at_ms: int) -> tuple[Speech, Utterance | None]:
    """Audio came from the voice: it belongs to the first text that is not delivered yet. None: nobody waits for it."""
    for index, utterance in enumerate(speech.utterances):
        if utterance.delivered:
            continue
        if speech.pause is not None:
            held = replace(utterance, samples=utterance.samples + samples, held=utterance.held + samples)
            waiting = replace(speech.pause, unplayed=speech.pause.unplayed + samples)
            return replace(speech, utterances=_changed(speech.utterances, index, held), pause=waiting), held
        from_sample = max(at_ms * BYTES_PER_MS, speech.playout_end)
        until_sample = from_sample + samples
        began = utterance.from_sample if utterance.samples else from_sample
        grown = replace(utterance, samples=utterance.samples + samples, from_sample=began, until_sample=until_sample)
        return replace(speech, utterances=_changed(speech.utterances, index, grown), playout_end=until_sample), grown
    return speech, None


def delivered(speech: Speech, utterance_id: int) -> tuple[Speech, tuple[Utterance, ...]]:
    """The voice has given all of an utterance; returns those that became whole by it."""
    fresh = tuple(utterance for utterance in speech.utterances if not utterance.delivered and utterance.id <= utterance_id)
    if not fresh:
        return speech, ()
    utterances = tuple(replace(utterance, delivered=True) if utterance in fresh else utterance for utterance in speech.utterances)
    return replace(speech, utterances=utterances, pace=_pace(speech.pace, fresh)), tuple(
        utterance for utterance in utterances if utterance.id in {one.id for one in fresh}
    )


def _pace(pace: float, fresh: Sequence[Utterance]) -> float:
    """As fast as the last texts of some length have shown."""
    for utterance in fresh:
        units = estimating.units(utterance.text)
        if units >= _TELLING_UNITS and utterance.samples:
            pace = (pace + utterance.samples / units) / 2
    return pace


def mark_name(speech: Speech, utterance: Utterance) -> str:
    return f"g{speech.generation}:u{utterance.id}:end"


def mark_returned(speech: Speech, name: str, at_ms: int) -> tuple[Speech, tuple[Utterance, ...]]:
    """A mark of the present generation proves that all before it has played; one of an older generation was thrown away.

    Returns the utterances that are known by it to have been heard whole.
    """
    generation, _, rest = name.partition(":")
    number = rest.removeprefix("u").partition(":")[0]
    if generation != f"g{speech.generation}" or not (number.isascii() and number.isdigit()) or len(number) > 9:
        return speech, ()
    marked = speech.named(int(number))
    if marked is None or not marked.delivered or marked.played_ms is not None:
        return speech, ()
    # What is kept since a pause never went out, whatever the carrier says.
    unsent = marked.samples and not marked.until_sample
    if unsent or marked.until_sample // BYTES_PER_MS > at_ms + _CLOCK_SLACK_MS:
        return speech, ()
    return _played(speech, marked.id, at_ms)


def _played(speech: Speech, utterance_id: int, at_ms: int) -> tuple[Speech, tuple[Utterance, ...]]:
    newly = {one.id for one in speech.utterances if one.id <= utterance_id and one.played_ms is None}
    utterances = tuple(replace(one, played_ms=at_ms) if one.id in newly else one for one in speech.utterances)
    return replace(speech, utterances=utterances), tuple(one for one in utterances if one.id in newly)


def presumed_played(speech: Speech, at_ms: int) -> Speech:
    """The marks did not come back in all the time that playing takes: go on by the clock."""
    utterances = tuple(replace(one, played_ms=at_ms, presumed=True) if one.played_ms is None else one for one in speech.utterances)
    return replace(speech, utterances=utterances)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardPart:
    """`words`: as much of an utterance as was heard, in `samples`; `exact`: the cut fell between utterances, not inside this one."""

    utterance: Utterance
    words: str
    exact: bool
    samples: int = 0

    @property
    def whole(self) -> bool:
        return self.words == self.utterance.text

    @property
    def share(self) -> float:
        """How much of the text it is."""
        return len(self.words) / max(1, len(self.utterance.text))


def heard(speech: Speech, at_ms: int) -> tuple[HeardPart, ...]:
    """What of each utterance the caller has heard if the line goes silent now.

    Audio plays in order, so what has not played is the tail of what was sent: no clock but the playout's own is needed.
    """
    unplayed = speech.unplayed(at_ms)
    parts: list[HeardPart] = []
    for utterance in reversed(speech.utterances):
        # A voice may deliver a text as nothing at all.
        if utterance.played_ms is not None and utterance.samples:
            parts.append(HeardPart(utterance=utterance, words=utterance.text, exact=not utterance.presumed, samples=utterance.samples))
            continue
        missing = min(unplayed, utterance.samples)
        unplayed -= missing
        # What is repeated after a pause was heard before it.
        parts.append(_part(utterance, max(utterance.samples - missing, utterance.reached), speech.pace))
    return tuple(reversed(parts))


def _part(utterance: Utterance, samples: int, pace: float) -> HeardPart:
    edge = _EDGE_MS * BYTES_PER_MS
    if samples <= edge:
        return HeardPart(utterance=utterance, words="", exact=True, samples=samples)
    if utterance.delivered and samples >= utterance.samples - edge:
        return HeardPart(utterance=utterance, words=utterance.text, exact=True, samples=samples)
    words = words_within(utterance.text, samples / max(1, utterance.expected_samples(pace)))
    return HeardPart(utterance=utterance, words=words, exact=False, samples=samples)


def words_within(text: str, share: float) -> str:
    """The words of a text that end within a share of the time that it takes to say."""
    return estimating.words_until(text, share * estimating.units(text))


def evidence_of(parts: Sequence[HeardPart], *, cut: bool) -> Evidence:
    """How well we know it: all played, cut between utterances of known length, or by share and clock inside one."""
    if not cut:
        return Evidence.PLAYED
    return Evidence.FLUSH_BOUNDED if all(part.exact for part in parts) else Evidence.ESTIMATED


def silenced(speech: Speech, at_ms: int) -> Speech:
    """Everything not yet played is thrown away; marks and audio of this generation count no more."""
    end = min(speech.playout_end, at_ms * BYTES_PER_MS)
    return replace(passed(speech, at_ms), generation=speech.generation + 1, playout_end=end, pause=None)


def passed(speech: Speech, at_ms: int) -> Speech:
    """A new reply begins: of the last one only the words are known."""
    return replace(speech, utterances=(), lately=" ".join(part.words for part in heard(speech, at_ms)) or speech.lately)


def _changed(utterances: tuple[Utterance, ...], index: int, utterance: Utterance) -> tuple[Utterance, ...]:
    return (*utterances[:index], utterance, *utterances[index + 1 :])

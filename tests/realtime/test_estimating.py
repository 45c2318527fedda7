"""What was heard is known to a word or two from the sound's length alone: held against real voices, who know their words' times."""

import re
import shutil
import subprocess
import wave
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from realtime.audio import BYTES_PER_MS
from realtime.speaking import estimating
from realtime.speaking.playout import Purpose, Speech, arrived, delivered, heard, said

TEXTS = (
    "We are open from nine to five on every weekday, and on Saturday we are open from ten to two.",
    "Unfortunately, our technician cannot come before next Wednesday. Would the following Monday suit you instead?",
    "Let me explain. First you take the red cable; then you plug it into the box, and finally you press the green button.",
    "The train leaves at 9:45 from platform 7 and arrives at 11:20, which leaves you enough time.",
    "That is a good question! Insurance usually covers eighty percent of the treatment, but it depends on your contract.",
)
STEP_MS = 50


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as a voice reads it, and when each of its words ends."""

    text: str
    duration_ms: int
    ends_ms: tuple[int, ...]

    def words_by(self, at_ms: int) -> int:
        return sum(end <= at_ms for end in self.ends_ms)


def phones(voice: str, text: str, into: Path) -> list[tuple[str, float]]:
    """What the voice says, sound by sound, with the end of each in seconds."""
    said_by = subprocess.run(
        [shutil.which("flite") or "", "-voice", voice, "-psdur", "-t", text, "-o", str(into)], capture_output=True, text=True, check=True
    ).stdout.split()  # fmt: skip
    return [(sound, float(end)) for sound, _, end in (each.rpartition(":") for each in said_by)]


def read(voice: str, into: Path) -> list[Reading]:
    words = list(dict.fromkeys(re.sub(r"[.,;!?]+$", "", word) for text in TEXTS for word in text.split()))
    alone = phones(voice, ". ".join(words), into)
    sounds = [[sound for sound, _ in group] for pause, group in groupby(alone, key=lambda each: each[0] == "pau") if not pause]
    assert len(sounds) == len(words)
    known = dict(zip(words, sounds, strict=True))
    return [_reading(text, phones(voice, text, into), known, into) for text in TEXTS]


def _reading(text: str, read_out: list[tuple[str, float]], known: dict[str, list[str]], sound: Path) -> Reading:
    owners = [(n, each) for n, word in enumerate(text.split()) for each in known[re.sub(r"[.,;!?]+$", "", word)]]
    spoken = [each for each in read_out if each[0] != "pau"]
    ends = dict.fromkeys(range(len(text.split())), 0.0)
    matcher = SequenceMatcher(a=[each for _, each in owners], b=[each for each, _ in spoken], autojunk=False)
    for tag, one, two, from_sound, to_sound in matcher.get_opcodes():
        for at in range(one, two):
            found = from_sound + at - one if tag == "equal" else min(max(to_sound - 1, 0), from_sound + at - one)
            ends[owners[at][0]] = spoken[found][1]
    with wave.open(str(sound)) as clip:
        duration_ms = clip.getnframes() * 1000 // clip.getframerate()
    assert all(one < two for one, two in pairwise(ends.values()))
    return Reading(text, duration_ms, tuple(int(end * 1000) for end in ends.values()))


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> list[Reading]:
    into = tmp_path_factory.mktemp("voices") / "sound.wav"
    return [reading for voice in ("slt", "rms", "kal") for reading in read(voice, into)]


def misses(readings: list[Reading], *, delivered_ahead: bool = True) -> list[int]:
    """By how many words the estimate is off, at every moment of every reading. What still comes, comes after the voice's first text."""
    off = []
    for number, reading in enumerate(readings):
        first = readings[number - number % len(TEXTS)]
        if not delivered_ahead and reading is first:
            continue
        for at_ms in range(100, reading.duration_ms - 100, STEP_MS):
            samples = reading.duration_ms if delivered_ahead else min(reading.duration_ms, at_ms + 300)
            speech, utterance = said(Speech() if delivered_ahead else having_heard(first), reading.text, Purpose.REPLY, 0)
            speech, _ = arrived(speech, samples * BYTES_PER_MS, 0)
            if delivered_ahead:
                speech, _ = delivered(speech, utterance.id)
            (part,) = heard(speech, at_ms)
            off.append(abs(len(part.words.split()) - reading.words_by(at_ms)))
    return off


def having_heard(reading: Reading) -> Speech:
    speech, utterance = said(Speech(), reading.text, Purpose.REPLY, 0)
    speech, _ = arrived(speech, reading.duration_ms * BYTES_PER_MS, 0)
    return replace(delivered(speech, utterance.id)[0], utterances=(), playout_end=0)


class TestWordsInASound:
    def test_are_known_within_one_in_nineteen_of_twenty_and_within_two_always(self, readings: list[Reading]) -> None:
        off = misses(readings)
        assert len(off) > 1000
        assert sum(each <= 1 for each in off) >= 0.95 * len(off)
        assert max(off) <= 2

    def test_are_known_better_than_by_their_letters(self, readings: list[Reading], monkeypatch: pytest.MonkeyPatch) -> None:
        off = misses(readings)
        monkeypatch.setattr(estimating, "ends", lambda text: tuple((m.end(), float(m.end())) for m in re.finditer(r"\S+", text)))
        assert sum(misses(readings)) > 1.1 * sum(off)

    def test_of_a_sentence_that_is_still_coming_are_known_nearly_as_well(self, readings: list[Reading]) -> None:
        off = misses(readings, delivered_ahead=False)
        assert sum(each <= 2 for each in off) >= 0.95 * len(off)
